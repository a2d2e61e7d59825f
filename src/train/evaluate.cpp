#include "bitloom/train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "bitloom/datasets/normalization.h"

namespace bitloom::train {
namespace {

std::int64_t argmax(const float* row, std::int64_t classes) noexcept {
  return std::max_element(row, row + classes) - row;
}

TensorView rows_of(Tensor& logits, std::int64_t begin, std::int64_t count) {
  const std::int64_t classes = logits.shape().c();
  return {DType::kF32, Shape{count, classes}, logits.data<float>() + begin * classes};
}

}  // namespace

Tensor model_logits(const integer::Model& model, const backends::SessionOptions& options,
                    const datasets::ImageSet& images) {
  backends::Session session(model, options);
  Tensor logits(DType::kF32, Shape{images.size(), model.classes()});
  for (std::int64_t begin = 0; begin < images.size(); begin += options.batch) {
    const std::int64_t count = std::min(options.batch, images.size() - begin);
    session.run(images.view(begin, count), rows_of(logits, begin, count));
  }
  return logits;
}

Tensor network_logits(layers::Network& network, std::int64_t batch, ConstTensorView normalization,
                      const datasets::ImageSet& images) {
  Tensor input(DType::kF32, images.images.shape().with_batch(batch));
  Tensor logits;
  for (std::int64_t begin = 0; begin < images.size(); begin += batch) {
    const std::int64_t count = std::min(batch, images.size() - begin);
    const ConstTensorView pixels = images.view(begin, count);
    datasets::normalize(pixels, normalization,
                        TensorView(DType::kF32, pixels.shape(), input.raw()));
    const ConstTensorView output = network.forward(input, layers::Phase::kEvaluate);
    if (logits.empty()) logits = Tensor(DType::kF32, Shape{images.size(), output.shape().c()});
    const TensorView rows = rows_of(logits, begin, count);
    std::memcpy(rows.raw(), output.raw(), rows.bytes());
  }
  return logits;
}

std::int64_t count_correct(ConstTensorView logits, std::span<const std::int32_t> labels) noexcept {
  const std::int64_t classes = logits.shape().c();
  std::int64_t correct = 0;
  for (std::size_t n = 0; n < labels.size(); ++n) {
    const float* row = logits.data<float>() + static_cast<std::int64_t>(n) * classes;
    correct += argmax(row, classes) == labels[n] ? 1 : 0;
  }
  return correct;
}

double top1_percent(ConstTensorView logits, std::span<const std::int32_t> labels) {
  return 100.0 * static_cast<double>(count_correct(logits, labels)) /
         static_cast<double>(labels.size());
}

double identical_share(ConstTensorView a, ConstTensorView b) {
  const std::int64_t classes = a.shape().c();
  std::int64_t same = 0;
  for (std::int64_t n = 0; n < a.shape()[0]; ++n) {
    same += std::memcmp(a.data<float>() + n * classes, b.data<float>() + n * classes,
                        static_cast<std::size_t>(classes) * sizeof(float)) == 0
                ? 1
                : 0;
  }
  return static_cast<double>(same) / static_cast<double>(a.shape()[0]);
}

double agreement_share(ConstTensorView a, ConstTensorView b) {
  const std::int64_t classes = a.shape().c();
  std::int64_t same = 0;
  for (std::int64_t n = 0; n < a.shape()[0]; ++n) {
    same += argmax(a.data<float>() + n * classes, classes) ==
                    argmax(b.data<float>() + n * classes, classes)
                ? 1
                : 0;
  }
  return static_cast<double>(same) / static_cast<double>(a.shape()[0]);
}

double sqnr_db(ConstTensorView signal, ConstTensorView quantized) {
  double power = 0.0;
  double noise = 0.0;
  for (std::int64_t i = 0; i < signal.elements(); ++i) {
    const auto s = static_cast<double>(signal.data<float>()[i]);
    const double error = s - static_cast<double>(quantized.data<float>()[i]);
    power += s * s;
    noise += error * error;
  }
  if (noise == 0.0) return std::numeric_limits<double>::infinity();
  return 10.0 * std::log10(power / noise);
}

}  // namespace bitloom::train
