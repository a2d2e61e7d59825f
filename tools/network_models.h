// Exported models of named networks as files: what bench --network and bench --suite time.
// Comes from: trainers/seeded_model.h. Goes to: bench_models.cpp, bench_suite.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench_models.h"

namespace bitloom::tools {

/// Words of --method and --methods, in the order of a report.
const std::vector<std::string>& bench_method_words();

/// "a,b" to words, each one of `known`. @throws ConfigError at `option` for others, for none, and
/// for one given twice.
std::vector<std::string> listed_words(const std::string& option, const std::string& text,
                                      const std::vector<std::string>& known);

/// A new folder below the system's for temporary files, removed with what is in it.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Files of one network in one folder, each made when it is first asked for: bf16 reads the float
/// network's, and qat the one of ptq-static, whose integers are of the same kind and number.
class NetworkModels {
 public:
  NetworkModels(std::string network, std::filesystem::path folder)
      : network_(std::move(network)), folder_(std::move(folder)) {}

  /// `profile` matters to ptq-static and ptq-dynamic; "" is the CPU's own.
  /// @throws ConfigError for an unknown network or method.
  BenchedModel model(const std::string& method, const std::string& profile) const;

 private:
  std::string network_;
  std::filesystem::path folder_;
};

}  // namespace bitloom::tools
