#include "probe.h"

#include <algorithm>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/quant/passes.h"

namespace bitloom::trainers {
namespace {

constexpr std::int64_t kProbeBatch = 64;

}  // namespace

void require_float(const train::Checkpoint& checkpoint) {
  if (checkpoint.method == "float") return;
  throw ConfigError(ErrorText{"checkpoint", "a float one", checkpoint.method,
                              "noise is measured against the float network: take its run"});
}

Probed::Probed(train::Checkpoint& checkpoint, const Config& config, const Experiment& experiment,
               std::int64_t images)
    : options_(config.quant),
      float_graph_(quant::strip_fake_quant(checkpoint.graph)),
      target_{.profile = profile_of(config), .input_is_signed = experiment.input_is_signed},
      images_(calibration_images(config, experiment,
                                 std::min(images, config.quant.calibration_images), kProbeBatch)),
      probe_(float_graph_, checkpoint.parameters, options_, target_, images_.batches,
             images_.batch) {}

quant::AllocationProblem Probed::problem(const quant::NoiseGains* gains) const {
  return quant::allocation_problem(probe_, gains, float_graph_, options_, target_);
}

quant::NoiseGains Probed::gains_at(const quant::AllocationProblem& problem,
                                   const std::vector<int>& bits) {
  return quant::measure_gains(probe_, quant::step_bits(probe_, problem, bits));
}

std::vector<int> Probed::equal_widths(const quant::AllocationProblem& problem) const {
  return quant::widths_of(problem, float_graph_, options_, target_);
}

double Probed::measured_db(const quant::AllocationProblem& problem, const std::vector<int>& bits) {
  const std::vector<quant::StepBits> one{quant::step_bits(probe_, problem, bits)};
  return quant::to_db(probe_.output_signal(), probe_.measure(one).front().output);
}

ChosenWidths choose_widths(Probed& probed, const quant::QuantOptions& options) {
  constexpr int kRounds = 2;
  ChosenWidths chosen{.problem = probed.problem(nullptr)};
  chosen.equal = probed.equal_widths(chosen.problem);
  const auto choose_at = [&](const std::vector<int>& bits) {
    const quant::NoiseGains gains = probed.gains_at(chosen.problem, bits);
    ChosenWidths next{.problem = probed.problem(&gains), .equal = chosen.equal};
    next.allocation = quant::choose_bits(next.problem, probed.probe(), next.equal, options);
    return next;
  };
  if (options.noise_rule == "plain") {
    chosen.allocation = quant::choose_bits(chosen.problem, probed.probe(), chosen.equal, options);
    return chosen;
  }
  chosen = choose_at(chosen.equal);
  if (options.noise_rule == "measured") return chosen;
  const bool at_cost = quant::has_size_target(options) || options.target_bit_operations > 0.0;
  for (int round = 0; round < kRounds; ++round) {
    ChosenWidths next = choose_at(chosen.allocation.bits);
    const bool better = at_cost ? probed.measured_db(next.problem, next.allocation.bits) >
                                      probed.measured_db(chosen.problem, chosen.allocation.bits)
                                : next.allocation.cost < chosen.allocation.cost;
    if (!better) break;
    chosen = std::move(next);
  }
  return chosen;
}

void resolve_auto_bits(Config& config, train::Checkpoint& checkpoint,
                       const Experiment& experiment) {
  if (config.quant.bits != "auto") return;
  require_float(checkpoint);
  Probed probed(checkpoint, config, experiment, kProbeImages);
  const auto [problem, equal, found] = choose_widths(probed, config.quant);
  config.quant.layer_bits = quant::to_table(problem, found.bits);
  config.quant.bits = "equal";
  log_info(cat("bits: average ", quant::average_bits(problem, found.bits, true), " for weights, ",
               quant::average_bits(problem, found.bits, false), " for activations, predicted SQNR ",
               found.sqnr_db, " dB"));
}

}  // namespace bitloom::trainers
