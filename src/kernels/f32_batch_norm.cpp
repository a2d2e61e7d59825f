#include "bitloom/kernels/f32_batch_norm.h"

#include <algorithm>

#include "f32_primitive.h"

namespace bitloom::kernels {

class F32BatchNorm::Impl {
 public:
  Impl(const F32BatchNormProblem& problem, bool training) {
    using dnnl::normalization_flags;
    using dnnl::prop_kind;
    const auto affine = normalization_flags::use_scale | normalization_flags::use_shift;
    const auto given = affine | normalization_flags::use_global_stats;
    const dnnl::memory::desc data = nhwc_f32(problem.source);
    const dnnl::memory::desc channel = vector_f32(problem.source.c());
    const dnnl::primitive_attr attr = user_scratchpad();

    evaluate = PreparedPrimitive::make<dnnl::batch_normalization_forward>(
        {engine(), prop_kind::forward_inference, data, data, problem.epsilon, given, attr},
        {{DNNL_ARG_SRC, data},
         {DNNL_ARG_SCALE, channel},
         {DNNL_ARG_SHIFT, channel},
         {DNNL_ARG_MEAN, channel},
         {DNNL_ARG_VARIANCE, channel},
         {DNNL_ARG_DST, data}});
    if (!training) return;
    const auto flags = problem.frozen ? given : affine;
    const dnnl::batch_normalization_forward::primitive_desc forward(
        engine(), prop_kind::forward_training, data, data, problem.epsilon, flags, attr);
    train = PreparedPrimitive::make<dnnl::batch_normalization_forward>(
        forward, {{DNNL_ARG_SRC, data},
                  {DNNL_ARG_SCALE, channel},
                  {DNNL_ARG_SHIFT, channel},
                  {DNNL_ARG_MEAN, channel},
                  {DNNL_ARG_VARIANCE, channel},
                  {DNNL_ARG_DST, data}});
    backward = PreparedPrimitive::make<dnnl::batch_normalization_backward>(
        {engine(), prop_kind::backward, data, data, data, problem.epsilon, flags, forward, attr},
        {{DNNL_ARG_SRC, data},
         {DNNL_ARG_SCALE, channel},
         {DNNL_ARG_MEAN, channel},
         {DNNL_ARG_VARIANCE, channel},
         {DNNL_ARG_DIFF_DST, data},
         {DNNL_ARG_DIFF_SRC, data},
         {DNNL_ARG_DIFF_SCALE, channel},
         {DNNL_ARG_DIFF_SHIFT, channel}});
  }

  PreparedPrimitive train, evaluate, backward;
};

F32BatchNorm::F32BatchNorm(const F32BatchNormProblem& problem, bool training)
    : impl_(with_onednn_errors("batch norm of " + to_string(problem.source),
                               [&] { return std::make_unique<Impl>(problem, training); })) {}
F32BatchNorm::~F32BatchNorm() = default;
F32BatchNorm::F32BatchNorm(F32BatchNorm&&) noexcept = default;
F32BatchNorm& F32BatchNorm::operator=(F32BatchNorm&&) noexcept = default;

std::size_t F32BatchNorm::scratch_bytes() const {
  return std::max({impl_->train.scratchpad_bytes(), impl_->evaluate.scratchpad_bytes(),
                   impl_->backward.scratchpad_bytes()});
}

void F32BatchNorm::forward_train(ConstTensorView source, ConstTensorView gamma,
                                 ConstTensorView beta, TensorView mean, TensorView variance,
                                 TensorView destination, std::byte* scratch) {
  impl_->train.run(
      {source.raw(), gamma.raw(), beta.raw(), mean.raw(), variance.raw(), destination.raw()},
      scratch);
}

void F32BatchNorm::forward_evaluate(ConstTensorView source, ConstTensorView gamma,
                                    ConstTensorView beta, ConstTensorView mean,
                                    ConstTensorView variance, TensorView destination,
                                    std::byte* scratch) {
  impl_->evaluate.run(
      {source.raw(), gamma.raw(), beta.raw(), mean.raw(), variance.raw(), destination.raw()},
      scratch);
}

void F32BatchNorm::backward(ConstTensorView source, ConstTensorView gamma, ConstTensorView mean,
                            ConstTensorView variance, ConstTensorView destination_gradient,
                            TensorView source_gradient, TensorView gamma_gradient,
                            TensorView beta_gradient, std::byte* scratch) {
  impl_->backward.run(
      {source.raw(), gamma.raw(), mean.raw(), variance.raw(), destination_gradient.raw(),
       source_gradient.raw(), gamma_gradient.raw(), beta_gradient.raw()},
      scratch);
}

std::string F32BatchNorm::implementation() const {
  return impl_->train ? impl_->train.implementation() : impl_->evaluate.implementation();
}

}  // namespace bitloom::kernels
