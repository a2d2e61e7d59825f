#include "bitloom/kernels/f32_conv2d.h"

#include "f32_weighted.h"

namespace bitloom::kernels {
namespace {

using dnnl::memory;

// O = groups * O/groups is split in oneDNN's logical dimensions; the memory is OHWI either way.
memory::desc weight_desc(const F32Conv2dProblem& problem, bool plain) {
  const Shape& w = problem.weight;
  const std::int64_t groups = problem.window.groups;
  using tag = memory::format_tag;
  constexpr auto kF32 = memory::data_type::f32;
  if (groups == 1) {
    return {{w[0], w[1], w[2], w[3]}, kF32, plain ? tag::ohwi : tag::any};
  }
  return {{groups, w[0] / groups, w[1], w[2], w[3]}, kF32, plain ? tag::gohwi : tag::any};
}

}  // namespace

Shape conv2d_output(const std::string& place, const F32Conv2dProblem& problem) {
  const Shape& x = problem.source;
  const Shape& w = problem.weight;
  const integer::Window& window = problem.window;
  const auto fail = [&](std::string expected, std::string found) {
    throw ShapeError(
        {.place = place, .expected = std::move(expected), .found = std::move(found), .remedy = ""});
  };
  if (x.rank() != 4) fail("input [N, C, H, W]", to_string(x));
  if (w.rank() != 4) fail("weight [O, I, KH, KW]", to_string(w));
  if (window.stride < 1 || window.pad < 0 || window.groups < 1) {
    fail("stride and groups of at least 1, pad of at least 0",
         cat("stride=", window.stride, ", pad=", window.pad, ", groups=", window.groups));
  }
  if (w[1] * window.groups != x[1] || w[0] % window.groups != 0) {
    fail(cat("input of ", w[1] * window.groups, " channels (weight ", to_string(w),
             ", groups=", window.groups, ")"),
         "input " + to_string(x));
  }
  const std::int64_t room_h = x[2] + 2 * window.pad - w[2];
  const std::int64_t room_w = x[3] + 2 * window.pad - w[3];
  if (room_h < 0 || room_w < 0) {
    fail(cat("an input that a ", w[2], "x", w[3], " kernel with pad=", window.pad, " fits into"),
         "input " + to_string(x));
  }
  return {x[0], w[0], room_h / window.stride + 1, room_w / window.stride + 1};
}

class F32Conv2d::Impl : public F32Weighted {
 public:
  Impl(const F32Conv2dProblem& problem, const F32Directions& directions) {
    const Shape output = conv2d_output("convolution", problem);
    const Descs descs{.source = nhwc_f32(problem.source),
                      .weight = weight_desc(problem, true),
                      .destination = nhwc_f32(output),
                      .bias = problem.bias ? vector_f32(output.c()) : memory::desc(),
                      .has_bias = problem.bias};
    const memory::desc any = weight_desc(problem, false);
    const memory::dims strides{problem.window.stride, problem.window.stride};
    const memory::dims pad{problem.window.pad, problem.window.pad};
    constexpr auto kDirect = dnnl::algorithm::convolution_direct;
    const dnnl::primitive_attr attr = user_scratchpad();

    // The backward descriptors need the forward one as a hint, even where forward never runs.
    const dnnl::convolution_forward::primitive_desc forward(
        engine(), dnnl::prop_kind::forward_training, kDirect, descs.source, any, descs.bias,
        descs.destination, strides, pad, pad, attr);
    if (directions.forward) set_forward<dnnl::convolution_forward>(forward, descs);
    if (directions.backward_data) {
      set_backward_data<dnnl::convolution_backward_data>(
          {engine(), kDirect, descs.source, any, descs.destination, strides, pad, pad, forward,
           attr},
          descs);
    }
    if (directions.backward_weights) {
      set_backward_weights<dnnl::convolution_backward_weights>(
          {engine(), kDirect, descs.source, any, descs.bias, descs.destination, strides, pad, pad,
           forward, attr},
          descs);
    }
  }
};

F32Conv2d::F32Conv2d(const F32Conv2dProblem& problem, const F32Directions& directions)
    : impl_(with_onednn_errors(
          "convolution of " + to_string(problem.source) + " by " + to_string(problem.weight),
          [&] { return std::make_unique<Impl>(problem, directions); })) {}
F32Conv2d::~F32Conv2d() = default;
F32Conv2d::F32Conv2d(F32Conv2d&&) noexcept = default;
F32Conv2d& F32Conv2d::operator=(F32Conv2d&&) noexcept = default;

std::size_t F32Conv2d::scratch_bytes() const { return impl_->scratch_bytes(); }

void F32Conv2d::forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
                        TensorView destination, std::byte* scratch) {
  impl_->forward(source, weight, bias, destination, scratch);
}

void F32Conv2d::backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                              TensorView source_gradient, std::byte* scratch) {
  impl_->backward_data(destination_gradient, weight, source_gradient, scratch);
}

void F32Conv2d::backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                                 TensorView weight_gradient, TensorView bias_gradient,
                                 std::byte* scratch) {
  impl_->backward_weights(source, destination_gradient, weight_gradient, bias_gradient, scratch);
}

std::string F32Conv2d::implementation() const { return impl_->implementation(); }

}  // namespace bitloom::kernels
