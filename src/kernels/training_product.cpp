#include "bitloom/kernels/training_product.h"

#include <algorithm>
#include <optional>
#include <variant>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/kernels/bf16_convert.h"
#include "bitloom/kernels/bf16_weight_gradient.h"
#include "bitloom/kernels/depthwise_weight_gradient.h"
#include "bitloom/kernels/f32_linear.h"
#include "bitloom/kernels/winograd_conv2d.h"
#include "f32_primitive.h"

namespace bitloom::kernels {
namespace {

using Product = std::variant<F32Conv2d, F32Linear, WinogradConv2d>;

bool is_linear(const TrainingProblem& problem) { return problem.weight.rank() == 2; }

F32Conv2dProblem convolution(const TrainingProblem& problem, DType operands,
                             DType source_gradient = DType::kF32) {
  return {.source = problem.source,
          .weight = problem.weight,
          .window = problem.window,
          .bias = problem.bias,
          .operands = operands,
          .source_gradient = source_gradient};
}

bool winograd_pays(const TrainingProblem& problem) {
  return !is_linear(problem) && WinogradConv2d::pays(convolution(problem, DType::kF32));
}

Product make_product(const TrainingProblem& problem, DType operands,
                     const F32Directions& directions, DType source_gradient = DType::kF32) {
  if (operands == DType::kF32 && winograd_pays(problem)) {
    return WinogradConv2d(convolution(problem, operands), directions);
  }
  if (!is_linear(problem)) {
    return F32Conv2d(convolution(problem, operands, source_gradient), directions);
  }
  return F32Linear({.source = problem.source,
                    .weight = problem.weight,
                    .bias = problem.bias,
                    .operands = operands,
                    .source_gradient = source_gradient},
                   directions);
}

std::string name_of(const Product& product) {
  return std::visit([](const auto& one) { return one.implementation(); }, product);
}

std::size_t scratch_of(const Product& product) {
  return std::visit([](const auto& one) { return one.scratch_bytes(); }, product);
}

constexpr F32Directions kForward{.backward_data = false, .backward_weights = false};
constexpr F32Directions kBackwardData{.forward = false, .backward_weights = false};
constexpr F32Directions kBackwardWeights{.forward = false, .backward_data = false};

// Fewer channels leave most of a register empty.
constexpr std::int64_t kLeastInputs = 16;

bool may_use_bf16(const TrainingProblem& problem) {
  return problem.precision == Precision::kBf16 && problem.source.c() >= kLeastInputs &&
         (is_linear(problem) || problem.window.groups == 1);
}

// AVX512-BF16 doubles f32's multiplications a second, AMX makes them sixteen times as many;
// Winograd's tiles take a quarter of them at 3x3 and, with more work around them, a third at 5x5.
bool bf16_beats_winograd(const TrainingProblem& problem) {
  return effective_isa() == Isa::kAvx512Amx || problem.weight.h() > 3;
}

// oneDNN 3.2 on a Zen 4: strided backward-weights run at 72 GFLOP/s (f32: 147), and what falls to a
// plain matrix product of unfolded windows at 40 to 120.
bool is_slow(const TrainingProblem& problem, const std::string& name) {
  if (is_linear(problem)) return false;
  const bool strided_weights =
      problem.window.stride > 1 && name.find("backward-weights jit_bf16:") != std::string::npos;
  return strided_weights || name.find("gemm") != std::string::npos ||
         name.find("ref") != std::string::npos;
}

// One direction, in f32 or bf16.
struct Direction {
  Direction(const TrainingProblem& problem, const F32Directions& which)
      : product(make_product(problem, DType::kF32, which)) {
    if (!may_use_bf16(problem)) return;
    if (std::holds_alternative<WinogradConv2d>(product) && !bf16_beats_winograd(problem)) return;
    Product faster = make_product(problem, DType::kBf16, which);
    bf16 = !is_slow(problem, name_of(faster));
    if (bf16) product = std::move(faster);
  }
  Product product;
  bool bf16 = false;
};

// Winograd's kernel takes codes as they are.
bool reads_codes(const Direction& direction) {
  return std::holds_alternative<WinogradConv2d>(direction.product);
}

// 128 channels each way: oneDNN's kernel needs long sums to make up for its transposition
// (512 -> 512 at 8x8: 433 GFLOP/s against 303 of ours; 16 -> 16 at 32x32: 257 against 398).
constexpr std::int64_t kMostOwnWeights = 128 * 128;
// Winograd's transforms take their share where channels are few (as GFLOP/s of the direct sum:
// 16 -> 16 at 32x32: 287, 32 -> 32 at 16x16: 516, 64 -> 64 at 8x8: 560).
constexpr std::int64_t kMostWeightsBesideWinograd = 16 * 16;

bool own_weight_gradient_pays(const TrainingProblem& problem) {
  if (problem.precision != Precision::kBf16 || is_linear(problem)) return false;
  if (!Bf16WeightGradient::supports(convolution(problem, DType::kBf16))) return false;
  if (effective_isa() == Isa::kAvx512Amx) return true;
  if (!may_use_bf16(problem)) return false;
  const bool beside_winograd = winograd_pays(problem) && !bf16_beats_winograd(problem);
  const std::int64_t most = beside_winograd ? kMostWeightsBesideWinograd : kMostOwnWeights;
  return problem.window.stride > 1 || problem.weight[0] * problem.weight[1] <= most;
}

std::size_t elements(const Shape& shape) { return static_cast<std::size_t>(shape.elements()); }

// Hands out pieces of scratch; with no memory behind it, it counts them.
class Pieces {
 public:
  explicit Pieces(std::byte* at) : at_(at) {}
  TensorView take(DType dtype, const Shape& shape) {
    return {dtype, shape, take(elements(shape) * size_of(dtype))};
  }
  std::byte* take(std::size_t bytes) {
    std::byte* out = at_;
    at_ += aligned(bytes);
    return out;
  }
  std::byte* rest() const { return at_; }

