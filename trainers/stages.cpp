#include "stages.h"

#include <sstream>

#include "bitloom/layers/network.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantizer.h"
#include "width_schedule.h"

namespace bitloom::trainers {
namespace {

// The float graph's text after the fold; values do not matter for it.
std::string folded_text(const layers::Graph& graph) {
  layers::ParameterStore scratch(0);
  const layers::Network declared(graph, layers::float_layers(), scratch,
                                 {.batch = 1, .training = false});
  return quant::fold_batch_norm(graph, scratch).to_text();
}

// "`line of a` in place of `line of b`" of the first lines that differ.
std::string first_difference(const std::string& a, const std::string& b) {
  std::istringstream found(a), wanted(b);
  std::string its, ours;
  do {
    its.clear();
    ours.clear();
    std::getline(found, its);
    std::getline(wanted, ours);
  } while (its == ours && found && wanted);
  const auto quoted = [](const std::string& line) {
    return line.empty() ? std::string("nothing") : cat("`", line, "`");
  };
  return cat(quoted(its), " in place of ", quoted(ours));
}

bool any_frozen(const layers::Graph& graph, std::string_view op) {
  for (const layers::Node& node : graph.nodes()) {
    if (node.op == op && node.integer("frozen", 0) != 0) return true;
  }
  return false;
}

void require_wider(const Config& wide, const Config& config, const std::filesystem::path& init) {
  if (wide.quant.weight_bits < config.quant.weight_bits ||
      wide.quant.activation_bits < config.quant.activation_bits) {
    throw ConfigError(ErrorText{
        init.string(), cat("float, or QAT of at least ", bits_label(config)),
        cat("QAT of ", bits_label(wide)), "start from a wider run, such as the next higher width"});
  }
  if (squashes_weights(wide.quant) != squashes_weights(config.quant)) {
    throw ConfigError(ErrorText{
        init.string(), cat("weights for quant.quantizer = ", config.quant.quantizer),
        cat("weights trained with ", wide.quant.quantizer),
        "pact and dorefa put tanh between weights and codes, the others do not: keep to one kind"});
  }
}

bool is_quantizers(layers::Role role) {
  return role == layers::Role::kQuantizerScale || role == layers::Role::kQuantizerOffset ||
         role == layers::Role::kQuantizerState;
}

}  // namespace

void require_same_network(const train::Checkpoint& checkpoint, const Config& config,
                          const Experiment& experiment, const std::filesystem::path& path) {
  const std::string found = quant::strip_fake_quant(checkpoint.graph).to_text();
  if (found == experiment.float_graph.to_text()) return;
  if (config.quant.fold_batch_norm && found == folded_text(experiment.float_graph)) return;
  const bool renamed = checkpoint.network != experiment.network;
  throw ConfigError(
      ErrorText{path.string(), cat("a checkpoint of ", experiment.network),
                cat("another network (", checkpoint.network,
                    "): ", first_difference(found, experiment.float_graph.to_text())),
                renamed ? "compare with `bitloom inspect FILE`; set model.network to match"
                        : "it is of another shape or of an earlier program: train it anew"});
}

train::Checkpoint load_teacher(const Config& config, const Experiment& experiment,
                               const std::filesystem::path& init) {
  std::filesystem::path path = config.quant.distill_teacher;
  if (path.empty()) path = init;
  train::Checkpoint teacher = train::load_trained(path);
  require_shapes_of_data(teacher.graph, experiment.dataset.image_shape, experiment.dataset.classes,
                         path);
  const Config its = config_from_ini(teacher.config_text, path.string());
  if (its.data.mean != config.data.mean || its.data.stddev != config.data.stddev) {
    throw ConfigError(ErrorText{path.string(), "a teacher with this run's data.mean and stddev",
                                "another normalization of its images",
                                "train both under the same [data]"});
  }
  return teacher;
}

void start_from(train::Checkpoint& checkpoint, const Config& config, const Experiment& experiment,
                const std::filesystem::path& init) {
  const train::Checkpoint source = train::load_trained(init);
  require_same_network(source, config, experiment, init);
  const bool progressive = source.method == "qat" && config.quant.method == "qat";
  if (source.method != "float" && !progressive) {
    throw ConfigError(
        ErrorText{init.string(),
                  config.quant.method == "qat" ? "a float or QAT checkpoint" : "a float checkpoint",
                  source.method, "start from the run that trained the float network"});
  }
  if (progressive) {
    require_wider(config_from_ini(source.config_text, init.string()), config, init);
  }
  checkpoint.graph = quant::strip_fake_quant(source.graph);
  // A folded network has biases where this one has declared batch norm.
  std::erase_if(checkpoint.parameters.all(),
                [&](const auto& named) { return !source.parameters.has(named.first); });
  for (const auto& [name, parameter] : source.parameters.all()) {
    if (is_quantizers(parameter.role) && progressive) continue;
    copy(parameter.value,
         checkpoint.parameters.declare(name, parameter.value.shape(), parameter.role, {}).value);
  }
}

bool advance_stage(train::Checkpoint& checkpoint, const Config& config,
                   const Experiment& experiment) {
  const quant::QuantOptions& options = config.quant;
  if (options.method != "qat") return false;
  const std::int64_t epoch = checkpoint.position.epoch;
  const std::int64_t left = config.train.epochs - epoch;
  bool changed = false;
  if (checkpoint.method == "float" && epoch >= options.delay_epochs) {
    Config start = config;
    if (config.schedule.kind != "none") start.quant = widest_options(config.quant);
    quantize_checkpoint(checkpoint, start, experiment);
    changed = true;
  }
  changed = advance_widths(checkpoint, config, experiment) || changed;
  if (left <= options.freeze_range_epochs && options.freeze_range_epochs > 0 &&
      !any_frozen(checkpoint.graph, "fake_quant")) {
    quant::freeze_ranges(checkpoint.graph, checkpoint.parameters);
    changed = true;
  }
  if (left <= options.freeze_batch_norm_epochs && options.freeze_batch_norm_epochs > 0 &&
      !any_frozen(checkpoint.graph, "batch_norm")) {
    checkpoint.graph = quant::freeze_batch_norm(checkpoint.graph);
    changed = any_frozen(checkpoint.graph, "batch_norm") || changed;
  }
  return changed;
}

void require_possible_stages(const Config& config, bool has_init) {
  const quant::QuantOptions& options = config.quant;
  if (options.method != "qat") {
    require_possible_schedule(config, has_init);
    return;
  }
  const std::int64_t epochs = config.train.epochs;
  const auto refuse = [](const char* key, std::string expected, std::string found,
                         const char* remedy) {
    throw ConfigError(ErrorText{key, std::move(expected), std::move(found), remedy});
  };
  const std::string of_epochs =
      cat("of ", epochs, " epochs (", has_init ? "train.qat_epochs" : "train.epochs", ")");
  if (options.delay_epochs > 0 && options.delay_epochs >= epochs) {
    refuse("quant.delay_epochs", cat("less than all ", of_epochs), cat(options.delay_epochs),
           "the network would never be quantized: lower it or train for longer");
  }
  const std::int64_t quantized = epochs - options.delay_epochs;
  if (options.freeze_range_epochs > quantized) {
    refuse("quant.freeze_range_epochs", cat("at most the ", quantized, " quantized ", of_epochs),
           cat(options.freeze_range_epochs), "ranges freeze after they came in");
  }
  if (options.freeze_batch_norm_epochs > quantized) {
    refuse("quant.freeze_batch_norm_epochs",
           cat("at most the ", quantized, " quantized ", of_epochs),
           cat(options.freeze_batch_norm_epochs), "statistics freeze after quantizers came in");
  }
  if (options.fold_batch_norm && options.freeze_batch_norm_epochs > 0) {
    refuse("quant.freeze_batch_norm_epochs", "0 with quant.fold_batch_norm",
           cat(options.freeze_batch_norm_epochs),
           "a folded batch norm has no statistics left to freeze: choose one");
  }
  if (options.fold_batch_norm && !has_init && options.delay_epochs == 0) {
    refuse("quant.fold_batch_norm", "a trained network", "a fresh one",
           "its statistics say nothing yet: give --init FILE or quant.delay_epochs");
  }
  if (options.adaround && squashes_weights(config.quant)) {
    refuse("quant.adaround", cat("false with quant.quantizer = ", options.quantizer), "true",
           "it learns how weights round, and here their tanh is rounded");
  }
  require_possible_schedule(config, has_init);
  const bool scheduled = config.schedule.kind != "none";
  if (options.bits == "auto" && !scheduled && (!has_init || options.delay_epochs > 0)) {
    refuse(
        "quant.bits", "equal without --init, or with quant.delay_epochs", "auto",
        "widths are chosen for a trained network: give --init FILE and no delay, or a [schedule]");
  }
  if (options.distill_weight > 0.0 && options.distill_teacher.empty() && !has_init) {
    refuse("quant.distill_weight", "quant.distill_teacher, or --init FILE, whose network teaches",
           "neither", "give a trained checkpoint, or set it to 0");
  }
}

}  // namespace bitloom::trainers
