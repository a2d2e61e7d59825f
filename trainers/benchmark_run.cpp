#include "bitloom/trainers/benchmark_run.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/datasets/normalization.h"
#include "experiment.h"

namespace bitloom::trainers {
namespace {

Config on_synthetic_images(Config config) {
  const std::string& method = config.quant.method;
  if (method != "float" && method != "qat") {
    throw ConfigError(ErrorText{"quant.method", "float or qat", method, "only these two train"});
  }
  datasets::DataOptions& data = config.data;
  const std::int64_t calibration = std::min(BenchmarkRun::kCalibrationImages, config.train.batch);
  data.reader = "synthetic";
  data.validation_images = calibration;
  data.synthetic_images = BenchmarkRun::kBatches * config.train.batch + calibration;
  data.synthetic_test_images = 1;
  data.mean = {0.5F};
  data.stddev = {0.25F};
  return config;
}

}  // namespace

BenchmarkRun::BenchmarkRun(Config config)
    : config_(on_synthetic_images(std::move(config))), checkpoint_(config_.seed) {
  const Experiment experiment(config_);
  checkpoint_ = float_checkpoint(config_, experiment);
  if (config_.quant.method == "qat") quantize_checkpoint(checkpoint_, config_, experiment);

  const datasets::ImageSet& set = experiment.dataset.train;
  const std::int64_t batch = config_.train.batch;
  for (std::int64_t begin = 0; begin < kBatches * batch; begin += batch) {
    Tensor& images =
        images_.emplace_back(DType::kF32, experiment.dataset.image_shape.with_batch(batch));
    datasets::normalize(set.view(begin, batch), experiment.normalization, images);
    const auto first = set.labels.begin() + begin;
    labels_.emplace_back(first, first + batch);
  }
  step_.emplace(checkpoint_, config_.train, config_.quant.forward, experiment.dataset.classes);
}

double BenchmarkRun::step(LapClock* clock) {
  if (clock != nullptr) clock->start();
  const auto batch = static_cast<std::size_t>(done_ % kBatches);
  lap(clock, Lap::kData);
  const train::StepResult result = step_->run(
      images_[batch], labels_[batch],
      {.lr = config_.train.lr, .momentum = config_.train.momentum, .step = done_}, clock);
  ++done_;
  if (!std::isfinite(result.loss)) {
    throw NumericError(
        ErrorText{cat("step ", done_), "a finite loss", cat(result.loss), "lower train.lr"});
  }
  return result.loss;
}

std::int64_t BenchmarkRun::parameters() const {
  std::int64_t count = 0;
  for (const auto& [name, parameter] : checkpoint_.parameters.all()) {
    const layers::Role role = parameter.role;
    const bool of_quantizer =
        role == layers::Role::kQuantizerScale || role == layers::Role::kQuantizerOffset;
    if (layers::is_trainable(role) && !of_quantizer) count += parameter.value.elements();
  }
  return count;
}

}  // namespace bitloom::trainers