 private:
  std::byte* at_;
};

}  // namespace

class TrainingProduct::Impl {
 public:
  Impl(const TrainingProblem& problem, const F32Directions& directions)
      : problem_(problem),
        output_(is_linear(problem)
                    ? Shape{problem.source.n(), problem.weight.n()}
                    : conv2d_output("convolution", convolution(problem, DType::kF32))),
        data_factor_(DType::kF32, Shape{problem.weight.n()}) {
    if (directions.forward) forward_.emplace(problem, kForward);
    if (directions.backward_data) data_.emplace(problem, kBackwardData);
    if (bf16_data()) {
      Product product = make_product(problem, DType::kBf16, kBackwardData, DType::kBf16);
      if (!is_slow(problem, name_of(product))) data_to_bf16_ = std::move(product);
    }
    if (!directions.backward_weights) return;
    if (!is_linear(problem) &&
        DepthwiseWeightGradient::supports(convolution(problem, DType::kF32))) {
      depthwise_.emplace(convolution(problem, DType::kF32));
    } else if (own_weight_gradient_pays(problem)) {
      own_.emplace(convolution(problem, DType::kBf16));
    } else {
      weights_.emplace(problem, kBackwardWeights);
    }
  }

  std::size_t scratch_bytes() const;
  void forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
               TensorView destination, std::byte* scratch);
  void backward(const Backward& call, std::byte* scratch);
  bool adds_source_gradient() const;
  bool reads_bf16_gradient() const {
    const bool weights = !depthwise_ && (!weights_ || weights_->bf16);
    return weights && (!data_ || data_->bf16) && (own_ || weights_ || data_);
  }
  bool writes_bf16_gradient() const { return data_to_bf16_.has_value(); }
  std::string implementation() const;

 private:
  bool source_is_codes() const { return problem_.source_dtype != DType::kF32; }
  bool weight_is_codes() const { return problem_.weight_dtype != DType::kF32; }
  // What kernels that read codes multiply and subtract; of reals nothing.
  float source_scale(const Backward& call) const {
    return source_is_codes() ? call.source_rows.scale[0] : 1.0F;
  }
  std::int32_t source_zero_point(const Backward& call) const {
    return source_is_codes() ? call.source_rows.format.zero_point : 0;
  }
  bool bf16_data() const { return data_.has_value() && data_->bf16; }
  // Without scales both backward directions read the same dy.
  bool shares_gradient() const { return bf16_data() && !weight_is_codes(); }

  const float* data_factor(const Backward& call);
  void round_gradient(const Backward& call, const float* factor, TensorView to) const;
  ConstTensorView bf16_source(const Backward& call, Pieces& pieces) const;
  void weights_in_f32(const Backward& call, Pieces pieces);
  void weights_in_bf16(const Backward& call, TensorView shared, Pieces pieces);
  void weights_by_channels(const Backward& call, std::byte* scratch);
  void weights_by_own(const Backward& call, TensorView data_gradient, std::byte* scratch);
  void data_in_f32(const Backward& call, Pieces pieces);
  void data_in_bf16(const Backward& call, ConstTensorView gradient, Pieces pieces);
  void scale_weight_gradients(const Backward& call) const;

