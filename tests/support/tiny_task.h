// Four classes of 12x12 images that a network of a few thousand weights learns in a second: what
// tests of whole runs train on.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config.h"
#include "support/temp_dir.h"

namespace bitloom::trainers {

using Overrides = std::vector<std::string>;

/// A folder of its own with `graph_text` in tiny.net, and configurations that name it.
class TinyTask {
 public:
  explicit TinyTask(const std::string& graph_text) {
    io::write_whole_file(dir_ / "tiny.net", graph_text);
  }

  /// The task with `more` behind its own keys; 4 epochs of batches of 32.
  Config config(const Overrides& more) const {
    Overrides all = {cat("model.file=", (dir_ / "tiny.net").string()),
                     "data.reader=synthetic",
                     "data.classes=4",
                     "data.mean=0.3",
                     "data.stddev=0.3",
                     "data.synthetic_test_images=200",
                     "data.synthetic_height=12",
                     "data.synthetic_width=12",
                     "data.synthetic_channels=1",
                     "train.epochs=4",
                     "train.batch=32",
                     "quant.weight_bits=4"};
    all.insert(all.end(), more.begin(), more.end());
    return load_config("", all);
  }

  std::filesystem::path operator/(const std::string& name) const { return dir_ / name; }

 private:
  TempDir dir_;
};

}  // namespace bitloom::trainers
