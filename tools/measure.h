// Latency and memory of planned models.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/integer/model.h"

namespace bitloom::tools {

/// Value below which the share `q` of the samples lies, linear between neighbours: position
/// q * (n - 1) of the sorted samples. NaN for no samples.
double quantile(std::vector<double> samples, double q);

/// Random pixels in the model's input shape, the same in every call.
Tensor random_images(const integer::Model& model, std::int64_t batch);
/// The same for a shape.
Tensor random_pixels(const Shape& shape);

struct Latency {
  double p50_ms = 0.0;
  double p90_ms = 0.0;
  double p99_ms = 0.0;
  std::int64_t runs = 0;
};

/// When a model has run often enough.
struct TimingRule {
  std::int64_t runs = 200;     ///< at least, unless most_seconds are over
  double least_seconds = 0.0;  ///< of its own; more runs fill them
  double most_seconds = std::numeric_limits<double>::infinity();  ///< of its own; after 5 runs
};

/// True once `runs` runs that took `seconds` satisfy the rule.
bool is_enough(const TimingRule& rule, std::int64_t runs, double seconds);

/// A model and its plan, to be timed beside others.
struct TimedModel {
  const integer::Model* model = nullptr;
  backends::Session* session = nullptr;
};

/// Time of one run of each model on `batch` random images, after max(3, runs / 10) warm-up rounds.
/// Round r runs every model once that has not run often enough, so that what slows the machine
/// slows all of them alike.
std::vector<Latency> measure_latency(const std::vector<TimedModel>& models, std::int64_t batch,
                                     const TimingRule& rule);

/// This process' memory now and at its highest, bytes; 0 where the system does not tell.
struct ProcessMemory {
  std::int64_t resident_bytes = 0;
  std::int64_t peak_bytes = 0;
};
ProcessMemory process_memory();
/// Resident bytes when this was first called: run_program() calls it before anything else.
std::int64_t startup_memory();
/// `key`'s value in bytes from the text of /proc/self/status ("VmHWM:   123 kB"); 0 if absent.
std::int64_t status_bytes(std::string_view status, std::string_view key);

}  // namespace bitloom::tools