  TrainingProblem problem_;
  Shape output_;
  std::optional<Direction> forward_, data_, weights_;
  std::optional<Product> data_to_bf16_;  // data_'s, whose result is bf16
  std::optional<Bf16WeightGradient> own_;
  std::optional<DepthwiseWeightGradient> depthwise_;
  Tensor data_factor_;  // s_w[o] * slope[o]
};

std::size_t TrainingProduct::Impl::scratch_bytes() const {
  const std::size_t source_f32 = aligned(elements(problem_.source) * sizeof(float));
  const std::size_t source_bf16 = aligned(elements(problem_.source) * sizeof(Bf16));
  const std::size_t weight_f32 = aligned(elements(problem_.weight) * sizeof(float));
  const std::size_t weight_bf16 = aligned(elements(problem_.weight) * sizeof(Bf16));
  const std::size_t gradient_bf16 = aligned(elements(output_) * sizeof(Bf16));
  std::size_t forward = 0;
  if (forward_) {
    forward = scratch_of(forward_->product) + (forward_->bf16 ? source_bf16 + weight_bf16 : 0);
  }
  std::size_t weights = own_ ? own_->scratch_bytes() : 0;
  if (depthwise_) weights = depthwise_->scratch_bytes();
  if (weights_) {
    weights = scratch_of(weights_->product);
    if (weights_->bf16) weights += source_bf16 + (shares_gradient() ? 0 : gradient_bf16);
    if (!weights_->bf16 && source_is_codes() && !reads_codes(*weights_)) weights += source_f32;
  }
  std::size_t data = 0;
  if (data_) {
    data = scratch_of(data_->product);
    if (data_to_bf16_) data = std::max(data, scratch_of(*data_to_bf16_));
    if (data_->bf16) data += weight_bf16;
    if (!data_->bf16 && weight_is_codes()) data += weight_f32;
  }
  return std::max(forward, (bf16_data() ? gradient_bf16 : 0) + std::max(weights, data));
}

void TrainingProduct::Impl::forward(ConstTensorView source, ConstTensorView weight,
                                    ConstTensorView bias, TensorView destination,
                                    std::byte* scratch) {
  Pieces pieces(scratch);
  if (forward_->bf16) {
    const TensorView x = pieces.take(DType::kBf16, problem_.source);
    const TensorView w = pieces.take(DType::kBf16, problem_.weight);
    to_bf16(source.data<float>(), 1, source.elements(), nullptr, x.data<Bf16>());
    to_bf16(weight.data<float>(), 1, weight.elements(), nullptr, w.data<Bf16>());
    source = x;
    weight = w;
  }
  std::visit(
      [&](auto& product) { product.forward(source, weight, bias, destination, pieces.rest()); },
      forward_->product);
}

void TrainingProduct::Impl::backward(const Backward& call, std::byte* scratch) {
  const bool wants_data = !call.source_gradient.empty();
  const bool wants_weights = !call.weight_gradient.empty();
  Pieces pieces(scratch);
  const bool given_rounded = call.gradient.dtype() == DType::kBf16;
  BITLOOM_ASSERT(!given_rounded || reads_bf16_gradient());
  TensorView gradient;
  if (bf16_data() && !given_rounded) gradient = pieces.take(DType::kBf16, output_);
  bool rounded = given_rounded;
  if (wants_weights) {
    if (depthwise_) {
      weights_by_channels(call, pieces.rest());
    } else if (own_) {
      const bool rounds = !given_rounded && wants_data && bf16_data();
      weights_by_own(call, rounds ? gradient : TensorView(), pieces.rest());
      rounded |= rounds;
    } else if (weights_->bf16) {
      const bool rounds = !given_rounded && shares_gradient();
      weights_in_bf16(call, rounds ? gradient : TensorView(), pieces);
      rounded |= rounds;
    } else {
      weights_in_f32(call, pieces);
    }
    lap(call.clock, Lap::kBackwardWeights);
  }
  if (!wants_data) return;
  BITLOOM_ASSERT(!call.adds || adds_source_gradient());
  if (!bf16_data()) {
    data_in_f32(call, pieces);
    return;
  }
  if (!rounded) {
    round_gradient(call, data_factor(call), gradient);
    lap(call.clock, Lap::kElementwise);
  }
  data_in_bf16(call, given_rounded ? call.gradient : ConstTensorView(gradient), pieces);
}

