// One convolution or matrix product of a training step, forward and backward, in f32 or bf16, on
// reals or codes; each direction on what was measured fastest for it.
// Comes from: layers/conv2d, layers/linear, quant/quantized_layers.h.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bitloom/core/lap_clock.h"
#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"
#include "bitloom/kernels/f32_conv2d.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/kernels/precision.h"

namespace bitloom::kernels {

/// Everything that decides the primitives.
struct TrainingProblem {
  Shape source;                      ///< [N, C, H, W], or [N, I] of a linear layer
  DType source_dtype = DType::kF32;  ///< kF32 reals; kU8 or kS8 codes
  Shape weight;                      ///< [O, C/groups, KH, KW] or [O, I]
  DType weight_dtype = DType::kF32;  ///< kF32 reals; kS8 codes
  integer::Window window;            ///< stride, pad and groups; not read for [N, I]
  bool bias = false;
  Precision precision = Precision::kF32;
};

/// Formulas: f32_conv2d.h and f32_linear.h, with the reals of codes (scale * (code - zero_point)).
///
/// f32: Winograd's kernel where it pays (winograd_conv2d.h) and, for the weights of depthwise 3x3
///   windows, depthwise_weight_gradient.h, which read codes as they are; else oneDNN on f32
///   operands; codes are dequantized into scratch first.
/// bf16: operands are rounded to bf16, half to even; sums and results are f32. Codes are exact
///   there, so their scales come in beside them: dw = s_x * sum bf16(dy) * code_x, and
///   dx = sum bf16(dy * s_w[o] * slope[o]) * code_w; each is rounded once, in dy. A gradient that
///   comes in bf16 has been rounded once for both: dw[o] is then of dy * s_w[o], divided by s_w[o]
///   at the end. Biases and their
///   gradients are f32. Gradients of weights are bf16_weight_gradient.h's where channels come in
///   sixteens: all of them on AMX, where a stem's are too, else those that it does faster. What
///   stays f32: groups (oneDNN 3.2's bf16 depthwise kernels take up to 20 times as long), else
///   fewer than 16 input channels (a stem costs little and gains nothing), directions for which
///   only a slow bf16 kernel exists, and without AMX what Winograd's kernel does faster in f32.
/// A call allocates nothing of ours; results depend on shapes, precision and thread count alone.
class TrainingProduct {
 public:
  /// @throws BackendError if oneDNN has no implementation.
  TrainingProduct(const TrainingProblem& problem, const F32Directions& directions);
  ~TrainingProduct();
  TrainingProduct(TrainingProduct&&) noexcept;
  TrainingProduct& operator=(TrainingProduct&&) noexcept;

  /// Largest need of any call; `scratch` below has this many bytes, 64-byte aligned.
  std::size_t scratch_bytes() const;

  /// Reals only. `bias` is empty unless the problem has one.
  void forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
               TensorView destination, std::byte* scratch);

  struct Backward {
    ConstTensorView source;
    RowsFormat source_rows;  ///< of codes, one row
    ConstTensorView weight;
    RowsFormat weight_rows;        ///< of codes
    const float* slope = nullptr;  ///< [O]: dx is of slope[o] * weight[o]; codes only
    /// dy in f32; or where reads_bf16_gradient(), in bf16 as bf16(dy * gradient_factor[o]).
    ConstTensorView gradient;
    /// [O], the scales of the weights' codes, whose sums come out scaled then; nullptr for reals.
    const float* gradient_factor = nullptr;
    TensorView weight_gradient;  ///< empty: not asked for
    TensorView bias_gradient;    ///< empty unless the problem has a bias
    /// The shape of `source`, f32, or bf16 where writes_bf16_gradient(); empty: not asked for.
    TensorView source_gradient;
    bool adds = false;          ///< dx to what source_gradient holds; @pre adds_source_gradient()
    LapClock* clock = nullptr;  ///< the last work of a call takes no lap of its own
  };
  void backward(const Backward& call, std::byte* scratch);

  /// Whether both directions multiply dy in bf16; whether dx may be written in it.
  bool reads_bf16_gradient() const;
  bool writes_bf16_gradient() const;

  /// Whether `adds` may be asked for: Winograd's kernel can, oneDNN's cannot.
  bool adds_source_gradient() const;

  /// Names of what runs, "forward A, backward-data B, backward-weights C".
  std::string implementation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
