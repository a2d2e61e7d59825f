// The gradient of a depthwise convolution's weights from codes or reals, with Google Highway.
// Comes from: kernels/training_product.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/f32_conv2d.h"

namespace bitloom::kernels {

/// dw[c,u,v] = scale * sum_{n,y,x} dy[n,c,y,x] * (source[n,c,y*s+u-p,x*s+v-p] - zero_point)
/// db[c]     = sum_{n,y,x} dy[n,c,y,x]
///
/// Windows of 3x3 at stride 1 or 2. There is little to multiply: what counts is that each element
/// is read once, and codes as the bytes that they are (oneDNN needs them as f32 in memory: four
/// times as many, written first). Sums are f32 over a row, then over the rows and images of a
/// thread, in an order that depends on shapes, ISA and thread count alone.
class DepthwiseWeightGradient {
 public:
  /// True for one input channel an output, channels in sixteens, windows of 3x3, stride 1 or 2 and
  /// the same pad on both axes.
  static bool supports(const F32Conv2dProblem& problem);

  /// @pre supports(problem).
  explicit DepthwiseWeightGradient(const F32Conv2dProblem& problem);

  struct Call {
    const void* source = nullptr;  ///< [N, H, W, C]
    DType source_dtype = DType::kF32;
    std::int32_t zero_point = 0;       ///< of codes
    const float* gradient = nullptr;   ///< dy [N, H', W', C]
    float scale = 1.0F;                ///< of codes; 1 for reals
    float* weight_gradient = nullptr;  ///< dw [C, 3, 3]
    float* bias_gradient = nullptr;    ///< db [C], or nullptr
  };
  /// What run() needs, 64-byte aligned.
  std::size_t scratch_bytes() const;
  void run(const Call& call, std::byte* scratch) const noexcept;

  /// Name of the instructions that run, as Highway calls them.
  static const char* target() noexcept;

 private:
  std::int64_t images_ = 0, height_ = 0, width_ = 0, channels_ = 0;
  std::int64_t out_height_ = 0, out_width_ = 0;
  std::int64_t stride_ = 1, pad_ = 0;
  std::int64_t pieces_ = 1;
};

}  // namespace bitloom::kernels
