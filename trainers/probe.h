// A float checkpoint with its data, made ready to have its noise measured.
// Comes from: bits.h's requests, quantize.cpp, train.cpp. Goes to: quant/sqnr.h.
#pragma once

#include <cstdint>

#include "bitloom/quant/choose_bits.h"
#include "bitloom/quant/sqnr.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/config.h"
#include "experiment.h"

namespace bitloom::trainers {

/// Probe and all that it reads; `checkpoint` and `experiment` must outlive it.
class Probed {
 public:
  /// Of the float network in, or behind the quantizers of, `checkpoint`. At most `images` of the
  /// validation split.
  Probed(train::Checkpoint& checkpoint, const Config& config, const Experiment& experiment,
         std::int64_t images);

  quant::NoiseProbe& probe() { return probe_; }
  std::int64_t images() const { return images_.count; }
  const layers::Graph& float_graph() const { return float_graph_; }
  const quant::QuantizeTarget& target() const { return target_; }
  const CalibrationImages& calibration() const { return images_; }
  /// Gains of the noise that the items' steps have at these widths.
  quant::NoiseGains gains_at(const quant::AllocationProblem& problem, const std::vector<int>& bits);
  /// The problem behind quant.bits = auto. Gains may be nullptr: the plain rule.
  quant::AllocationProblem problem(const quant::NoiseGains* gains) const;
  std::vector<int> equal_widths(const quant::AllocationProblem& problem) const;
  /// SQNR of the logits with the items at these widths.
  double measured_db(const quant::AllocationProblem& problem, const std::vector<int>& bits);

 private:
  quant::QuantOptions options_;
  layers::Graph float_graph_;
  quant::QuantizeTarget target_;
  CalibrationImages images_;
  quant::NoiseProbe probe_;
};

/// @throws ConfigError unless the checkpoint is a float one.
void require_float(const train::Checkpoint& checkpoint);

/// Images that a probe looks at where nobody says how many.
inline constexpr std::int64_t kProbeImages = 256;
/// Widths that were chosen, and what they were chosen by.
struct ChosenWidths {
  quant::AllocationProblem problem;  ///< with the gains of the last round
  std::vector<int> equal;            ///< widths of the items without bits = auto
  quant::Allocation allocation;
};

/// Widths by quant's targets (quant/choose_bits.h). With the refined rule gains are measured at the
/// equal widths, then at the widths that were found, as noise that is not small arrives otherwise
/// than noise that is; again while that lowers their cost (or, at a given cost, their measured
/// noise), twice at most. With the measured rule the first of these rounds is what refine_bits()
/// begins with.
ChosenWidths choose_widths(Probed& probed, const quant::QuantOptions& options);

/// quant.bits = auto: chooses config.quant.layer_bits for the float network of `checkpoint` and
/// sets quant.bits = equal, so that what follows, and whoever reads the stored config, has the
/// widths. Nothing otherwise.
void resolve_auto_bits(Config& config, train::Checkpoint& checkpoint, const Experiment& experiment);

}  // namespace bitloom::trainers
