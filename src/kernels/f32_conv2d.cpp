#include "bitloom/kernels/f32_conv2d.h"

#include <algorithm>

#include "f32_primitive.h"
#include "int8_geometry.h"

namespace bitloom::kernels {
namespace {

using dnnl::memory;

// O = groups * O/groups is split in oneDNN's logical dimensions; the memory is OHWI either way.
memory::desc weight_desc(const F32Conv2dProblem& problem, DType dtype, bool plain) {
  const Shape& w = problem.weight;
  const std::int64_t groups = problem.window.groups;
  using Tag = memory::format_tag;
  const memory::data_type type = onednn_type(dtype);
  if (groups == 1) {
    return {{w[0], w[1], w[2], w[3]}, type, plain ? Tag::ohwi : Tag::any};
  }
  return {{groups, w[0] / groups, w[1], w[2], w[3]}, type, plain ? Tag::gohwi : Tag::any};
}

// One direction and the reorder between the master weights and the layout it is fastest with.
// Scratch: [weights in own layout][scratchpad of reorder or primitive].
struct Direction {
  PreparedPrimitive primitive;
  PreparedPrimitive reorder;     // empty where own and master layout are the same
  std::size_t weight_bytes = 0;  // of the own layout; 0 without a reorder

  void set_reorder(const memory::desc& from, const memory::desc& to, const memory::desc& own) {
    if (from == to) return;
    const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, user_scratchpad());
    reorder =
        PreparedPrimitive::make<dnnl::reorder>(pd, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    weight_bytes = own.get_size();
  }
  std::size_t scratch_bytes() const {
    return aligned(weight_bytes) +
           std::max(primitive.scratchpad_bytes(), reorder.scratchpad_bytes());
  }
  std::byte* scratchpad(std::byte* scratch) const { return scratch + aligned(weight_bytes); }
  // Reorders master weights; returns where the primitive reads them.
  const void* own_weights(ConstTensorView master, std::byte* scratch) {
    if (!reorder) return master.raw();
    reorder.run({master.raw(), scratch}, scratchpad(scratch));
    return scratch;
  }
};

// The tensors between layers; weights in the master's layout. Operands have the problem's type,
// so may the source's gradient; other results are f32.
struct Descs {
  memory::desc source, weight, destination_gradient, bias;
  memory::desc destination, source_gradient, weight_gradient;
};

Direction make_forward(const dnnl::convolution_forward::primitive_desc& pd, const Descs& descs) {
  const memory::desc own = pd.weights_desc();
  std::vector<PrimitiveArgument> arguments{
      {DNNL_ARG_SRC, descs.source}, {DNNL_ARG_WEIGHTS, own}, {DNNL_ARG_DST, descs.destination}};
  if (!descs.bias.is_zero()) arguments.push_back({DNNL_ARG_BIAS, descs.bias});
  Direction out;
  out.primitive = PreparedPrimitive::make<dnnl::convolution_forward>(pd, arguments);
  out.set_reorder(descs.weight, own, own);
  return out;
}

Direction make_backward_data(const dnnl::convolution_backward_data::primitive_desc& pd,
                             const Descs& descs) {
  const memory::desc own = pd.weights_desc();
  Direction out;
  out.primitive = PreparedPrimitive::make<dnnl::convolution_backward_data>(
      pd, {{DNNL_ARG_DIFF_DST, descs.destination_gradient},
           {DNNL_ARG_WEIGHTS, own},
           {DNNL_ARG_DIFF_SRC, descs.source_gradient}});
  out.set_reorder(descs.weight, own, own);
  return out;
}

// oneDNN 3.2's AVX2 kernel for strided 1x1 windows gives wrong sums on several threads: with 4 -> 6
// channels at 8x8 they are off by 0.9 of the largest, on one thread by nothing.
void skip_racing(dnnl::convolution_backward_weights::primitive_desc& pd,
                 const integer::Window& window) {
  while (window.stride > 1 && std::string(pd.impl_info_str()) == "jit_1x1:avx2") {
    if (!pd.next_impl()) break;
  }
}

Direction make_backward_weights(const dnnl::convolution_backward_weights::primitive_desc& pd,
                                const Descs& descs) {
  const memory::desc own = pd.diff_weights_desc();
  std::vector<PrimitiveArgument> arguments{{DNNL_ARG_SRC, descs.source},
                                           {DNNL_ARG_DIFF_DST, descs.destination_gradient},
                                           {DNNL_ARG_DIFF_WEIGHTS, own}};
  if (!descs.bias.is_zero()) arguments.push_back({DNNL_ARG_DIFF_BIAS, descs.bias});
  Direction out;
  out.primitive = PreparedPrimitive::make<dnnl::convolution_backward_weights>(pd, arguments);
  out.set_reorder(own, descs.weight_gradient, own);
  return out;
}

std::string pad_text(const integer::Window& window) {
  return window.pad_w() == window.pad_h() ? cat(window.pad_h())
                                          : cat(window.pad_h(), "x", window.pad_w());
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
  const std::int64_t room_h = x[2] + 2 * window.pad_h() - w[2];
  const std::int64_t room_w = x[3] + 2 * window.pad_w() - w[3];
  if (room_h < 0 || room_w < 0) {
    fail(cat("an input that a ", w[2], "x", w[3], " kernel with pad=", pad_text(window),
             " fits into"),
         "input " + to_string(x));
  }
  return {x[0], w[0], room_h / window.stride + 1, room_w / window.stride + 1};
}

class F32Conv2d::Impl {
 public:
  Impl(const F32Conv2dProblem& problem, const F32Directions& directions) {
    const Shape output = conv2d_output("convolution", problem);
    const DType type = problem.operands;
    const Descs descs{.source = nhwc(problem.source, type),
                      .weight = weight_desc(problem, type, true),
                      .destination_gradient = nhwc(output, type),
                      .bias = problem.bias ? vector_f32(output.c()) : memory::desc(),
                      .destination = nhwc(output, DType::kF32),
                      .source_gradient = nhwc(problem.source, problem.source_gradient),
                      .weight_gradient = weight_desc(problem, DType::kF32, true)};
    const memory::desc any = weight_desc(problem, type, false);
    const memory::dims strides{problem.window.stride, problem.window.stride};
    const memory::dims pad{problem.window.pad_h(), problem.window.pad_w()};
    constexpr auto kDirect = dnnl::algorithm::convolution_direct;
    const dnnl::primitive_attr attr = user_scratchpad();

    // The backward descriptors need the forward one as a hint, even where forward never runs.
    const dnnl::convolution_forward::primitive_desc hint(
        engine(), dnnl::prop_kind::forward_training, kDirect, descs.source, any, descs.bias,
        descs.destination_gradient, strides, pad, pad, attr);
    if (directions.forward) {
      forward = make_forward({engine(), dnnl::prop_kind::forward_training, kDirect, descs.source,
                              any, descs.bias, descs.destination, strides, pad, pad, attr},
                             descs);
    }
    if (directions.backward_data) {
      backward_data =
          make_backward_data({engine(), kDirect, descs.source_gradient, any,
                              descs.destination_gradient, strides, pad, pad, hint, attr},
                             descs);
    }
    if (directions.backward_weights) {
      dnnl::convolution_backward_weights::primitive_desc pd(
          engine(), kDirect, descs.source, weight_desc(problem, DType::kF32, false), descs.bias,
          descs.destination_gradient, strides, pad, pad, hint, attr);
      skip_racing(pd, problem.window);
      backward_weights = make_backward_weights(pd, descs);
    }
  }

