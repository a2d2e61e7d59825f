// Shapes of a popcount product: groups, words, spread-out sources and the classes of borders.
// Goes to: popcount_product.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "bitloom/kernels/popcount_product.h"
#include "bitloom/kernels/sign_bits.h"

namespace bitloom::kernels {

/// Output positions along one axis, sorted by which taps [first, last) of the kernel lie inside.
struct BorderClasses {
  std::vector<std::uint8_t> class_of;                       ///< per output position
  std::vector<std::pair<std::int64_t, std::int64_t>> taps;  ///< per class

  BorderClasses(std::int64_t outputs, std::int64_t kernel, const integer::Window& window,
                std::int64_t size) {
    for (std::int64_t out = 0; out < outputs; ++out) {
      const std::int64_t origin = out * window.stride - window.pad;
      const std::pair<std::int64_t, std::int64_t> inside{
          std::clamp<std::int64_t>(-origin, 0, kernel),
          std::clamp<std::int64_t>(size - origin, 0, kernel)};
      const auto known = std::find(taps.begin(), taps.end(), inside);
      class_of.push_back(static_cast<std::uint8_t>(known - taps.begin()));
      if (known == taps.end()) taps.push_back(inside);
    }
  }
};

/// From a half word to the other.
inline constexpr int kPairShift = kSignsPerWord / 2;

/// A linear layer is a convolution whose window is its whole source.
struct PopcountGeometry {
  explicit PopcountGeometry(const PopcountProblem& p)
      : linear(p.weight.rank() == 2),
        n(p.source.n()),
        c(p.source.c()),
        h(p.source.rank() == 4 ? p.source.h() : 1),
        w(p.source.rank() == 4 ? p.source.w() : 1),
        o(p.weight.n()),
        window(p.window) {
    if (linear) window = {.kernel_h = h, .kernel_w = w};
    oh = (h + 2 * window.pad - window.kernel_h) / window.stride + 1;
    ow = (w + 2 * window.pad - window.kernel_w) / window.stride + 1;
  }

  std::int64_t group_inputs() const { return c / window.groups; }
  std::int64_t group_outputs() const { return o / window.groups; }
  std::int64_t words() const { return sign_words(group_inputs()); }  ///< of a pixel of one group
  std::int64_t taps() const { return window.kernel_h * window.kernel_w; }
  /// Words of an output.
  std::int64_t depth() const {
    return pairs() ? window.kernel_h * ((window.kernel_w + 1) / 2) : taps() * words();
  }
  /// Pixels of a half word at most: a word holds a pixel and its right neighbour, and so two taps.
  bool pairs() const {
    return !linear && window.kernel_w > 1 && 2 * group_inputs() <= kSignsPerWord;
  }
  /// With pairs: the last tap of a row has no neighbour.
  bool has_single() const { return window.kernel_w % 2 != 0; }
  std::int64_t padded_h() const { return h + 2 * window.pad; }
  std::int64_t padded_w() const { return w + 2 * window.pad; }
  std::int64_t image_words() const { return padded_h() * padded_w() * words(); }
  std::int64_t group_words() const { return n * image_words(); }
  std::int64_t plane_words() const { return window.groups * group_words(); }
  std::int64_t pixels() const { return n * oh * ow; }

  bool linear;
  std::int64_t n, c, h, w, o;
  std::int64_t oh = 1, ow = 1;
  integer::Window window;
};

}  // namespace bitloom::kernels
