// What a quantization-aware step computes with: products of codes on the integer kernels, whose
// backward pass is f32 or bf16 on the same operands.
// Comes from: quant/passes.h (use_integer_forward). Goes to: layers/network.h.
#pragma once

#include <memory>

#include "bitloom/kernels/fake_quant.h"
#include "bitloom/kernels/int8_product.h"
#include "bitloom/kernels/popcount_product.h"
#include "bitloom/kernels/training_product.h"
#include "bitloom/layers/layer.h"

namespace bitloom::quant {

/// Everything that float_layers() makes, and fake_quant; quantized_conv2d, quantized_linear,
/// quantized_add; exported_conv2d, exported_linear, exported_add (exported_layers.h).
layers::LayerRegistry quantized_layers();

/// `quantized_conv2d(x, weight, sums=0)` and `quantized_linear(x, weight, sums=0)`, both inputs
/// codes, output f32.
///
/// Forward:  y[o] = float(acc) * m[o] (+ bias[o]), m[o] = s_x * s_w[o] computed in double, rounded
///           once; acc = sum (x - z_x) * w on int8 kernels: integer/requantize.h's first two steps.
/// Backward: conv2d's (linear's) gradients with the reals of x and weight;
/// kernels/training_product.h
///           says how in which precision.
/// Attributes and parameters: those of conv2d and linear; sums=1 where the one reader takes sums
///           (Edge): the output is then acc in bf16 with the scales m, where bf16 holds every sum:
///           of binary or ternary codes over at most 256 products, 512 if all sums are even.
/// Ours differs from fake quantization in float by rounding alone: sums of codes are exact.
class QuantizedProduct : public layers::Layer {
 public:
  explicit QuantizedProduct(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  layers::LayerMemory memory() const override;
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 protected:
  /// `adds` says that run() is given something to add per channel, whatever the bias attribute.
  QuantizedProduct(const layers::LayerContext& context, bool adds);
  /// The product with multiplier_ and `added` (may be empty) as it stands.
  void run(const layers::ForwardCall& call, ConstTensorView added);
  /// Both operands and the clock of a backward pass; its results are the caller's to name.
  kernels::TrainingProduct::Backward backward_call(const layers::BackwardCall& call) const;

  layers::Edge source_;
  layers::Edge weight_;
  kernels::RowsFormat source_rows_;
  kernels::RowsFormat weight_rows_;
  std::unique_ptr<kernels::TrainingProduct> training_product_;  // only in training
  Tensor multiplier_;
  Tensor gradient_factor_;  // scales of the weights' channels
  layers::Parameter* bias_ = nullptr;

 private:
  layers::Edge edge_;
  std::unique_ptr<kernels::PopcountProduct> popcount_;  // binary and ternary codes, where faster
  Tensor no_bias_;                                      // zeros, for popcount_
  bool leaves_sums_;                                    // acc in bf16, not reals
  kernels::Int8Product product_;
};

/// `quantized_add(branch, shortcut)`: reals plus codes, y = branch + s * (code - z). Gradients of
/// both inputs are the output's.
class QuantizedAdd final : public layers::Layer {
 public:
  explicit QuantizedAdd(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 private:
  layers::Edge edge_;
  layers::Edge shortcut_;
  kernels::RowsFormat shortcut_rows_;
};

}  // namespace bitloom::quant
