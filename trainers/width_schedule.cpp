#include "width_schedule.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/quant/change_bits.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantizer.h"
#include "probe.h"

namespace bitloom::trainers {
namespace {

using nlohmann::json;
using quant::AllocationProblem;

constexpr double kRealBits = 32.0;
constexpr double kLeastFloorDb = 0.1;  // quant.target_sqnr_db = 0 is no target

[[noreturn]] void refuse(const char* key, std::string expected, std::string found,
                         const char* remedy) {
  throw ConfigError(ErrorText{key, std::move(expected), std::move(found), remedy});
}

json notes_of(const train::Checkpoint& checkpoint) {
  if (checkpoint.notes.empty()) return json::object();
  json notes = json::parse(checkpoint.notes, nullptr, false);
  if (notes.is_object()) return notes;
  throw FormatError(ErrorText{"checkpoint notes", "a JSON object", "something else",
                              "the file is damaged; take an earlier checkpoint"});
}

bool aims_at_sqnr(const quant::QuantOptions& options) {
  return !quant::has_size_target(options) && options.target_bit_operations == 0.0;
}

// Widths of the problem's items in a graph.
std::vector<int> current_bits(const AllocationProblem& problem, const layers::Graph& graph) {
  const quant::LayerBitsTable table = quant::layer_bits_of(graph);
  std::vector<int> bits;
  for (const quant::AllocationItem& item : problem.items) {
    const quant::LayerBits& entry = table.at(item.layer);
    bits.push_back(item.is_weight ? entry.weight : entry.activation);
  }
  return bits;
}

// One look at the network of now: what widths cost it, and the widths that are chosen by that.
class Decision {
 public:
  Decision(train::Checkpoint& checkpoint, const Config& config, const Experiment& experiment)
      : checkpoint_(checkpoint),
        options_(config.quant),
        probed_(checkpoint, config, experiment, kProbeImages) {
    problem_ = probed_.problem(nullptr);
    if (options_.noise_rule != "plain") {
      const quant::NoiseGains gains = probed_.gains_at(problem_, current());
      problem_ = probed_.problem(&gains);
    }
    equal_ = probed_.equal_widths(problem_);
    for (const quant::AllocationItem& item : problem_.items) widest_.push_back(item.max_bits);
  }

  double measured_db(const std::vector<int>& bits) { return probed_.measured_db(problem_, bits); }
  const std::vector<int>& widest() const { return widest_; }
  std::vector<int> current() const { return current_bits(problem_, checkpoint_.graph); }

  // What quant's targets choose; `target_db` where they are the SQNR of equal widths.
  std::vector<int> by_targets(double target_db) {
    quant::QuantOptions options = options_;
    if (aims_at_sqnr(options) && options.target_sqnr_db == 0.0) options.target_sqnr_db = target_db;
    return quant::choose_bits(problem_, probed_.probe(), equal_, options).bits;
  }

  // The cheapest widths that keep `floor_db`; the widest where not even those do.
  std::vector<int> above(double floor_db) {
    if (measured_db(widest_) <= floor_db) return widest_;
    quant::QuantOptions options = options_;
    options.target_size_ratio = 0.0;
    options.target_size_of_equal = 0.0;
    options.target_bit_operations = 0.0;
    options.target_sqnr_db = std::max(floor_db, kLeastFloorDb);
    return quant::choose_bits(problem_, probed_.probe(), equal_, options).bits;
  }

  // SQNR that the targets ask for, on the network of now.
  double target_db() {
    if (!aims_at_sqnr(options_)) return measured_db(by_targets(0.0));
    return options_.target_sqnr_db > 0.0 ? options_.target_sqnr_db : measured_db(equal_);
  }

  // True if a width changed.
  bool apply(const std::vector<int>& bits, json& notes) {
    notes["average_weight_bits"] = quant::average_bits(problem_, bits, true);
    notes["average_activation_bits"] = quant::average_bits(problem_, bits, false);
    notes["sqnr_db"] = measured_db(bits);
    log_info(cat("schedule: epoch ", checkpoint_.position.epoch + 1, ": average ",
                 notes["average_weight_bits"].get<double>(), " bits for weights, ",
                 notes["average_activation_bits"].get<double>(), " for activations, SQNR ",
                 notes["sqnr_db"].get<double>(), " dB"));
    if (bits == current()) return false;
    quant::QuantOptions options = options_;
    options.layer_bits = quant::to_table(problem_, bits);
    checkpoint_.graph =
        quant::change_bits(checkpoint_.graph, checkpoint_.parameters, options, probed_.target(),
                           probed_.calibration().batches, probed_.calibration().batch);
    return true;
  }

