// Lowering of one conv2d or linear: weights, multipliers and biases of its layer.
// Goes to: lower.cpp.
#pragma once

#include "bitloom/deploy/lower.h"
#include "bitloom/integer/requantize.h"
#include "bitloom/quant/chain.h"

namespace bitloom::deploy {

/// Makes the layer of a chain that opens with conv2d or linear. Formulas: deploy/lower.h.
class ProductLowering {
 public:
  /// All are kept by reference; `model` grows while it is lowered.
  ProductLowering(const layers::Graph& graph, const layers::ParameterStore& store,
                  const LowerOptions& options, const integer::Model& model);

  /// Name, operation, clip and window of the chain's layer.
  integer::Layer start(const quant::Chain& chain) const;
  bool integers_only() const { return integers_only_; }
  Shape output_shape(const quant::Chain& chain, const Shape& source) const;
  /// Mode, weights, multiplier, bias and residual ratio. @pre layer.inputs are in the model.
  /// @throws ConfigError naming the layer unless source and weight are both codes or both reals,
  ///         or as the method (ptq-dynamic, ptq-weight-only) wants them.
  void fill(const quant::Chain& chain, const integer::TensorInfo& output,
            integer::Layer& layer) const;

 private:
  void fill_codes(const layers::Node& weight_node, integer::Layer& layer) const;
  void fold(const quant::Chain& chain, integer::ChannelScales scales, integer::Layer& layer) const;
  void fold_negative(const quant::Chain& chain, const layers::Node& weight_node,
                     integer::ChannelScales scales, integer::Layer& layer) const;
  void fill_real_source(const quant::Chain& chain, const layers::Node& weight_node,
                        const integer::TensorInfo& source, integer::Layer& layer) const;
  void fill_static(const quant::Chain& chain, const layers::Node& weight_node,
                   const integer::TensorInfo& source, const integer::TensorInfo& output,
                   integer::Layer& layer) const;
  void fill_float(const quant::Chain& chain, const Tensor& weight, integer::Layer& layer) const;

  const layers::Node& weight_node(const quant::Chain& chain) const;
  const Tensor& weight(const quant::Chain& chain) const;

  const layers::Graph& graph_;
  const layers::ParameterStore& store_;
  const LowerOptions& options_;
  const integer::Model& model_;
  bool keeps_reals_;
  bool integers_only_;  ///< by profile: fixed_point_lowering.h
};

}  // namespace bitloom::deploy
