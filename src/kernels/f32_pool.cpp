#include "bitloom/kernels/f32_pool.h"

#include <algorithm>

#include "f32_primitive.h"

namespace bitloom::kernels {

Shape pool_output(const std::string& place, const Shape& source, const integer::Window& window) {
  const auto fail = [&](std::string expected, std::string found) {
    throw ShapeError(
        {.place = place, .expected = std::move(expected), .found = std::move(found), .remedy = ""});
  };
  if (source.rank() != 4) fail("input [N, C, H, W]", to_string(source));
  const std::int64_t least = std::min(window.kernel_h, window.kernel_w);
  if (least < 1 || window.stride < 1 || window.pad < 0 || 2 * window.pad > least) {
    fail("kernel and stride of at least 1, pad of 0 to half the kernel",
         cat("kernel=", window.kernel_h, "x", window.kernel_w, ", stride=", window.stride,
             ", pad=", window.pad));
  }
  const std::int64_t room_h = source.h() + 2 * window.pad - window.kernel_h;
  const std::int64_t room_w = source.w() + 2 * window.pad - window.kernel_w;
  if (room_h < 0 || room_w < 0) {
    fail(cat("an input that a ", window.kernel_h, "x", window.kernel_w,
             " window with pad=", window.pad, " fits into"),
         "input " + to_string(source));
  }
  return {source.n(), source.c(), room_h / window.stride + 1, room_w / window.stride + 1};
}

class F32Pool::Impl {
 public:
  Impl(const F32PoolProblem& problem, bool training) {
    using dnnl::algorithm;
    const integer::Window& window = problem.window;
    const algorithm kind = algorithm::pooling_max;
    const dnnl::memory::desc source = nhwc_f32(problem.source);
    const dnnl::memory::desc destination = nhwc_f32(pool_output("pooling", problem.source, window));
    const dnnl::memory::dims strides{window.stride, window.stride};
    const dnnl::memory::dims kernel{window.kernel_h, window.kernel_w};
    const dnnl::memory::dims dilation{0, 0};
    const dnnl::memory::dims pad{window.pad, window.pad};
    const dnnl::primitive_attr attr = user_scratchpad();

    const dnnl::pooling_forward::primitive_desc pd(
        engine(), training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference,
        kind, source, destination, strides, kernel, dilation, pad, pad, attr);
    std::vector<PrimitiveArgument> forward_arguments{{DNNL_ARG_SRC, source},
                                                     {DNNL_ARG_DST, destination}};
    std::vector<PrimitiveArgument> backward_arguments{{DNNL_ARG_DIFF_DST, destination},
                                                      {DNNL_ARG_DIFF_SRC, source}};
    if (training) {
      workspace_bytes = pd.workspace_desc().get_size();
      forward_arguments.push_back({DNNL_ARG_WORKSPACE, pd.workspace_desc()});
      backward_arguments.push_back({DNNL_ARG_WORKSPACE, pd.workspace_desc()});
    }
    forward = PreparedPrimitive::make<dnnl::pooling_forward>(pd, forward_arguments);
    if (!training) return;
    backward = PreparedPrimitive::make<dnnl::pooling_backward>(
        {engine(), kind, source, destination, strides, kernel, dilation, pad, pad, pd, attr},
        backward_arguments);
  }

  PreparedPrimitive forward, backward;
  std::size_t workspace_bytes = 0;
};

F32Pool::F32Pool(const F32PoolProblem& problem, bool training)
    : impl_(with_onednn_errors("pooling of " + to_string(problem.source),
                               [&] { return std::make_unique<Impl>(problem, training); })) {}
F32Pool::~F32Pool() = default;
F32Pool::F32Pool(F32Pool&&) noexcept = default;
F32Pool& F32Pool::operator=(F32Pool&&) noexcept = default;

std::size_t F32Pool::scratch_bytes() const {
  return std::max(impl_->forward.scratchpad_bytes(), impl_->backward.scratchpad_bytes());
}

std::size_t F32Pool::workspace_bytes() const { return impl_->workspace_bytes; }

void F32Pool::forward(ConstTensorView source, TensorView destination, std::byte* workspace,
                      std::byte* scratch) {
  impl_->forward.run({source.raw(), destination.raw(), workspace}, scratch);
}

void F32Pool::backward(ConstTensorView destination_gradient, const std::byte* workspace,
                       TensorView source_gradient, std::byte* scratch) {
  impl_->backward.run({destination_gradient.raw(), source_gradient.raw(), workspace}, scratch);
}

std::string F32Pool::implementation() const {
  return names_of({{"forward", &impl_->forward}, {"backward", &impl_->backward}});
}

}  // namespace bitloom::kernels