  Direction forward, backward_data, backward_weights;
};

F32Conv2d::F32Conv2d(const F32Conv2dProblem& problem, const F32Directions& directions)
    : impl_(with_onednn_errors(
          "convolution of " + to_string(problem.source) + " by " + to_string(problem.weight),
          [&] { return std::make_unique<Impl>(problem, directions); })) {}
F32Conv2d::~F32Conv2d() = default;
F32Conv2d::F32Conv2d(F32Conv2d&&) noexcept = default;
F32Conv2d& F32Conv2d::operator=(F32Conv2d&&) noexcept = default;

std::size_t F32Conv2d::scratch_bytes() const {
  return std::max({impl_->forward.scratch_bytes(), impl_->backward_data.scratch_bytes(),
                   impl_->backward_weights.scratch_bytes()});
}

void F32Conv2d::forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
                        TensorView destination, std::byte* scratch) {
  Direction& direction = impl_->forward;
  const void* own = direction.own_weights(weight, scratch);
  direction.primitive.run({source.raw(), own, destination.raw(), bias.raw()},
                          direction.scratchpad(scratch));
}

void F32Conv2d::backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                              TensorView source_gradient, std::byte* scratch) {
  Direction& direction = impl_->backward_data;
  const void* own = direction.own_weights(weight, scratch);
  direction.primitive.run({destination_gradient.raw(), own, source_gradient.raw()},
                          direction.scratchpad(scratch));
}

void F32Conv2d::backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                                 TensorView weight_gradient, TensorView bias_gradient,
                                 std::byte* scratch) {
  Direction& direction = impl_->backward_weights;
  void* own = direction.reorder ? scratch : weight_gradient.raw();
  std::byte* scratchpad = direction.scratchpad(scratch);
  direction.primitive.run({source.raw(), destination_gradient.raw(), own, bias_gradient.raw()},
                          scratchpad);
  if (direction.reorder) direction.reorder.run({own, weight_gradient.raw()}, scratchpad);
}

std::string F32Conv2d::implementation() const {
  return names_of({{"forward", &impl_->forward.primitive},
                   {"backward-data", &impl_->backward_data.primitive},
                   {"backward-weights", &impl_->backward_weights.primitive}});
}

}  // namespace bitloom::kernels
