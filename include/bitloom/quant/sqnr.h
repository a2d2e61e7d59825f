// Where a quantized network's noise comes from: signal and noise of every quantization step, how
// much of each arrives further on, and what that predicts for the output.
// Comes from: a float network, quant/passes.h (where the steps are), quant/calibrate.h (their
// grids). Goes to: quant/allocate.h, `bitloom sqnr`, `bitloom sensitivity`.
//
// Words: a step is a fake_quant node; power is the mean of the square over elements and images; the
// output is the logits. Source of the composition: Lin, Talathi, Annapureddy, "Fixed Point
// Quantization of Deep Convolutional Networks", arXiv:1511.06393, section 3.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitloom/integer/profile.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/quantize.h"

namespace bitloom::quant {

/// Widths that can be measured. Those above 8 have no integer model: they are simulated in float.
inline constexpr int kNarrowestBits = 2;
inline constexpr int kWidestBits = 10;

/// A number for each of these widths.
class PerWidth {
 public:
  double& at(int bits) { return values_.at(static_cast<std::size_t>(bits - kNarrowestBits)); }
  double at(int bits) const { return values_.at(static_cast<std::size_t>(bits - kNarrowestBits)); }

 private:
  std::array<double, kWidestBits - kNarrowestBits + 1> values_{};
};

/// What rounding to a grid costs one tensor, others left real.
struct QuantizationStep {
  std::string node;   ///< "conv1.weight.q"
  std::string layer;  ///< key of quant/layer_bits.h
  bool is_weight = false;
  std::int64_t elements = 0;  ///< weights, or activations of one image
  std::int64_t macs = 0;      ///< weights: multiply-adds of their layer for one image
  /// weights: the step whose codes their layer reads, as its node; "" where it reads reals
  std::string source;
  double signal = 0.0;  ///< power of the float tensor
  PerWidth noise;       ///< power of (on the grid - float tensor)
  double sqnr_db(int bits) const;
};

/// Width of each step, in order of steps(); 0 leaves it real.
using StepBits = std::vector<int>;

/// Power of (with some steps on - float) at the end of each step, and in the logits.
struct Noise {
  std::vector<double> at_step;
  double output = 0.0;
  /// Mean over images of the Kullback-Leibler divergence, in nats, of the softmax of the logits
  /// from that of the float logits. Noise that changes no answer hardly counts in it.
  double divergence = 0.0;
};

/// Signal-to-quantization-noise ratio in dB, 10 log10(signal / noise); infinite without noise.
double to_db(double signal, double noise);

class NoiseTaps;

/// A float network with a switch on every quantization step.
class NoiseProbe {
 public:
  /// Places steps as insert_fake_quant() does for `options` (method "float" and "qat" count as
  /// ptq-static; the quantizers of qat are no grids that calibration sets), chooses their grids at
  /// every width by calibration, and measures signals and noises: two float passes over `batches`.
  /// `store` and `batches` must outlive it.
  /// @throws as insert_fake_quant() and observe_activations(); NumericError naming a weight without
  /// spread.
  NoiseProbe(const layers::Graph& float_graph, layers::ParameterStore& store,
             const QuantOptions& options, const QuantizeTarget& target,
             const CalibrationBatches& batches, std::int64_t batch);
  ~NoiseProbe();

  const std::vector<QuantizationStep>& steps() const { return steps_; }
  /// Steps by which step i is reached: its own and those before it on any path to it.
  const std::vector<std::size_t>& sources(std::size_t step) const { return sources_[step]; }
  double output_signal() const { return output_signal_; }
  StepBits all_at(int bits) const { return StepBits(steps_.size(), bits); }

  /// Runs every assignment, and the float network once more beside them. Time: one forward pass
  /// over the images for each assignment and one.
  /// of_sum (unless null): mean square of the sum of all assignments' noises in the logits.
  std::vector<Noise> measure(std::span<const StepBits> assignments, double* of_sum = nullptr);

 private:
  void measure_steps();

  const CalibrationBatches& batches_;
  std::vector<QuantizationStep> steps_;  // before the taps, which fill it
  std::unique_ptr<NoiseTaps> taps_;
  std::vector<std::vector<std::size_t>> sources_;
  double output_signal_ = 0.0;
};

/// How much of a step's noise arrives: measured by turning each step on alone.
struct NoiseGains {
  std::vector<double> to_output;             ///< noise power in the logits / the step's own
  std::vector<std::vector<double>> to_step;  ///< [from][at], at the end of another step
  /// Power of the sum of the steps' noises in the logits / sum of their powers: 1 where they are
  /// independent, more where several shift the same way.
  double coherence = 1.0;
};
/// Residual adds, batch norm, pools and clips are in it, as all of that lies on the way. `bits`:
/// the width (not 0) at which each step is on. Gains depend on it: of activations that are never
/// negative a coarse step sends more to 0 than it rounds up, and the sums behind pass a shift of
/// the mean on whole. In a trained vgg_small at 6 bits 2.4 dB more arrive than gains of 8 bits say,
/// and 4.1 dB more by their coherence. So they are measured at the width that is asked about.
NoiseGains measure_gains(NoiseProbe& probe, const StepBits& bits);

/// The plain rule: 1/gamma_out = sum over steps of 1/gamma_i, gamma_i = signal_i / noise_i(bits_i).
double predict_plain_db(const NoiseProbe& probe, const StepBits& bits);
/// The same at the end of a step, over its sources.
double predict_plain_db(const NoiseProbe& probe, const StepBits& bits, std::size_t at);
/// The refined rule: noise_out = coherence * sum over steps of gain_i * noise_i(bits_i).
double predict_refined_db(const NoiseProbe& probe, const NoiseGains& gains, const StepBits& bits);
/// At the end of a step, where noises count as independent (coherence 1).
double predict_refined_db(const NoiseProbe& probe, const NoiseGains& gains, const StepBits& bits,
                          std::size_t at);

}  // namespace bitloom::quant