// nullptr where the weights are reals.
const float* TrainingProduct::Impl::data_factor(const Backward& call) {
  if (!weight_is_codes()) return nullptr;
  float* factor = data_factor_.data<float>();
  for (std::int64_t o = 0; o < data_factor_.elements(); ++o) {
    const float scale = call.weight_rows.scale[call.weight_rows.scale_per_row ? o : 0];
    factor[o] = call.slope == nullptr ? scale : scale * call.slope[o];
  }
  return factor;
}

void TrainingProduct::Impl::round_gradient(const Backward& call, const float* factor,
                                           TensorView to) const {
  const std::int64_t channels = problem_.weight.n();
  to_bf16(call.gradient.data<float>(), output_.elements() / channels, channels, factor,
          to.data<Bf16>());
}

ConstTensorView TrainingProduct::Impl::bf16_source(const Backward& call, Pieces& pieces) const {
  const TensorView x = pieces.take(DType::kBf16, problem_.source);
  if (source_is_codes()) {
    codes_to_bf16(call.source.raw(), x.elements(), call.source_rows.format, x.data<Bf16>());
  } else {
    to_bf16(call.source.data<float>(), 1, x.elements(), nullptr, x.data<Bf16>());
  }
  return x;
}

void TrainingProduct::Impl::weights_by_channels(const Backward& call, std::byte* scratch) {
  depthwise_->run({.source = call.source.raw(),
                   .source_dtype = problem_.source_dtype,
                   .zero_point = source_zero_point(call),
                   .gradient = call.gradient.data<float>(),
                   .scale = source_scale(call),
                   .weight_gradient = call.weight_gradient.data<float>(),
                   .bias_gradient = problem_.bias ? call.bias_gradient.data<float>() : nullptr},
                  scratch);
}

void TrainingProduct::Impl::weights_by_own(const Backward& call, TensorView data_gradient,
                                           std::byte* scratch) {
  const float* factor = call.gradient_factor;
  if (!data_gradient.empty()) factor = data_factor(call);
  own_->run({.source = call.source.raw(),
             .source_dtype = problem_.source_dtype,
             .zero_point = source_zero_point(call),
             .gradient = call.gradient.raw(),
             .gradient_dtype = call.gradient.dtype(),
             .scale = source_scale(call),
             .weight_gradient = call.weight_gradient.data<float>(),
             .bias_gradient = problem_.bias ? call.bias_gradient.data<float>() : nullptr,
             .data_factor = factor,
             .data_gradient = data_gradient.empty() ? nullptr : data_gradient.data<Bf16>()},
            scratch);
}

void TrainingProduct::Impl::weights_in_bf16(const Backward& call, TensorView shared,
                                            Pieces pieces) {
  ConstTensorView dy = call.gradient;
  if (dy.dtype() != DType::kBf16) {
    const TensorView rounded = shared.empty() ? pieces.take(DType::kBf16, output_) : shared;
    round_gradient(call, nullptr, rounded);
    dy = rounded;
  }
  const ConstTensorView x = bf16_source(call, pieces);
  lap(call.clock, Lap::kElementwise);
  std::visit(
      [&](auto& product) {
        product.backward_weights(x, dy, call.weight_gradient, call.bias_gradient, pieces.rest());
      },
      weights_->product);
  scale_weight_gradients(call);
}

// By the scale of the source's codes and against the factor that the gradient came with.
void TrainingProduct::Impl::scale_weight_gradients(const Backward& call) const {
  const float* factor = call.gradient_factor;
  if (factor == nullptr && !source_is_codes()) return;
  const std::int64_t outputs = problem_.weight.n();
  const std::int64_t row = call.weight_gradient.elements() / outputs;
  float* gradient = call.weight_gradient.data<float>();
  const std::int64_t grain = std::max<std::int64_t>(1, 32768 / row);
  parallel_for(outputs, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t o = begin; o < end; ++o) {
      const float scale = factor == nullptr ? source_scale(call) : source_scale(call) / factor[o];
      for (std::int64_t i = o * row; i < (o + 1) * row; ++i) gradient[i] *= scale;
    }
  });
  if (factor == nullptr || !problem_.bias) return;
  for (std::int64_t o = 0; o < outputs; ++o) call.bias_gradient.data<float>()[o] /= factor[o];
}

