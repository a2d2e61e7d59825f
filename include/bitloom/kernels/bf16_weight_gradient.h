// The gradient of a convolution's weights from bf16 operands, for CPUs with AVX512-BF16 or AMX.
// Comes from: kernels/training_product.h. Nothing like it in oneDNN 3.2: see the numbers below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/f32_conv2d.h"

namespace bitloom::kernels {

/// dw[o,u,v,i] = scale * sum_{n,y,x} bf16(dy[n,o,y,x]) * c[n,i,y*s+u-p,x*s+v-p]
/// db[o]       = sum_{n,y,x} dy[n,o,y,x]
/// dd[n,o,y,x] = bf16(dy[n,o,y,x] * data_factor[o]), what backward-data will multiply
///
/// with c = bf16(source - zero_point), rounded half to even (codes are exact). Where the gradient
/// comes as dd itself, dw and db are of dd and divided by data_factor[o] at the end. Products are
/// summed in f32 in an order that depends on shapes and thread count alone; numbers below 2^-126
/// count as 0.
///
/// Each thread takes some images, and of those as much at a time as fits its second-level cache:
/// their bytes (or f32) become bf16 in pairs of neighbouring columns, which is what the
/// instruction multiplies; then sums stay in registers over all of these images. oneDNN reads
/// bf16 tensors that lie in memory and transposes them once more: on a Zen 4 (two threads, batch
/// 128) its kernel runs 16 -> 16 channels of 32x32 at 257 GFLOP/s, a strided one at 72; this one at
/// 398 and 379, conversions included.
class Bf16WeightGradient {
 public:
  /// True if the CPU (within the ISA cap) and the problem fit: no groups, channels in sixteens,
  /// stride 1 or 2, kernels 1, 3 or 5 columns wide. On AMX also fewer than sixteen input channels,
  /// of which a row of the window has up to 64 values.
  static bool supports(const F32Conv2dProblem& problem);

  /// @pre supports(problem).
  explicit Bf16WeightGradient(const F32Conv2dProblem& problem);

  /// Operands and results of one call; NHWC and OHWI.
  struct Call {
    const void* source = nullptr;  ///< [N, H, W, I]
    DType source_dtype = DType::kF32;
    std::int32_t zero_point = 0;     ///< of codes
    const void* gradient = nullptr;  ///< dy in f32, or dd in bf16 [N, H', W', O]
    DType gradient_dtype = DType::kF32;
    float scale = 1.0F;
    float* weight_gradient = nullptr;    ///< dw [O, KH, KW, I]
    float* bias_gradient = nullptr;      ///< db [O], or nullptr
    const float* data_factor = nullptr;  ///< [O], or nullptr for 1
    Bf16* data_gradient = nullptr;       ///< dd [N, H', W', O], of dy in f32 alone, or nullptr
  };
  /// What run() needs, 64-byte aligned.
  std::size_t scratch_bytes() const;
  void run(const Call& call, std::byte* scratch) const noexcept;

  /// Sizes that everything below follows from.
  struct Sizes {
    explicit Sizes(const F32Conv2dProblem& problem);
    std::int64_t weights() const { return outputs * kernel_h * kernel_w * inputs; }

    std::int64_t images, height, width, inputs;   // of the source
    std::int64_t out_height, out_width, outputs;  // of the gradient
    std::int64_t kernel_h, kernel_w, stride, pad;
  };

  /// Without AMX.
  struct Plan : Sizes {
    std::int64_t phases;     // columns of one remainder by the stride lie together
    std::int64_t row_pairs;  // of one phase of one source row, with what taps read beyond
    std::int64_t out_pairs;  // of one gradient row
    std::int64_t group;      // images converted at a time
  };

  /// With AMX: a convolution as one long correlation. Source and gradient lie in lines of pixels,
  /// rows `pitch` and images rows * pitch pixels apart, with zeros between them, so that each tap
  /// is a distance:
  ///
  ///   dw[o,u,v,i] = sum_q dy[q][o] * x[q + (u/s) * pitch + v/s][i]
  ///
  /// q runs over the whole line in steps of 32 pixels, a product of tiles each. At stride s there
  /// is a line of source pixels for each remainder of row and column. Zeros on the right of a row
  /// are those on the left of the next, likewise between images.
  ///
  /// Of fewer than sixteen channels a row of the window is one tap: its kernel_w * channels values
  /// lie together in the source and in dw, and count as the input channels of a window one column
  /// wide (inputs, kernel_w), rounded up to sixteens with zeros.
  struct TilePlan : Sizes {
    std::int64_t channels;            // of the source
    std::int64_t window_row;          // values under a row of the window
    std::int64_t pitch;               // pixels from row to row, even
    std::int64_t rows;                // of an image, with those of zeros
    std::int64_t phases_h, phases_w;  // lines of source pixels
    std::int64_t parities;            // 2 where taps begin at odd pixels too
    std::int64_t panel;               // blocks of sixteen input channels converted at a time
    std::int64_t group;               // rows converted at a time

    bool unfolds() const { return channels % 16 != 0; }
  };

  /// "pairs:avx512_core_bf16" or "tiles:avx512_core_amx".
  const char* implementation() const;

 private:
  struct Piece;
  std::size_t thread_bytes() const;
  std::size_t sum_bytes() const;
  std::int64_t sums_apart() const;
  Piece piece(std::int64_t index, const Call& call, std::byte* scratch) const;

  Plan plan_;
  std::optional<TilePlan> tiles_;
  // The work is cut into so many parts of the images, each into so many parts of the outputs.
  std::int64_t image_pieces_ = 1;
  std::int64_t output_pieces_ = 1;
};

namespace reference {
/// The same sums in double, of the same rounded operands; writes no data_gradient.
void bf16_weight_gradient(const F32Conv2dProblem& problem, const Bf16WeightGradient::Call& call);
}  // namespace reference

}  // namespace bitloom::kernels
