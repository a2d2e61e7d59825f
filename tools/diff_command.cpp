// diff: where two executions of a network part.
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "diff.h"
#include "execution.h"
#include "global_options.h"
#include "measure.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

constexpr std::int64_t kRandomImages = 4;
constexpr std::int64_t kMostImages = 10'000;

double tolerance_option(const Arguments& arguments) {
  const std::string text = arguments.value("tolerance", "0");
  double value = -1.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= 0.0 && value <= 1.0) {
    return value;
  }
  throw ConfigError({"--tolerance", "a number from 0 to 1", cat("'", text, "'"),
                     "it is a share of a layer's largest value"});
}

/// The first test images of the data set that the file was made with, or random pixels.
Tensor images_of(const Arguments& arguments, const ExecutionInput& input) {
  if (!arguments.has("images")) return random_pixels(input.shape.with_batch(kRandomImages));
  const std::int64_t wanted = arguments.integer("images", 1, kMostImages, kRandomImages);
  const trainers::Config config = trainers::with_overrides(input.config, arguments.overrides);
  const datasets::ImageSet set = datasets::load_test_set(config.data);
  const Shape shape = set.images.shape().with_batch(std::min(wanted, set.size()));
  Tensor images(DType::kU8, shape);
  copy(ConstTensorView(DType::kU8, shape, set.images.raw()), images);
  return images;
}

std::string steps_text(double steps) { return std::isnan(steps) ? "-" : fixed(steps, 2); }

std::string channel_text(std::int64_t channel) { return channel < 0 ? "-" : cat(channel); }

std::string table_of(const std::vector<LayerDifference>& layers) {
  TextTable table{{"layer", "op", "differ", "largest", "in steps", "SQNR dB", "first channel",
                   "worst channel", "A there", "B there"},
                  {}};
  for (const LayerDifference& layer : layers) {
    const bool same = layer.worst_channel < 0;
    table.rows.push_back({layer.layer, layer.op, cat(layer.differing, " of ", layer.elements),
                          scientific(layer.largest), steps_text(layer.largest_steps),
                          std::isinf(layer.sqnr_db) ? "equal" : fixed(layer.sqnr_db, 1),
                          channel_text(layer.first_channel), channel_text(layer.worst_channel),
                          same ? "-" : scientific(layer.worst_a),
                          same ? "-" : scientific(layer.worst_b)});
  }
  return format_table(table);
}

nlohmann::json index_or_null(std::int64_t index) {
  return index < 0 ? nlohmann::json(nullptr) : nlohmann::json(index);
}

nlohmann::json row_of(const LayerDifference& layer) {
  return {{"layer", layer.layer},
          {"op", layer.op},
          {"elements", layer.elements},
          {"differing", layer.differing},
          {"largest_difference", number_or_null(layer.largest)},
          {"largest_difference_steps", number_or_null(layer.largest_steps)},
          {"largest_magnitude", number_or_null(layer.largest_magnitude)},
          {"sqnr_db", number_or_null(layer.sqnr_db)},
          {"first_channel", index_or_null(layer.first_channel)},
          {"worst_channel", index_or_null(layer.worst_channel)},
          {"worst_a", number_or_null(layer.worst_a)},
          {"worst_b", number_or_null(layer.worst_b)}};
}

std::string verdict(const std::vector<LayerDifference>& layers, std::int64_t first) {
  if (first < 0) {
    return cat("no difference beyond the tolerance in any of ", layers.size(), " layers\n");
  }
  const LayerDifference& layer = layers[static_cast<std::size_t>(first)];
  return cat("they part at ", layer.layer, ", channel ", layer.first_channel, ": ", layer.differing,
             " of ", layer.elements, " values, by up to ", scientific(layer.largest),
             std::isnan(layer.largest_steps)
                 ? ""
                 : cat(" (", fixed(layer.largest_steps, 2), " steps of its grid)"),
             " in channel ", layer.worst_channel, "\n");
}

}  // namespace

int run_diff(const Arguments& arguments) {
  if (arguments.positionals.size() != 2) {
    throw ConfigError({"bitloom diff", "two executions, A and B", cat(arguments.positionals.size()),
                       "bitloom diff --help shows an example"});
  }
  const double tolerance = tolerance_option(arguments);
  prepare_machine(arguments);
  const ExecutionRequest left = parse_execution(arguments.positionals[0]);
  const ExecutionRequest right = parse_execution(arguments.positionals[1]);
  const Tensor images = images_of(arguments, input_of(left));
  const std::vector<LayerDifference> layers =
      compare_executions(run_execution(left, images), run_execution(right, images), tolerance);
  const std::int64_t first = first_divergence(layers);

  nlohmann::json row = machine_row();
  row["command"] = "diff";
  row["a"] = left.label();
  row["b"] = right.label();
  row["images"] = images.shape().n();
  row["tolerance"] = tolerance;
  row["first_layer"] = first < 0 ? nlohmann::json(nullptr)
                                 : nlohmann::json(layers[static_cast<std::size_t>(first)].layer);
  row["layers"] = nlohmann::json::array();
  for (const LayerDifference& layer : layers) row["layers"].push_back(row_of(layer));
  write_json_option(arguments, {row});
  say(arguments, cat("A: ", left.label(), "\nB: ", right.label(), "\n", table_of(layers)));
  say(arguments, verdict(layers, first));
  return first < 0 ? kExitDone : kExitCheckFailed;
}

}  // namespace bitloom::tools
