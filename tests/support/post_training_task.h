// A tiny float network, trained once in each test that asks for it, and what is quantized from it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>

#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/commands.h"
#include "support/tiny_task.h"

namespace bitloom::trainers {

/// Fixture: the tiny task on the network `graph_text`, with `keys` behind its own.
class PostTrainingTask : public testing::Test {
 protected:
  explicit PostTrainingTask(const std::string& graph_text, Overrides keys = {})
      : keys_(std::move(keys)), dir_(graph_text) {}

  Config config(const Overrides& more) const {
    Overrides all = {"data.validation_images=128", "data.synthetic_images=384",
                     "quant.first_last_bits=0", "quant.calibration_images=128"};
    all.insert(all.end(), keys_.begin(), keys_.end());
    all.insert(all.end(), more.begin(), more.end());
    return dir_.config(all);
  }

  const std::filesystem::path& float_checkpoint() {
    if (float_.empty()) {
      float_ = train({.config = config({"quant.method=float"}), .out = dir_ / "float"}).checkpoint;
    }
    return float_;
  }

  /// Static unless `options` name another method.
  train::Checkpoint quantized(const Overrides& options) {
    Overrides all = {"quant.method=ptq-static"};
    all.insert(all.end(), options.begin(), options.end());
    const std::filesystem::path out = dir_ / "quantized.h5";
    quantize({.checkpoint = float_checkpoint(), .config = config(all), .out = out});
    return train::load_checkpoint(out);
  }

  std::filesystem::path dir(const std::string& name) const { return dir_ / name; }

 private:
  Overrides keys_;
  TinyTask dir_;
  std::filesystem::path float_;
};

}  // namespace bitloom::trainers
