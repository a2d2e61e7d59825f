// The whole configuration: defaults in the structs, then the file, then the command line.
// Comes from: trainers/configs/*.cfg and --section.key=value. Goes to: every command.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bitloom/datasets/dataset.h"
#include "bitloom/quant/options.h"
#include "bitloom/train/options.h"

namespace bitloom::trainers {

/// Section [model]: one of the two.
struct ModelOptions {
  std::string network = "lenet5";  ///< a built-in network
  std::string file;                ///< graph text; wins over `network`
};

/// Section [compare].
struct CompareOptions {
  std::vector<std::string> methods = {"float", "ptq-static", "qat"};
  std::vector<std::string> bits = {"w8a8", "w4a4"};
  std::string backend = "onednn";
  std::int64_t latency_runs = 200;
};

/// Section [schedule]: widths that change while a network trains (trainers/width_schedule.h). What
/// they end at are the targets of [quant], bits = auto.
struct ScheduleOptions {
  std::string kind = "none";      ///< "none", "sqnr", "loss": what lets widths fall
  std::int64_t start_epoch = 1;   ///< epochs before the first choice
  std::int64_t end_epoch = 0;     ///< epochs before the last; 0: as late as can be
  std::int64_t every_epochs = 1;  ///< from one choice to the next
  double loss_tolerance = 0.05;   ///< kind = loss: validation loss / its least - 1, at most
};

/// Unsectioned keys and all sections.
struct Config {
  std::uint64_t seed = 1;
  int threads = 0;           ///< 0: all cores
  bool pin_threads = false;  ///< core/parallel.h
  std::string isa;           ///< cap; "" means what the CPU has
  std::string profile;       ///< "" means integer::default_profile of the ISA
  datasets::DataOptions data;
  ModelOptions model;
  train::TrainOptions train;
  quant::QuantOptions quant;
  ScheduleOptions schedule;
  CompareOptions compare;
};

/// Reads `file` (may be empty) and then lets `overrides` ("train.epochs=3") win.
/// @throws ConfigError that lists every error at once: unknown keys with the nearest known one,
///         values of the wrong type or out of range with the range, contradictory options.
Config load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides);

/// Resolved configuration as INI text, every key, in a fixed order; load_config reads it back.
std::string to_ini(const Config& config);
Config config_from_ini(const std::string& text, const std::string& source);

/// First 12 hex digits of a hash of to_ini, for rows.
std::string config_hash(const Config& config);

}  // namespace bitloom::trainers
