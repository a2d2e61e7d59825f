// What a fuzzer throws at one reader. A target takes any bytes; only a bitloom::Error may come out.
// Goes to: fuzz_main.cpp (libFuzzer), replay_test.cpp (a short run in the tests), seeds_main.cpp.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bitloom::fuzz {

struct Target {
  std::string name;  ///< folder of its seeds and regressions
  /// Reads the bytes; what it accepts it also uses. @throws bitloom::Error alone.
  std::function<void(std::string_view)> run;
  /// Inputs that are read without an error, made by our own writers.
  std::function<std::vector<std::string>()> seeds;
};

Target archive_target();     ///< HDF5 files: checkpoints, exported models
Target model_target();       ///< fields of an exported model, behind the checksum
Target checkpoint_target();  ///< fields of a checkpoint, likewise
Target idx_target();         ///< IDX files, plain and gzip
Target cifar10_target();     ///< CIFAR-10's binary files
Target picture_target();     ///< JPEG and PNG files
Target hdf5_target();        ///< HDF5 data sets
Target graph_target();       ///< graph text
Target config_target();      ///< INI text

}  // namespace bitloom::fuzz
