// What a quantization-aware step computes with: products of codes on the integer kernels, whose
// backward pass is f32 on the dequantized operands.
// Comes from: quant/passes.h (use_integer_forward). Goes to: layers/network.h.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "bitloom/kernels/f32_conv2d.h"
#include "bitloom/kernels/f32_linear.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/kernels/int8_product.h"
#include "bitloom/layers/layer.h"

namespace bitloom::quant {

/// Everything that float_layers() makes, and fake_quant; quantized_conv2d, quantized_linear,
/// quantized_add; exported_conv2d, exported_linear, exported_add (exported_layers.h).
layers::LayerRegistry quantized_layers();

/// `quantized_conv2d(x, weight)` and `quantized_linear(x, weight)`, both inputs codes, output f32.
///
/// Forward:  y[o] = float(acc) * m[o] (+ bias[o]), m[o] = s_x * s_w[o] computed in double, rounded
///           once; acc = sum (x - z_x) * w on int8 kernels: integer/requantize.h's first two steps.
/// Backward: conv2d's (linear's) f32 gradients with the dequantized x and weight.
/// Attributes and parameters: those of conv2d and linear.
/// Ours differs from fake quantization in float by rounding alone: sums of codes are exact.
class QuantizedProduct : public layers::Layer {
 public:
  explicit QuantizedProduct(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  layers::LayerMemory memory() const override;
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 protected:
  using FloatProduct = std::variant<kernels::F32Conv2d, kernels::F32Linear>;
  /// Reals of both operands, and the rest of a call's scratch.
  struct Workspace {
    TensorView source;
    TensorView weight;
    std::byte* scratch = nullptr;
  };

  /// `adds` says that run() is given something to add per channel, whatever the bias attribute.
  QuantizedProduct(const layers::LayerContext& context, bool adds);
  /// The product with multiplier_ and `added` (may be empty) as it stands.
  void run(const layers::ForwardCall& call, ConstTensorView added);
  Workspace workspace(std::byte* scratch) const;

  layers::Edge source_;
  layers::Edge weight_;
  kernels::RowsFormat source_rows_;
  kernels::RowsFormat weight_rows_;
  std::unique_ptr<FloatProduct> float_product_;  // only in training
  Tensor multiplier_;
  layers::Parameter* bias_ = nullptr;

 private:
  std::size_t float_scratch_bytes() const;

  layers::Edge edge_;
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
