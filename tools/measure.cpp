#include "measure.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "bitloom/core/random.h"

namespace bitloom::tools {

Tensor random_images(const integer::Model& model, std::int64_t batch) {
  return random_pixels(model.tensors.front().shape.with_batch(batch));
}

Tensor random_pixels(const Shape& shape) {
  Tensor images(DType::kU8, shape);
  const RandomStream random(1, "bench");
  const std::span<std::uint8_t> pixels = images.span<std::uint8_t>();
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random.bits(i) & 0xFFU);
  }
  return images;
}

double quantile(std::vector<double> samples, double q) {
  if (samples.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(samples.begin(), samples.end());
  const double position = q * static_cast<double>(samples.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (position - std::floor(position)) * (samples[above] - samples[below]);
}

bool is_enough(const TimingRule& rule, std::int64_t runs, double seconds) {
  constexpr std::int64_t kFewest = 5;
  if (runs >= std::min(kFewest, rule.runs) && seconds >= rule.most_seconds) return true;
  return runs >= rule.runs && seconds >= rule.least_seconds;
}

std::vector<Latency> measure_latency(const std::vector<TimedModel>& models, std::int64_t batch,
                                     const TimingRule& rule) {
  using Clock = std::chrono::steady_clock;
  std::vector<Tensor> images;
  std::vector<Tensor> logits;
  for (const TimedModel& timed : models) {
    images.push_back(random_images(*timed.model, batch));
    logits.emplace_back(DType::kF32, Shape{batch, timed.model->classes()});
  }
  const auto run_once = [&](std::size_t i) {
    const Clock::time_point begin = Clock::now();
    models[i].session->run(images[i], logits[i]);
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  };
  const std::int64_t warm_up = std::max<std::int64_t>(3, rule.runs / 10);
  for (std::int64_t round = 0; round < warm_up; ++round) {
    for (std::size_t i = 0; i < models.size(); ++i) run_once(i);
  }
  std::vector<std::vector<double>> samples_ms(models.size());
  std::vector<double> spent_seconds(models.size(), 0.0);
  for (bool ran = true; ran;) {
    ran = false;
    for (std::size_t i = 0; i < models.size(); ++i) {
      if (is_enough(rule, std::ssize(samples_ms[i]), spent_seconds[i])) continue;
      samples_ms[i].push_back(run_once(i));
      spent_seconds[i] += 1e-3 * samples_ms[i].back();
      ran = true;
    }
  }
  std::vector<Latency> latencies;
  for (const std::vector<double>& samples : samples_ms) {
    latencies.push_back({.p50_ms = quantile(samples, 0.5),
                         .p90_ms = quantile(samples, 0.9),
                         .p99_ms = quantile(samples, 0.99),
                         .runs = std::ssize(samples)});
  }
  return latencies;
}

std::int64_t status_bytes(std::string_view status, std::string_view key) {
  const std::size_t at = status.find(cat("\n", key, ":"));
  if (at == std::string_view::npos) return 0;
  std::string_view rest = status.substr(at + key.size() + 2);
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  std::int64_t kilobytes = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), kilobytes);
  return kilobytes * 1024;
}

ProcessMemory process_memory() {
  std::ifstream file("/proc/self/status");
  std::ostringstream text;
  text << "\n" << file.rdbuf();
  const std::string status = text.str();
  return {status_bytes(status, "VmRSS"), status_bytes(status, "VmHWM")};
}

std::int64_t startup_memory() {
  static const std::int64_t bytes = process_memory().resident_bytes;
  return bytes;
}

}  // namespace bitloom::tools