 private:
  train::Checkpoint& checkpoint_;
  quant::QuantOptions options_;
  Probed probed_;
  AllocationProblem problem_;
  std::vector<int> equal_;
  std::vector<int> widest_;
};

// The level of the next decision; `notes` has the last one's.
int next_level(const ScheduleOptions& options, const json& notes, double validation_loss) {
  const int level = notes.value("level", 0);
  const int levels = notes.at("levels").get<int>();
  const double least = notes.value("least_loss", 0.0);
  const bool rises =
      options.kind == "sqnr" || validation_loss <= least * (1.0 + options.loss_tolerance);
  return std::clamp(rises ? level + 1 : level - 1, 0, levels);
}

// Least validation loss of the run so far; 0 before there is one.
void note_loss(double validation_loss, json& notes) {
  if (validation_loss <= 0.0) return;
  const double least = notes.value("least_loss", validation_loss);
  notes["least_loss"] = std::min(least, validation_loss);
}

}  // namespace

ScheduleEpochs schedule_epochs(const Config& config) {
  const std::int64_t kept = std::max<std::int64_t>(
      {1, config.quant.freeze_range_epochs, config.quant.freeze_batch_norm_epochs});
  const std::int64_t end = config.schedule.end_epoch;
  return {.first = config.schedule.start_epoch, .last = end > 0 ? end : config.train.epochs - kept};
}

void require_possible_schedule(const Config& config, bool has_init) {
  const ScheduleOptions& schedule = config.schedule;
  const quant::QuantOptions& options = config.quant;
  if (schedule.kind == "none") return;
  if (options.method != "qat" || options.bits != "auto") {
    refuse("schedule.kind", "none without quant.method = qat, quant.bits = auto", schedule.kind,
           "set both: what the widths aim at are quant's targets");
  }
  if (options.quantizer != "lsq" && options.quantizer != "lsq+" && options.quantizer != "ema") {
    refuse("schedule.kind", cat("none with quant.quantizer = ", options.quantizer), schedule.kind,
           "take lsq, lsq+ or ema: the float network behind the others is not what is quantized");
  }
  if (options.adaround) {
    refuse("quant.adaround", "false with a schedule", "true",
           "rounding is learned for widths that stay");
  }
  const ScheduleEpochs epochs = schedule_epochs(config);
  if (epochs.last <= epochs.first) {
    refuse("schedule.end_epoch", cat("more than schedule.start_epoch = ", epochs.first),
           cat(epochs.last), "the schedule ends before it starts: raise it, or train for longer");
  }
  if (epochs.first < options.delay_epochs || (!has_init && epochs.first == 0)) {
    refuse("schedule.start_epoch",
           cat("at least ", std::max<std::int64_t>(has_init ? 0 : 1, options.delay_epochs)),
           cat(epochs.first), "noise is measured on a trained, quantized network");
  }
  const std::int64_t frozen =
      std::max(options.freeze_range_epochs, options.freeze_batch_norm_epochs);
  const std::int64_t latest = config.train.epochs - std::max<std::int64_t>(1, frozen);
  if (epochs.last > latest) {
    refuse("schedule.end_epoch",
           cat("at most ", latest, ", so that the last widths train before anything is frozen"),
           cat(epochs.last), "lower it, or train for longer");
  }
  if (schedule.every_epochs > epochs.last - epochs.first) {
    refuse("schedule.every_epochs",
           cat("at most the ", epochs.last - epochs.first, " epochs of the schedule"),
           cat(schedule.every_epochs), "lower it");
  }
}

void require_reachable_size(const Config& config, const Experiment& experiment) {
  const quant::QuantOptions& options = config.quant;
  if (config.schedule.kind == "none" || !quant::has_size_target(options)) return;
  const auto average_weight_bits = [&](const quant::QuantOptions& with) {
    const layers::Graph graph = quant::insert_fake_quant(
        experiment.float_graph, with, profile_of(config), experiment.input_is_signed);
    double bits = 0.0;
    double elements = 0.0;
    for (const layers::Node& node : graph.nodes()) {
      if (!quant::is_fake_quant(node) || !quant::quantizes_weight(node)) continue;
      const auto count = static_cast<double>(graph.find(node.inputs[0])->shape("shape").elements());
      bits += count * static_cast<double>(node.integer("bits", 8));
      elements += count;
    }
    return bits / elements;
  };
  quant::QuantOptions least = options;
  least.weight_bits = least.min_bits;
  const bool of_equal = options.target_size_of_equal > 0.0;
  const double whole = of_equal ? average_weight_bits(options) : kRealBits;
  const double wanted = of_equal ? options.target_size_of_equal : options.target_size_ratio;
  const double reachable = average_weight_bits(least) / whole;
  if (wanted >= reachable) return;
  refuse(of_equal ? "quant.target_size_of_equal" : "quant.target_size_ratio",
         cat("at least ", reachable, ", what the least widths leave"), cat(wanted),
         "raise it, lower quant.min_bits, or hold fewer layers");
}

quant::QuantOptions widest_options(const quant::QuantOptions& options) {
  quant::QuantOptions widest = options;
  widest.weight_bits = options.max_bits;
  if (options.activation_bits != static_cast<int>(kRealBits)) {
    widest.activation_bits = options.max_bits;
  }
  return widest;
}

bool advance_widths(train::Checkpoint& checkpoint, const Config& config,
                    const Experiment& experiment) {
  const ScheduleOptions& schedule = config.schedule;
  if (schedule.kind == "none" || checkpoint.method != "qat") return false;
  const std::int64_t epoch = checkpoint.position.epoch;
  json notes = notes_of(checkpoint);
  note_loss(checkpoint.position.validation_loss, notes);
  const auto [first, last] = schedule_epochs(config);
  const std::int64_t origin = epoch < last ? first : last;
  const bool due = epoch >= first && epoch < config.train.epochs &&
                   (epoch - origin) % schedule.every_epochs == 0 &&
                   (epoch <= last || aims_at_sqnr(config.quant));
  bool changed = false;
  if (due && notes.value("decided_epoch", std::int64_t{-1}) != epoch) {
    notes["decided_epoch"] = epoch;
    Decision decision(checkpoint, config, experiment);
    if (!notes.contains("levels")) {
      notes["levels"] = (last - first - 1) / schedule.every_epochs + 2;
      notes["widest_db"] = decision.measured_db(decision.widest());
      notes["target_db"] = decision.target_db();
    }
    const double widest_db = notes.at("widest_db").get<double>();
    const double target_db = notes.at("target_db").get<double>();
    const int levels = notes.at("levels").get<int>();
    if (epoch < last) {
      const int level = next_level(schedule, notes, checkpoint.position.validation_loss);
      notes["level"] = level;
      const double floor_db = widest_db + (target_db - widest_db) * level / levels;
      changed = decision.apply(decision.above(floor_db), notes);
    } else if (epoch == last || decision.measured_db(decision.current()) < target_db) {
      notes["level"] = levels;
      changed = decision.apply(decision.by_targets(target_db), notes);
    } else {
      notes["sqnr_db"] = decision.measured_db(decision.current());
    }
  }
  checkpoint.notes = notes.dump();
  return changed;
}

void add_widths(const train::Checkpoint& checkpoint, json& row) {
  json widths = json::object();
  for (const auto& [layer, bits] : quant::layer_bits_of(checkpoint.graph)) {
    widths[layer] = {bits.weight, bits.activation};
  }
  row["layer_bits"] = std::move(widths);
  const json notes = notes_of(checkpoint);
  for (const char* name :
       {"average_weight_bits", "average_activation_bits", "sqnr_db", "level", "levels"}) {
    if (notes.contains(name)) row[name] = notes.at(name);
  }
}

double sqnr_of_now_db(train::Checkpoint& checkpoint, const Config& config,
                      const Experiment& experiment) {
  Probed probed(checkpoint, config, experiment, kProbeImages);
  const AllocationProblem problem = probed.problem(nullptr);
  return probed.measured_db(problem, current_bits(problem, checkpoint.graph));
}

}  // namespace bitloom::trainers