void TrainingProduct::Impl::weights_in_f32(const Backward& call, Pieces pieces) {
  if (auto* winograd = std::get_if<WinogradConv2d>(&weights_->product)) {
    winograd->backward_weights(
        call.source, call.gradient, call.weight_gradient, call.bias_gradient, pieces.rest(),
        {.scale = source_scale(call), .zero_point = source_zero_point(call)});
    return;
  }
  ConstTensorView x = call.source;
  if (source_is_codes()) {
    const TensorView reals = pieces.take(DType::kF32, problem_.source);
    dequantize(call.source.raw(), call.source_rows, reals.data<float>());
    x = reals;
    lap(call.clock, Lap::kElementwise);
  }
  std::visit(
      [&](auto& product) {
        product.backward_weights(x, call.gradient, call.weight_gradient, call.bias_gradient,
                                 pieces.rest());
      },
      weights_->product);
}

void TrainingProduct::Impl::data_in_bf16(const Backward& call, ConstTensorView gradient,
                                         Pieces pieces) {
  const TensorView w = pieces.take(DType::kBf16, problem_.weight);
  if (weight_is_codes()) {
    codes_to_bf16(call.weight.raw(), w.elements(), call.weight_rows.format, w.data<Bf16>());
  } else {
    to_bf16(call.weight.data<float>(), 1, w.elements(), nullptr, w.data<Bf16>());
  }
  lap(call.clock, Lap::kWeightPreparation);
  const bool to_bf16 = call.source_gradient.dtype() == DType::kBf16;
  BITLOOM_ASSERT(!to_bf16 || writes_bf16_gradient());
  std::visit(
      [&](auto& product) {
        product.backward_data(gradient, w, call.source_gradient, pieces.rest());
      },
      to_bf16 ? *data_to_bf16_ : data_->product);
}

bool TrainingProduct::Impl::adds_source_gradient() const {
  return data_.has_value() && std::holds_alternative<WinogradConv2d>(data_->product);
}

void TrainingProduct::Impl::data_in_f32(const Backward& call, Pieces pieces) {
  ConstTensorView w = call.weight;
  if (weight_is_codes()) {
    const TensorView reals = pieces.take(DType::kF32, problem_.weight);
    float* values = reals.data<float>();
    dequantize(call.weight.raw(), call.weight_rows, values);
    const std::int64_t cols = reals.elements() / problem_.weight.n();
    for (std::int64_t o = 0; call.slope != nullptr && o < problem_.weight.n(); ++o) {
      for (std::int64_t i = o * cols; i < (o + 1) * cols; ++i) values[i] *= call.slope[o];
    }
    w = reals;
    lap(call.clock, Lap::kWeightPreparation);
  }
  if (auto* winograd = std::get_if<WinogradConv2d>(&data_->product)) {
    winograd->backward_data(call.gradient, w, call.source_gradient, pieces.rest(), call.adds);
    return;
  }
  std::visit(
      [&](auto& product) {
        product.backward_data(call.gradient, w, call.source_gradient, pieces.rest());
      },
      data_->product);
}

std::string TrainingProduct::Impl::implementation() const {
  std::string names;
  const auto add = [&](const std::string& name) { names += (names.empty() ? "" : ", ") + name; };
  for (const auto* direction : {&forward_, &data_, &weights_}) {
    if (direction->has_value()) add(name_of((*direction)->product));
  }
  if (depthwise_) add(cat("backward-weights depthwise:", DepthwiseWeightGradient::target()));
  if (own_) add(cat("backward-weights ", own_->implementation()));
  return names;
}

TrainingProduct::TrainingProduct(const TrainingProblem& problem, const F32Directions& directions)
    : impl_(std::make_unique<Impl>(problem, directions)) {}
TrainingProduct::~TrainingProduct() = default;
TrainingProduct::TrainingProduct(TrainingProduct&&) noexcept = default;
TrainingProduct& TrainingProduct::operator=(TrainingProduct&&) noexcept = default;

std::size_t TrainingProduct::scratch_bytes() const { return impl_->scratch_bytes(); }

void TrainingProduct::forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
                              TensorView destination, std::byte* scratch) {
  impl_->forward(source, weight, bias, destination, scratch);
}

void TrainingProduct::backward(const Backward& call, std::byte* scratch) {
  impl_->backward(call, scratch);
}

bool TrainingProduct::adds_source_gradient() const { return impl_->adds_source_gradient(); }

bool TrainingProduct::reads_bf16_gradient() const { return impl_->reads_bf16_gradient(); }
bool TrainingProduct::writes_bf16_gradient() const { return impl_->writes_bf16_gradient(); }

std::string TrainingProduct::implementation() const { return impl_->implementation(); }

}  // namespace bitloom::kernels
