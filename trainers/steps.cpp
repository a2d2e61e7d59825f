#include "bitloom/trainers/steps.h"

#include <algorithm>

#include "bitloom/datasets/normalization.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/config_keys.h"

namespace bitloom::trainers {
namespace {

constexpr std::int64_t kBatch = 32;

}  // namespace

StepsReport measure_steps(const std::filesystem::path& path, const Config& config,
                          std::int64_t images) {
  train::Checkpoint checkpoint = train::load_trained(path);
  Config own = config_from_ini(checkpoint.config_text, path.string());
  own.data.path = config.data.path;
  own.data.test_limit = own.data.test_limit > 0 ? std::min(own.data.test_limit, images) : images;
  const datasets::ImageSet set = datasets::load_test_set(own.data);
  const Tensor table = datasets::normalization_table(own.data, set.images.shape().c());
  const std::int64_t batch = std::min(kBatch, set.size());
  StepsReport report;
  report.images = set.size() / batch * batch;
  const auto batches = [&](const std::function<void(ConstTensorView)>& see) {
    Tensor reals(DType::kF32, set.images.shape().with_batch(batch));
    for (std::int64_t begin = 0; begin < report.images; begin += batch) {
      datasets::normalize(set.view(begin, batch), table, reals);
      see(reals);
    }
  };
  report.steps = quant::step_statistics(checkpoint.graph, checkpoint.parameters, batches, batch);
  report.codes = quant::level_codes(checkpoint.graph, checkpoint.parameters);
  return report;
}

}  // namespace bitloom::trainers
