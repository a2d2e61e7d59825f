// One layer as one line, and the exported model that holds nothing else: for speed and correctness
// alike.
// Goes to: bench_layer.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bitloom/integer/model.h"

namespace bitloom::tools {

/// A convolution or linear layer by its sizes.
///
///   conv2d:n1,c256,h14,w14,o256,k3,s1,p1,g1   n images of c channels, h x w; o outputs; kernel k,
///                                             stride s, padding p on each side, g groups
///   depthwise:n1,c256,h14,w14,k3,s1,p1        the same with as many groups and outputs as channels
///   linear:n1,c512,o10
/// Left out: n 1, w as h, k 1, s 1, p 0, g 1.
struct LayerProblem {
  std::string text;  ///< as it was given
  bool linear = false;
  std::int64_t batch = 1;
  std::int64_t channels = 0;
  std::int64_t height = 1;
  std::int64_t width = 1;
  std::int64_t outputs = 0;
  integer::Window window;

  Shape source() const { return {1, channels, height, width}; }  ///< of one image
  Shape weight() const;                                          ///< [O, C/g, k, k] or [O, C]
  Shape destination() const;                                     ///< of one image
  /// Multiply-adds of the whole batch, taps in the padding included, 1e9 of them.
  double gmac() const;
};

/// @throws ConfigError for a line that breaks the grammar above, or sizes that do not fit.
LayerProblem parse_layer_problem(std::string_view text);

/// Problems from words separated by spaces or line breaks; if `text` names a file, from that file,
/// in which '#' starts a comment. @throws ConfigError if there is none.
std::vector<LayerProblem> parse_layer_problems(const std::string& text);

/// What a layer multiplies; the words of --kernel.
enum class LayerKernel : std::uint8_t {
  kFloat,  ///< "float": reals, ReLU, reals out
  kInt8,   ///< "int8": u8 codes by s8 weights (7 bits where the CPU sums pairs in 16), ReLU, u8 out
  kBinary,  ///< "binary": codes -1, +1 on both sides; reals out, scaled per channel
  kTernary  ///< "ternary": codes -1, 0, +1 on both sides; reals out, scaled per channel
};
std::string_view to_word(LayerKernel kernel);
LayerKernel layer_kernel_from_word(std::string_view word);  ///< @throws ConfigError

/// A model of one layer with random weights, multipliers and biases that spread its output over the
/// codes; its input table makes every code from random pixels. The last tensor is the layer's
/// output, so validate() would miss the logits: it is for sessions alone, not for files.
integer::Model one_layer_model(const LayerProblem& problem, LayerKernel kernel);

}  // namespace bitloom::tools
