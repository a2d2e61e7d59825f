// How much of each step's noise arrives, and what that predicts: quant/sqnr.h.
#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {

NoiseGains measure_gains(NoiseProbe& probe, const StepBits& bits) {
  const std::size_t count = probe.steps().size();
  std::vector<StepBits> alone(count, probe.all_at(0));
  for (std::size_t i = 0; i < count; ++i) alone[i][i] = bits[i];
  double of_sum = 0.0;
  const std::vector<Noise> noises = probe.measure(alone, &of_sum);
  NoiseGains gains;
  double sum = 0.0;
  for (const Noise& noise : noises) sum += noise.output;
  if (sum > 0.0) gains.coherence = of_sum / sum;
  for (std::size_t i = 0; i < count; ++i) {
    const double own = probe.steps()[i].noise.at(bits[i]);
    const auto gain = [own](double power) { return own > 0.0 ? power / own : 0.0; };
    gains.to_output.push_back(gain(noises[i].output));
    std::vector<double>& inner = gains.to_step.emplace_back();
    for (const double power : noises[i].at_step) inner.push_back(gain(power));
  }
  return gains;
}

namespace {

double inverse_sqnr(const QuantizationStep& step, int bits) {
  return bits == 0 ? 0.0 : step.noise.at(bits) / step.signal;
}

double noise_of(const QuantizationStep& step, int bits) {
  return bits == 0 ? 0.0 : step.noise.at(bits);
}

}  // namespace

double predict_plain_db(const NoiseProbe& probe, const StepBits& bits) {
  double sum = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) sum += inverse_sqnr(probe.steps()[i], bits[i]);
  return to_db(1.0, sum);
}

double predict_plain_db(const NoiseProbe& probe, const StepBits& bits, std::size_t at) {
  double sum = 0.0;
  for (const std::size_t i : probe.sources(at)) sum += inverse_sqnr(probe.steps()[i], bits[i]);
  return to_db(1.0, sum);
}

double predict_refined_db(const NoiseProbe& probe, const NoiseGains& gains, const StepBits& bits) {
  double sum = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    sum += gains.to_output[i] * noise_of(probe.steps()[i], bits[i]);
  }
  return to_db(probe.output_signal(), gains.coherence * sum);
}

double predict_refined_db(const NoiseProbe& probe, const NoiseGains& gains, const StepBits& bits,
                          std::size_t at) {
  double sum = 0.0;
  for (const std::size_t i : probe.sources(at)) {
    sum += gains.to_step[i][at] * noise_of(probe.steps()[i], bits[i]);
  }
  return to_db(probe.steps()[at].signal, sum);
}

}  // namespace bitloom::quant
