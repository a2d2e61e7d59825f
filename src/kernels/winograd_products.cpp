#include "winograd_products.h"

#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "winograd_products.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr std::int64_t kLine = kWinogradLine;
constexpr std::int64_t kGroup = kWinogradGroup;
constexpr std::int64_t kGroupLine = kWinogradGroupLine;

using D = hn::CappedTag<float, kWinogradLine>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int kVectors = static_cast<int>(kLine) / kLanes;  // of a line

// What fits the registers: 32 of them with AVX-512, 16 without.
constexpr int kRows = kVectors > 12 ? 1 : 12 / kVectors;   // tiles of winograd_multiply
constexpr int kPanel = kVectors == 1 ? 2 : 1;              // its lines
constexpr int kOutputs = kVectors > 8 ? 1 : 8 / kVectors;  // of winograd_accumulate

// One group of tiles times kLines lines.
template <int kLines>
HWY_INLINE void multiply_group(const float* source, std::int64_t k_lines, const float* weights,
                               std::int64_t weight_line, float* out) {
  constexpr int kAcross = kLines * kVectors;
  const D t;
  for (int first = 0; first < kGroup; first += kRows) {
    V sums[kRows][kAcross];
    for (auto& row : sums) {
      for (V& sum : row) sum = hn::Zero(t);
    }
    const float* from = source + first * kLine;
    const float* w = weights;
    for (std::int64_t k_line = 0; k_line < k_lines; ++k_line, from += kGroupLine - kLine) {
      for (int k = 0; k < kLine; ++k, ++from, w += kLine) {
        V across[kAcross];
        for (int v = 0; v < kAcross; ++v) {
          across[v] = hn::LoadU(t, w + v / kVectors * weight_line + v % kVectors * kLanes);
        }
        for (int row = 0; row < kRows; ++row) {
          const V value = hn::Set(t, from[row * kLine]);
          for (int v = 0; v < kAcross; ++v) {
            sums[row][v] = hn::MulAdd(value, across[v], sums[row][v]);
          }
        }
      }
    }
    for (int row = 0; row < kRows; ++row) {
      for (int v = 0; v < kAcross; ++v) {
        hn::StoreU(sums[row][v], t,
                   out + v / kVectors * kGroupLine + (first + row) * kLine + v % kVectors * kLanes);
      }
    }
  }
}

template <int kLines>
HWY_INLINE void multiply_lines(const float* source, std::int64_t k_lines, const float* weights,
                               std::int64_t lines, std::int64_t groups, float* out) {
  for (std::int64_t g = 0; g < groups; ++g) {
    multiply_group<kLines>(source + g * k_lines * kGroupLine, k_lines, weights,
                           k_lines * kLine * kLine, out + g * lines * kGroupLine);
  }
}

void multiply(const WinogradBlock& source, const WinogradWeights& weights, const WinogradBlock& out,
              std::int64_t lines, std::int64_t position, std::int64_t first, std::int64_t last,
              std::int64_t begin, std::int64_t end) {
  const std::int64_t k_lines = weights.rows / kLine;
  const float* from = source.group(begin, k_lines) + position * source.stride;
  float* to = out.group(begin, lines) + position * out.stride;
  for (std::int64_t line = first; line < last; line += kPanel) {
    const float* w = weights.position(position) + line * weights.rows * kLine;
    if (line + kPanel <= last) {
      multiply_lines<kPanel>(from, k_lines, w, lines, end - begin, to + line * kGroupLine);
    } else {
      multiply_lines<1>(from, k_lines, w, lines, end - begin, to + line * kGroupLine);
    }
  }
}

std::int64_t panel() { return kPanel; }

// sums[o][c] of kOutputs outputs and kLines lines of inputs over `groups` groups.
template <int kLines>
HWY_INLINE void accumulate_square(const float* source, std::int64_t source_group,
                                  const float* gradient, std::int64_t gradient_group,
                                  std::int64_t groups, float* to, std::int64_t inputs, bool fresh) {
  constexpr int kAcross = kLines * kVectors;
  const D t;
  V sums[kOutputs][kAcross];
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kAcross; ++v) {
      sums[o][v] = fresh ? hn::Zero(t) : hn::LoadU(t, to + o * inputs + v * kLanes);
    }
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    const float* x = source + g * source_group;
    const float* dy = gradient + g * gradient_group;
    for (int tile = 0; tile < kGroup; ++tile, x += kLine, dy += kLine) {
      V across[kAcross];
      for (int v = 0; v < kAcross; ++v) {
        across[v] = hn::LoadU(t, x + v / kVectors * kGroupLine + v % kVectors * kLanes);
      }
      for (int o = 0; o < kOutputs; ++o) {
        const V value = hn::Set(t, dy[o]);
        for (int v = 0; v < kAcross; ++v) sums[o][v] = hn::MulAdd(value, across[v], sums[o][v]);
      }
    }
  }
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kAcross; ++v) hn::StoreU(sums[o][v], t, to + o * inputs + v * kLanes);
  }
}

void accumulate(const WinogradBlock& source, std::int64_t source_lines,
                const WinogradBlock& gradient, std::int64_t gradient_lines,
                const WinogradWeights& sums, std::int64_t position, std::int64_t first,
                std::int64_t last, std::int64_t begin, std::int64_t end, bool fresh) {
  const std::int64_t inputs = source_lines * kLine;
  const float* x = source.group(begin, source_lines) + position * source.stride;
  const float* dy = gradient.group(begin, gradient_lines) + position * gradient.stride;
  for (std::int64_t o = first * kLine; o < last * kLine; o += kOutputs) {
    const float* outputs = dy + o / kLine * kGroupLine + o % kLine;
    float* to = sums.position(position) + o * inputs;
    for (std::int64_t line = 0; line < source_lines; line += kPanel) {
      const float* from = x + line * kGroupLine;
      if (line + kPanel <= source_lines) {
        accumulate_square<kPanel>(from, source_lines * kGroupLine, outputs,
                                  gradient_lines * kGroupLine, end - begin, to + line * kLine,
                                  inputs, fresh);
      } else {
        accumulate_square<1>(from, source_lines * kGroupLine, outputs, gradient_lines * kGroupLine,
                             end - begin, to + line * kLine, inputs, fresh);
      }
    }
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {
HWY_EXPORT(panel);
HWY_EXPORT(multiply);
HWY_EXPORT(accumulate);
}  // namespace

std::int64_t winograd_panel() noexcept { return HWY_DYNAMIC_DISPATCH(panel)(); }

void winograd_multiply(const WinogradBlock& source, const WinogradWeights& weights,
                       const WinogradBlock& out, std::int64_t lines, std::int64_t position,
                       std::int64_t first, std::int64_t last, std::int64_t begin,
                       std::int64_t end) noexcept {
  HWY_DYNAMIC_DISPATCH(multiply)
  (source, weights, out, lines, position, first, last, begin, end);
}

void winograd_accumulate(const WinogradBlock& source, std::int64_t source_lines,
                         const WinogradBlock& gradient, std::int64_t gradient_lines,
                         const WinogradWeights& sums, std::int64_t position, std::int64_t first,
                         std::int64_t last, std::int64_t begin, std::int64_t end,
                         bool fresh) noexcept {
  HWY_DYNAMIC_DISPATCH(accumulate)
  (source, source_lines, gradient, gradient_lines, sums, position, first, last, begin, end, fresh);
}

}  // namespace bitloom::kernels
#endif
