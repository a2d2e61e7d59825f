#include "bitloom/trainers/bits.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/quant/step_size.h"
#include "probe.h"

namespace bitloom::trainers {
namespace {

using quant::AllocationProblem;
using quant::NoiseProbe;
using quant::QuantizationStep;
using quant::StepBits;

constexpr int kNarrowestReport = 4;
constexpr int kWidestReal = 8;
constexpr double kWidestProducts = 64.0;

class Seconds {
 public:
  double passed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

train::Checkpoint float_checkpoint_of(const std::filesystem::path& path) {
  train::Checkpoint checkpoint = train::load_trained(path);
  require_float(checkpoint);
  return checkpoint;
}

// Checkpoint, configuration and data of a request, in the order in which each needs the last.
struct Opened {
  explicit Opened(const NoiseRequest& request)
      : checkpoint(float_checkpoint_of(request.checkpoint)),
        config(config_for(checkpoint, request.config, request.checkpoint)),
        experiment(config),
        probed(checkpoint, config, experiment, request.images) {}

  train::Checkpoint checkpoint;
  Config config;
  Experiment experiment;
  Probed probed;
};

void add_density(const QuantizationStep& step, StepSqnr& row) {
  std::vector<int> bits;
  std::vector<double> own;
  for (int width = kNarrowestReport; width <= kWidestReal; ++width) {
    bits.push_back(width);
    own.push_back(step.sqnr_db(width));
  }
  row.kappa_db_per_bit = quant::measured_kappa_db_per_bit(bits, own);
  double nearest = std::numeric_limits<double>::infinity();
  for (const quant::Density density : {quant::Density::kUniform, quant::Density::kGaussian,
                                       quant::Density::kLaplacian, quant::Density::kGamma}) {
    const double kappa = quant::kappa_db_per_bit(density, kNarrowestReport, kWidestReal);
    if (std::abs(kappa - row.kappa_db_per_bit) >= nearest) continue;
    nearest = std::abs(kappa - row.kappa_db_per_bit);
    row.density = quant::to_word(density);
    row.predicted_kappa_db_per_bit = kappa;
  }
}

double bit_operations(const AllocationProblem& sizes, const NoiseProbe& probe,
                      const std::vector<int>& bits) {
  AllocationProblem operations = sizes;
  quant::count_bit_operations(operations, probe);
  return operations.cost(bits) / kWidestProducts;
}

AllocationSummary summary_of(const char* method, Probed& probed, const AllocationProblem& problem,
                             const std::vector<int>& bits, double seconds) {
  const double average = quant::average_bits(problem, bits, true);
  return {.method = method,
          .layer_bits = quant::to_table(problem, bits),
          .average_weight_bits = average,
          .average_activation_bits = quant::average_bits(problem, bits, false),
          .size_ratio = average / 32.0,
          .bit_operations_ratio = bit_operations(problem, probed.probe(), bits),
          .predicted_db = problem.sqnr_db(bits),
          .measured_db = probed.measured_db(problem, bits),
          .seconds = seconds};
}

// Every step at widths 2 .. 8 alone, all others real: the noises of the logits, in that order.
struct Sweep {
  static constexpr std::size_t kWidths = kWidestReal - quant::kNarrowestBits + 1;
  std::vector<std::size_t> steps;
  std::vector<quant::Noise> noises;  ///< [step * kWidths + width - 2]
  double output(std::size_t step, int bits) const {
    return noises[step * kWidths + static_cast<std::size_t>(bits - quant::kNarrowestBits)].output;
  }
};

Sweep sweep_alone(NoiseProbe& probe, std::vector<std::size_t> steps) {
  std::vector<StepBits> alone;
  for (const std::size_t step : steps) {
    for (int bits = quant::kNarrowestBits; bits <= kWidestReal; ++bits) {
      alone.push_back(probe.all_at(0));
      alone.back()[step] = bits;
    }
  }
  return {.steps = std::move(steps), .noises = probe.measure(alone)};
}

// The sensitivities of the items whose widths are free, in the places of predicted noises; of those
// that are held the noises stay, as no choice depends on them.
AllocationProblem sensitivity_problem(Probed& probed, AllocationProblem problem) {
  NoiseProbe& probe = probed.probe();
  std::map<std::pair<std::string, bool>, std::size_t> free;
  for (std::size_t i = 0; i < problem.items.size(); ++i) {
    quant::AllocationItem& item = problem.items[i];
    if (item.min_bits == item.max_bits) continue;
    item.noise = {};
    free[{item.layer, item.is_weight}] = i;
  }
  std::vector<std::size_t> steps;
  for (std::size_t s = 0; s < probe.steps().size(); ++s) {
    if (free.contains({probe.steps()[s].layer, probe.steps()[s].is_weight})) steps.push_back(s);
  }
  const Sweep sweep = sweep_alone(probe, std::move(steps));
  for (std::size_t n = 0; n < sweep.steps.size(); ++n) {
    const QuantizationStep& step = probe.steps()[sweep.steps[n]];
    quant::PerWidth& noise = problem.items[free.at({step.layer, step.is_weight})].noise;
    for (int bits = quant::kNarrowestBits; bits <= kWidestReal; ++bits) {
      noise.at(bits) += sweep.output(n, bits) / probe.output_signal();
    }
  }
  return problem;
}

}  // namespace

SqnrReport measure_sqnr(const NoiseRequest& request) {
  Opened opened(request);
  NoiseProbe& probe = opened.probed.probe();
  SqnrReport report{.network = opened.checkpoint.network, .images = opened.probed.images()};
  std::vector<StepBits> uniform;
  for (int bits = kNarrowestReport; bits <= quant::kWidestBits; ++bits) {
    report.widths.push_back(bits);
    uniform.push_back(probe.all_at(bits));
  }
  std::vector<quant::NoiseGains> gains;
  for (const StepBits& bits : uniform) gains.push_back(quant::measure_gains(probe, bits));
  const std::vector<quant::Noise> measured = probe.measure(uniform);
  for (std::size_t s = 0; s < probe.steps().size(); ++s) {
    const QuantizationStep& step = probe.steps()[s];
    StepSqnr row{.node = step.node,
                 .layer = step.layer,
                 .is_weight = step.is_weight,
                 .elements = step.elements};
    for (std::size_t w = 0; w < uniform.size(); ++w) {
      row.own_db.push_back(step.sqnr_db(report.widths[w]));
      if (step.is_weight) continue;
      row.points.push_back({report.widths[w], quant::predict_plain_db(probe, uniform[w], s),
                            quant::predict_refined_db(probe, gains[w], uniform[w], s),
                            quant::to_db(step.signal, measured[w].at_step[s])});
    }
    add_density(step, row);
    report.steps.push_back(std::move(row));
  }
  for (std::size_t w = 0; w < uniform.size(); ++w) {
    report.output.push_back({report.widths[w], quant::predict_plain_db(probe, uniform[w]),
                             quant::predict_refined_db(probe, gains[w], uniform[w]),
                             quant::to_db(probe.output_signal(), measured[w].output)});
  }
  return report;
}

SensitivityReport measure_sensitivity(const NoiseRequest& request) {
  Opened opened(request);
  NoiseProbe& probe = opened.probed.probe();
  SensitivityReport report{.network = opened.checkpoint.network, .images = opened.probed.images()};
  const Seconds clock;
  std::vector<std::size_t> steps(probe.steps().size());
  std::iota(steps.begin(), steps.end(), std::size_t{0});
  const Sweep sweep = sweep_alone(probe, std::move(steps));
  report.seconds = clock.passed();
  for (std::size_t s = 0; s < probe.steps().size(); ++s) {
    const QuantizationStep& step = probe.steps()[s];
    SensitivityRow row{.node = step.node, .layer = step.layer, .is_weight = step.is_weight};
    for (int bits = quant::kNarrowestBits; bits <= kWidestReal; ++bits) {
      row.output_db.push_back(quant::to_db(probe.output_signal(), sweep.output(s, bits)));
    }
    report.steps.push_back(std::move(row));
  }
  return report;
}

AllocationReport allocate_bits(const NoiseRequest& request, bool greedy) {
  Opened opened(request);
  Probed& probed = opened.probed;
  const quant::QuantOptions& options = opened.config.quant;
  const Seconds clock;
  const auto [problem, equal, found] = choose_widths(probed, options);
  const double seconds = clock.passed();

  AllocationReport report{.network = opened.checkpoint.network, .images = probed.images()};
  report.config = opened.config;
  report.config.quant.layer_bits = quant::to_table(problem, found.bits);
  report.config.quant.bits = "equal";
  for (std::size_t i = 0; i < problem.items.size(); ++i) {
    const quant::AllocationItem& item = problem.items[i];
    report.widths.push_back(
        {item.layer, item.is_weight, item.elements, equal[i], found.real_bits[i], found.bits[i]});
  }
  report.methods.push_back(summary_of("equal", probed, problem, equal, 0.0));
  report.methods.push_back(summary_of("closed-form", probed, problem, found.bits, seconds));
  if (greedy) {
    const Seconds sweep;
    const AllocationProblem measured = sensitivity_problem(probed, problem);
    const quant::Allocation other = quant::choose_bits(measured, probed.probe(), equal, options,
                                                       quant::AllocationMethod::kGreedy);
    const double passed = sweep.passed();
    report.methods.push_back(summary_of("greedy", probed, measured, other.bits, passed));
  }
  return report;
}

}  // namespace bitloom::trainers
