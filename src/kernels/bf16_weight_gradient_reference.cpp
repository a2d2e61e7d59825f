#include "bitloom/kernels/bf16_convert.h"
#include "bitloom/kernels/bf16_weight_gradient.h"

namespace bitloom::kernels::reference {
namespace {

using Call = Bf16WeightGradient::Call;

double source_value(const Call& call, std::int64_t at) {
  switch (call.source_dtype) {
    case DType::kU8:
      return static_cast<const std::uint8_t*>(call.source)[at] - call.zero_point;
    case DType::kS8:
      return static_cast<const std::int8_t*>(call.source)[at] - call.zero_point;
    default:
      return static_cast<double>(
          to_float(round_to_bf16(static_cast<const float*>(call.source)[at])));
  }
}

float gradient_value(const Call& call, std::int64_t at) {
  if (call.gradient_dtype == DType::kF32) return static_cast<const float*>(call.gradient)[at];
  return to_float(static_cast<const Bf16*>(call.gradient)[at]);
}

// One weight: output o, row u and column v of the window, input i.
struct Weight {
  std::int64_t o, u, v, i;
};

double weight_sum(const F32Conv2dProblem& problem, const Shape& output, const Call& call,
                  const Weight& at) {
  const Shape& x = problem.source;
  const integer::Window& window = problem.window;
  double sum = 0.0;
  for (std::int64_t n = 0; n < output.n(); ++n) {
    for (std::int64_t row = 0; row < output.h(); ++row) {
      const std::int64_t h = row * window.stride + at.u - window.pad;
      if (h < 0 || h >= x.h()) continue;
      for (std::int64_t column = 0; column < output.w(); ++column) {
        const std::int64_t w = column * window.stride + at.v - window.pad;
        if (w < 0 || w >= x.w()) continue;
        const float dy = gradient_value(call, output.offset(n, at.o, row, column));
        sum += static_cast<double>(to_float(round_to_bf16(dy))) *
               source_value(call, x.offset(n, at.i, h, w));
      }
    }
  }
  return sum;
}

}  // namespace

void bf16_weight_gradient(const F32Conv2dProblem& problem, const Call& call) {
  const Shape output = conv2d_output("bf16 weight gradient", problem);
  const Shape& weight = problem.weight;
  for (std::int64_t o = 0; o < weight[0]; ++o) {
    const bool scaled = call.gradient_dtype == DType::kBf16 && call.data_factor != nullptr;
    const double factor = scaled ? static_cast<double>(call.data_factor[o]) : 1.0;
    for (std::int64_t i = 0; i < weight[1]; ++i) {
      for (std::int64_t u = 0; u < weight[2]; ++u) {
        for (std::int64_t v = 0; v < weight[3]; ++v) {
          const double sum = weight_sum(problem, output, call, {o, u, v, i});
          call.weight_gradient[weight.offset(o, i, u, v)] =
              static_cast<float>(sum / factor) * call.scale;
        }
      }
    }
    if (call.bias_gradient == nullptr) continue;
    double sum = 0.0;
    const std::int64_t pixels = output.elements() / output.c();
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      sum += static_cast<double>(gradient_value(call, pixel * output.c() + o));
    }
    call.bias_gradient[o] = static_cast<float>(sum / factor);
  }
}

}  // namespace bitloom::kernels::reference
