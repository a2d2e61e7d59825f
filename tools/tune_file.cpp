#include "tune_file.h"

#include <vector>

#include "bitloom/backends/tune.h"
#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {

std::string tune_file(const BenchedModel& model, std::int64_t batch) {
  const std::vector<backends::TunedLayer> layers =
      backends::tune_file(model.path, {.backend = model.backend, .batch = batch});
  TextTable table{{"layer", "usual", "ms", "chosen", "ms"}, {}};
  double usual_ms = 0.0;
  double chosen_ms = 0.0;
  for (const backends::TunedLayer& layer : layers) {
    usual_ms += layer.usual_ms;
    chosen_ms += layer.chosen_ms;
    if (layer.chosen == layer.usual) continue;
    table.rows.push_back({layer.layer, layer.usual, fixed(layer.usual_ms, 4), layer.chosen,
                          fixed(layer.chosen_ms, 4)});
  }
  table.rows.push_back({"all layers", "", fixed(usual_ms, 4), "", fixed(chosen_ms, 4)});
  return cat(model.path.string(), ": ", table.rows.size() - 1, " of ", layers.size(),
             " layers run faster on another implementation; stored\n", format_table(table), "\n");
}

}  // namespace bitloom::tools
