#include "probe.h"

#include <algorithm>

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

std::vector<int> Probed::equal_widths(const quant::AllocationProblem& problem) const {
  return quant::widths_of(problem, float_graph_, options_, target_);
}

double Probed::measured_db(const quant::AllocationProblem& problem, const std::vector<int>& bits) {
  const std::vector<quant::StepBits> one{quant::step_bits(probe_, problem, bits)};
  return quant::to_db(probe_.output_signal(), probe_.measure(one).front().output);
}

void resolve_auto_bits(Config& config, train::Checkpoint& checkpoint,
                       const Experiment& experiment) {
  if (config.quant.bits != "auto") return;
  require_float(checkpoint);
  Probed probed(checkpoint, config, experiment, kProbeImages);
  const bool refined = config.quant.noise_rule == "refined";
  quant::NoiseGains gains;
  if (refined) gains = quant::measure_gains(probed.probe(), kGainBits);
  const quant::AllocationProblem problem = probed.problem(refined ? &gains : nullptr);
  const quant::Allocation found =
      quant::choose_bits(problem, probed.probe(), probed.equal_widths(problem), config.quant);
  config.quant.layer_bits = quant::to_table(problem, found.bits);
  config.quant.bits = "equal";
  log_info(cat("bits: average ", quant::average_bits(problem, found.bits, true), " for weights, ",
               quant::average_bits(problem, found.bits, false), " for activations, predicted SQNR ",
               found.sqnr_db, " dB"));
}

}  // namespace bitloom::trainers
