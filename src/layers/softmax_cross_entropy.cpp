#include <algorithm>
#include <array>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/layers/network.h"

namespace bitloom::layers {
namespace {

// Rows are worked on in blocks, so that their losses fit the stack until they are summed in order.
constexpr std::int64_t kBlock = 256;

/// The target of a row: `label` and, spread over all classes, the rest.
struct Target {
  std::int32_t label = 0;
  float smoothing = 0.0F;
};

// Returns the row's loss; writes its gradient.
double row(const float* logits, std::int64_t classes, const Target& target, float inverse_rows,
           float* gradient) {
  const float largest = *std::max_element(logits, logits + classes);
  float sum = 0.0F;
  for (std::int64_t c = 0; c < classes; ++c) {
    gradient[c] = std::exp(logits[c] - largest);
    sum += gradient[c];
  }
  const float factor = inverse_rows / sum;
  for (std::int64_t c = 0; c < classes; ++c) gradient[c] *= factor;
  const double log_sum = std::log(static_cast<double>(sum));
  const double right = static_cast<double>(logits[target.label]) - largest;
  if (target.smoothing == 0.0F) {
    gradient[target.label] -= inverse_rows;
    return log_sum - right;
  }
  const float share = target.smoothing / static_cast<float>(classes);
  double all = 0.0;
  for (std::int64_t c = 0; c < classes; ++c) {
    gradient[c] -= share * inverse_rows;
    all += static_cast<double>(logits[c]) - largest;
  }
  gradient[target.label] -= (1.0F - target.smoothing) * inverse_rows;
  return log_sum - (1.0 - static_cast<double>(target.smoothing)) * right -
         static_cast<double>(share) * all;
}

void require_fitting(ConstTensorView logits, std::span<const std::int32_t> labels,
                     ConstTensorView gradient) {
  const Shape& shape = logits.shape();
  const auto fail = [](std::string expected, std::string found) {
    throw ShapeError({.place = "softmax_cross_entropy",
                      .expected = std::move(expected),
                      .found = std::move(found),
                      .remedy = ""});
  };
  if (shape.rank() != 2 || shape.elements() == 0) fail("logits [N, classes]", to_string(shape));
  if (gradient.shape() != shape) fail("gradient " + to_string(shape), to_string(gradient.shape()));
  if (static_cast<std::int64_t>(labels.size()) != shape.n()) {
    fail(cat(shape.n(), " labels"), std::to_string(labels.size()));
  }
  for (std::size_t n = 0; n < labels.size(); ++n) {
    if (labels[n] < 0 || labels[n] >= shape.c()) {
      fail(cat("labels of 0 to ", shape.c() - 1), cat(labels[n], " in row ", n));
    }
  }
}

}  // namespace

double softmax_cross_entropy(ConstTensorView logits, std::span<const std::int32_t> labels,
                             TensorView gradient, float label_smoothing) {
  require_fitting(logits, labels, gradient);
  const std::int64_t rows = logits.shape().n();
  const std::int64_t classes = logits.shape().c();
  const float inverse_rows = 1.0F / static_cast<float>(rows);
  const float* in = logits.data<float>();
  float* out = gradient.data<float>();
  const std::int64_t grain = std::max<std::int64_t>(1, 4096 / classes);
  std::array<double, kBlock> losses;
  double total = 0.0;
  for (std::int64_t base = 0; base < rows; base += kBlock) {
    const std::int64_t count = std::min(kBlock, rows - base);
    parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t n = base + i;
        losses[static_cast<std::size_t>(i)] =
            row(in + n * classes, classes, {labels[static_cast<std::size_t>(n)], label_smoothing},
                inverse_rows, out + n * classes);
      }
    });
    for (std::int64_t i = 0; i < count; ++i) total += losses[static_cast<std::size_t>(i)];
  }
  return total / static_cast<double>(rows);
}

}  // namespace bitloom::layers
