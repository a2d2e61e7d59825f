#include "bitloom/kernels/f32_linear.h"

#include "f32_weighted.h"

namespace bitloom::kernels {

using dnnl::memory;

class F32Linear::Impl : public F32Weighted {
 public:
  Impl(const F32LinearProblem& problem, const F32Directions& directions) {
    constexpr auto kF32 = memory::data_type::f32;
    const memory::dims source{problem.source.n(), problem.source.c()};
    const memory::dims weight{problem.weight.n(), problem.weight.c()};
    const memory::dims destination{source[0], weight[0]};
    const Descs descs{.source = {source, kF32, memory::format_tag::nc},
                      .weight = {weight, kF32, memory::format_tag::oi},
                      .destination = {destination, kF32, memory::format_tag::nc},
                      .bias = problem.bias ? vector_f32(weight[0]) : memory::desc(),
                      .has_bias = problem.bias};
    const memory::desc any(weight, kF32, memory::format_tag::any);
    const dnnl::primitive_attr attr = user_scratchpad();

    const dnnl::inner_product_forward::primitive_desc forward(
        engine(), dnnl::prop_kind::forward_training, descs.source, any, descs.bias,
        descs.destination, attr);
    if (directions.forward) set_forward<dnnl::inner_product_forward>(forward, descs);
    if (directions.backward_data) {
      set_backward_data<dnnl::inner_product_backward_data>(
          {engine(), descs.source, any, descs.destination, forward, attr}, descs);
    }
    if (directions.backward_weights) {
      set_backward_weights<dnnl::inner_product_backward_weights>(
          {engine(), descs.source, any, descs.bias, descs.destination, forward, attr}, descs);
    }
  }
};

F32Linear::F32Linear(const F32LinearProblem& problem, const F32Directions& directions)
    : impl_(with_onednn_errors(
          "product of " + to_string(problem.source) + " by " + to_string(problem.weight),
          [&] { return std::make_unique<Impl>(problem, directions); })) {}
F32Linear::~F32Linear() = default;
F32Linear::F32Linear(F32Linear&&) noexcept = default;
F32Linear& F32Linear::operator=(F32Linear&&) noexcept = default;

std::size_t F32Linear::scratch_bytes() const { return impl_->scratch_bytes(); }

void F32Linear::forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
                        TensorView destination, std::byte* scratch) {
  impl_->forward(source, weight, bias, destination, scratch);
}

void F32Linear::backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                              TensorView source_gradient, std::byte* scratch) {
  impl_->backward_data(destination_gradient, weight, source_gradient, scratch);
}

void F32Linear::backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                                 TensorView weight_gradient, TensorView bias_gradient,
                                 std::byte* scratch) {
  impl_->backward_weights(source, destination_gradient, weight_gradient, bias_gradient, scratch);
}

std::string F32Linear::implementation() const { return impl_->implementation(); }

}  // namespace bitloom::kernels
