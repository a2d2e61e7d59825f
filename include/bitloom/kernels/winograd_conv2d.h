// A training step's convolution in f32 with a third of the multiplications, our own: oneDNN 3.2 has
// no Winograd kernels for x86.
// Comes from: kernels/training_product.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/f32_conv2d.h"

namespace bitloom::kernels {

/// The formulas of F32Conv2d by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for
/// Convolutional Neural Networks", CVPR 2016): F(4x4, 3x3) and F(2x2, 5x5), both on tiles of 6x6
/// with the points 0, 1, -1, 2, -2 and infinity:
///
///   forward            y  = A^T [ sum_c (G w G^T) * (B^T x B) ] A + b
///   backward data      dx = the same of dy with the kernel turned by half a turn
///   backward weights   dw = G^T [ sum_tiles (A dy A^T) * (B^T x B) ] G
///
/// 2.25 multiplications an output and input channel in place of 9, and 9 in place of 25. Results
/// differ from exact sums by up to 1e-5 of their largest value, mostly a few 1e-6 (direct f32 sums:
/// a tenth of that); tests/kernels/winograd_conv2d_test.cpp measures it. Forward and backward data
/// give the same bits for every thread count; sums of backward weights depend on it.
///
/// Where channels are few, a thread takes a few tiles through all steps within its second-level
/// cache; where they are many, all threads share larger blocks, so that transformed weights (36
/// floats for 9) pass through the caches seldom.
class WinogradConv2d {
 public:
  /// True for kernels of 3x3 or 5x5 at stride 1 with channels in sixteens, one group and a pad
  /// below the kernel's size, the same on both axes.
  static bool supports(const F32Conv2dProblem& problem);
  /// True if it is also faster than the direct sum: tiles that small images fill, and enough of
  /// them to pay for the transformed weights.
  static bool pays(const F32Conv2dProblem& problem);

  /// @pre supports(problem).
  WinogradConv2d(const F32Conv2dProblem& problem, const F32Directions& directions);
  ~WinogradConv2d();
  WinogradConv2d(WinogradConv2d&&) noexcept;
  WinogradConv2d& operator=(WinogradConv2d&&) noexcept;

  /// Largest need of any call; `scratch` below has this many bytes, 64-byte aligned.
  std::size_t scratch_bytes() const;

  /// `bias` is empty unless the problem has one.
  void forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
               TensorView destination, std::byte* scratch);
  /// `adds`: to what the gradient holds.
  void backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                     TensorView source_gradient, std::byte* scratch, bool adds = false);

  /// What the numbers of a source stand for: reals, or scale * (code - zero_point).
  struct Codes {
    float scale = 1.0F;
    std::int32_t zero_point = 0;
  };
  /// `source` is f32, u8 or s8. `bias_gradient` is empty unless the problem has a bias.
  void backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                        TensorView weight_gradient, TensorView bias_gradient, std::byte* scratch,
                        const Codes& codes);
  void backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                        TensorView weight_gradient, TensorView bias_gradient, std::byte* scratch) {
    backward_weights(source, destination_gradient, weight_gradient, bias_gradient, scratch, {});
  }

  /// "forward A, backward-data A, backward-weights A" of the prepared directions.
  std::string implementation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
