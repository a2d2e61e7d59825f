// What a convolution and a matrix product share: three directions, each with weights in a layout
// of its own, reordered from or to the master weights at each call.
// Goes to: f32_conv2d.cpp, f32_linear.cpp.
#pragma once

#include <string>
#include <utility>

#include "bitloom/core/tensor.h"
#include "f32_primitive.h"

namespace bitloom::kernels {

/// One direction. Scratch: [weights in own layout][scratchpad of reorder or primitive].
struct WeightedPrimitive {
  PreparedPrimitive primitive;
  PreparedPrimitive reorder;     ///< empty where own and master layout are the same
  std::size_t weight_bytes = 0;  ///< of the own layout; 0 without a reorder

  std::size_t scratch_bytes() const;
  /// Reorders master weights; returns where the primitive reads them.
  const void* own_weights(ConstTensorView master, std::byte* scratch);
  std::byte* scratchpad(std::byte* scratch) const;
};

/// Forward and backward calls over the three directions; the derived class fills them.
class F32Weighted {
 public:
  std::size_t scratch_bytes() const;
  void forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
               TensorView destination, std::byte* scratch);
  void backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                     TensorView source_gradient, std::byte* scratch);
  void backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                        TensorView weight_gradient, TensorView bias_gradient, std::byte* scratch);
  std::string implementation() const;

 protected:
  /// Descriptors of the tensors between layers; weights in the master's layout.
  struct Descs {
    dnnl::memory::desc source, weight, destination, bias;
    bool has_bias = false;
  };
  template <typename Primitive>
  void set_forward(const typename Primitive::primitive_desc& pd, const Descs& descs);
  template <typename Primitive>
  void set_backward_data(const typename Primitive::primitive_desc& pd, const Descs& descs);
  template <typename Primitive>
  void set_backward_weights(const typename Primitive::primitive_desc& pd, const Descs& descs);

 private:
  WeightedPrimitive forward_, backward_data_, backward_weights_;
};

/// A reorder, or an empty primitive where the layouts are the same.
PreparedPrimitive make_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to);

template <typename Primitive>
void F32Weighted::set_forward(const typename Primitive::primitive_desc& pd, const Descs& descs) {
  const dnnl::memory::desc own = pd.weights_desc();
  std::vector<PrimitiveArgument> arguments{
      {DNNL_ARG_SRC, descs.source}, {DNNL_ARG_WEIGHTS, own}, {DNNL_ARG_DST, descs.destination}};
  if (descs.has_bias) arguments.push_back({DNNL_ARG_BIAS, descs.bias});
  forward_.primitive = PreparedPrimitive::make<Primitive>(pd, arguments);
  forward_.reorder = make_reorder(descs.weight, own);
  forward_.weight_bytes = forward_.reorder ? own.get_size() : 0;
}

template <typename Primitive>
void F32Weighted::set_backward_data(const typename Primitive::primitive_desc& pd,
                                    const Descs& descs) {
  const dnnl::memory::desc own = pd.weights_desc();
  backward_data_.primitive =
      PreparedPrimitive::make<Primitive>(pd, {{DNNL_ARG_DIFF_DST, descs.destination},
                                              {DNNL_ARG_WEIGHTS, own},
                                              {DNNL_ARG_DIFF_SRC, descs.source}});
  backward_data_.reorder = make_reorder(descs.weight, own);
  backward_data_.weight_bytes = backward_data_.reorder ? own.get_size() : 0;
}

template <typename Primitive>
void F32Weighted::set_backward_weights(const typename Primitive::primitive_desc& pd,
                                       const Descs& descs) {
  const dnnl::memory::desc own = pd.diff_weights_desc();
  std::vector<PrimitiveArgument> arguments{{DNNL_ARG_SRC, descs.source},
                                           {DNNL_ARG_DIFF_DST, descs.destination},
                                           {DNNL_ARG_DIFF_WEIGHTS, own}};
  if (descs.has_bias) arguments.push_back({DNNL_ARG_DIFF_BIAS, descs.bias});
  backward_weights_.primitive = PreparedPrimitive::make<Primitive>(pd, arguments);
  backward_weights_.reorder = make_reorder(own, descs.weight);
  backward_weights_.weight_bytes = backward_weights_.reorder ? own.get_size() : 0;
}

}  // namespace bitloom::kernels
