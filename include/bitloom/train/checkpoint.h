// A training run on disk: everything that continuing bit for bit needs. Schema
// "bitloom.checkpoint", version 1, HDF5 by io/hdf5_archive.h; fields in src/train/README.md.
// Comes from: train/loop.h. Goes to: resume, deploy, inspect, foreign readers (h5py).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "bitloom/core/archive.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/train/average.h"

namespace bitloom::train {

/// Where a run stands, and the running sums of its unfinished epoch.
struct Position {
  std::int64_t epoch = 0;        ///< epochs done
  std::int64_t step = 0;         ///< steps done in this epoch
  double loss_sum = 0.0;         ///< sum of step losses in this epoch
  std::int64_t correct = 0;      ///< right top-1 in this epoch
  double seconds = 0.0;          ///< spent training so far
  double validation_top1 = 0.0;  ///< percent, of the last finished epoch
  double validation_loss = 0.0;  ///< mean cross-entropy, likewise; 0 where nothing was validated
};

/// What the numbers of a run depend on besides its config; a resume under others warns.
struct RunEnvironment {
  std::string isa;
  int threads = 0;
  std::string onednn_version;
  std::string precision = "f32";  ///< train.precision; f32 in files that do not say it
};
RunEnvironment current_environment(const std::string& precision);

struct Checkpoint {
  explicit Checkpoint(std::uint64_t seed) : parameters(seed) {}

  std::string network;  ///< "lenet5"
  std::string method;   ///< "float", "ptq-static", "ptq-dynamic", "ptq-weight-only", "qat"
  std::string profile;  ///< DeviceProfile name; "" for ptq-weight-only
  std::string config_text;
  layers::Graph graph;  ///< with fake-quant nodes
  layers::ParameterStore parameters;
  std::map<std::string, Tensor> optimizer_slots;  ///< empty once the run is finished
  Averages averages;  ///< of the weights, where train.ema_decay keeps them; validated and exported
  Position position;
  std::string notes;  ///< what the run's owner keeps from epoch to epoch; "" is nothing
  RunEnvironment environment;
};

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
/// @throws FormatError, also for a newer schema version and for parameters that are not finite
///         numbers where the graph reads them.
Checkpoint load_checkpoint(const std::filesystem::path& path);
/// The same for one who wants the network, not the run: averages stand in the parameters' places,
/// and neither they nor the optimizer's slots are kept.
Checkpoint load_trained(const std::filesystem::path& path);
Checkpoint checkpoint_from_archive(const Archive& archive);

}  // namespace bitloom::train
