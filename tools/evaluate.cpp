#include "evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/integer/reference.h"

namespace bitloom::tools {
namespace {

void require_fit(const integer::Model& model, const datasets::ImageSet& set) {
  const Shape& expected = model.tensors.front().shape;
  const Shape found = set.images.shape().with_batch(1);
  if (!(expected.with_batch(1) == found)) {
    throw ShapeError({"test images", to_string(expected), to_string(found),
                      "set data.path to the data that the model was trained on"});
  }
  if (set.classes > model.classes()) {
    throw ShapeError({"test labels", cat("at most ", model.classes(), " classes"), cat(set.classes),
                      "set data.path to the data that the model was trained on"});
  }
  if (set.size() == 0) {
    throw ShapeError(
        {"test images", "at least one", "none", "check data.path and data.test_limit"});
  }
}

/// Logits of the whole set, f32 [N, classes].
Tensor run_all(backends::Session& session, const integer::Model& model,
               const datasets::ImageSet& set, std::int64_t batch) {
  Tensor logits(DType::kF32, Shape{set.size(), model.classes()});
  for (std::int64_t begin = 0; begin < set.size(); begin += batch) {
    const std::int64_t count = std::min(batch, set.size() - begin);
    float* rows = logits.data<float>() + begin * model.classes();
    session.run(set.view(begin, count),
                TensorView(DType::kF32, Shape{count, model.classes()}, rows));
  }
  return logits;
}

void require_finite(const Tensor& logits) {
  const std::span<const float> values = logits.span<float>();
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  const std::int64_t image = (bad - values.begin()) / logits.shape().c();
  throw NumericError({cat("logits of test image ", image), "finite numbers", cat(*bad),
                      "the model's weights or scales have left the range of float: train again"});
}

}  // namespace

double identical_rows(ConstTensorView left, ConstTensorView right) {
  BITLOOM_ASSERT(left.shape() == right.shape());
  const std::int64_t rows = left.shape().n();
  if (rows == 0) return 1.0;
  const std::size_t row_bytes = left.bytes() / static_cast<std::size_t>(rows);
  const auto* a = static_cast<const std::byte*>(left.raw());
  const auto* b = static_cast<const std::byte*>(right.raw());
  std::int64_t identical = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::size_t at = static_cast<std::size_t>(row) * row_bytes;
    if (std::memcmp(a + at, b + at, row_bytes) == 0) ++identical;
  }
  return static_cast<double>(identical) / static_cast<double>(rows);
}

double largest_difference(ConstTensorView left, ConstTensorView right) {
  BITLOOM_ASSERT(left.shape() == right.shape());
  double largest = 0.0;
  for (std::int64_t i = 0; i < left.elements(); ++i) {
    const double difference =
        static_cast<double>(left.data<float>()[i]) - static_cast<double>(right.data<float>()[i]);
    largest = std::max(largest, std::abs(difference));
  }
  return largest;
}

Evaluation evaluate(const integer::Model& model, const datasets::ImageSet& set,
                    const EvaluateOptions& options) {
  require_fit(model, set);
  const std::int64_t batch = std::min(options.batch, set.size());
  backends::SessionOptions session_options{.backend = options.backend,
                                           .batch = batch,
                                           .fallback_to_reference = options.fallback_to_reference};
  backends::Session session(model, session_options);

  Evaluation result;
  result.images = set.size();
  result.plan = session.plan();
  result.logits = run_all(session, model, set, batch);
  require_finite(result.logits);
  const std::vector<std::int32_t> guesses = integer::argmax_rows(result.logits);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < guesses.size(); ++i) right += guesses[i] == set.labels[i] ? 1 : 0;
  result.top1 = 100.0 * static_cast<double>(right) / static_cast<double>(set.size());

  if (options.parity) {
    session_options.backend = "reference";
    backends::Session reference(model, session_options);
    const Tensor expected = run_all(reference, model, set, batch);
    result.parity = identical_rows(result.logits, expected);
    result.largest_difference = largest_difference(result.logits, expected);
  }
  return result;
}

}  // namespace bitloom::tools
