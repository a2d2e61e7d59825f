// Runs the real program, for tests of it.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/io/json_rows.h"
#include "child_process.h"

namespace bitloom::tools {

using Words = std::vector<std::string>;

inline ChildOptions program(const Words& words) {
  return {.program = BITLOOM_PROGRAM, .arguments = words, .take_stderr = true};
}

/// Exit code and everything the program said.
inline ChildEnd bitloom(const Words& words) { return run_child(program(words)); }

/// A folder of this test process alone, removed at its end.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / cat("bitloom_cli_", getpid())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string tiny_config() {
  return std::string(BITLOOM_SOURCE_DIR) + "/trainers/configs/synthetic_tiny.cfg";
}

/// train --config tiny --out `out` and `more`.
inline Words train_words(const std::string& out, const Words& more = {}) {
  Words words = {"train", "--config", tiny_config(), "--out", out};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Rows of a --json file or of epochs.jsonl.
inline std::vector<nlohmann::json> rows_of(const std::string& path) { return io::read_rows(path); }

/// Keys of a row that later work depends on.
inline const Words& row_keys() {
  static const Words keys = {"network",
                             "method",
                             "quantizer",
                             "weight_bits",
                             "activation_bits",
                             "average_weight_bits",
                             "average_activation_bits",
                             "first_last_bits",
                             "profile",
                             "backend",
                             "isa",
                             "forward",
                             "threads",
                             "batch",
                             "epochs",
                             "top1",
                             "latency_ms_p50",
                             "latency_ms_p90",
                             "size_bytes",
                             "parameter_bytes",
                             "validation_top1",
                             "peak_memory_bytes",
                             "sqnr_db",
                             "parity_identical",
                             "largest_difference",
                             "seed",
                             "commit",
                             "config_hash",
                             "device",
                             "levels"};
  return keys;
}

}  // namespace bitloom::tools
