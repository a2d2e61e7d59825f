#include "allocation_latency.h"

#include <deque>

#include "bitloom/backends/load_model.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"
#include "bitloom/trainers/commands.h"
#include "network_models.h"

namespace bitloom::tools {

std::vector<Latency> latency_of_widths(const std::filesystem::path& checkpoint,
                                       const std::vector<trainers::Config>& configs,
                                       std::int64_t runs) {
  const ScratchFolder folder;
  std::deque<integer::Model> models;  // which sessions point to
  std::deque<backends::Session> sessions;
  std::vector<TimedModel> timed;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    trainers::Config config = configs[i];
    config.quant.method = "ptq-static";
    const std::filesystem::path quantized = folder.path() / cat(i, ".h5");
    const std::filesystem::path exported = folder.path() / cat(i, ".model.h5");
    trainers::quantize({checkpoint, config, quantized});
    trainers::export_model({quantized, "", exported});
    models.push_back(backends::load_model(exported));
    sessions.emplace_back(models.back(), backends::SessionOptions{});
    timed.push_back({&models.back(), &sessions.back()});
  }
  return measure_latency(timed, 1, {.runs = runs});
}

}  // namespace bitloom::tools
