// Where the time of an exported model's run goes: by layer, beside the machine's peaks.
// Comes from: backends/session.h, core/lap_clock.h. Goes to: run_commands.cpp (bench --per-layer).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/integer/model.h"
#include "roofline.h"

namespace bitloom::tools {

/// One layer of a model. Its work: 2 operations for each multiply-add, taps in the padding
/// included; each tensor moved once (source, weights as stored, residual, output).
struct SessionLayer {
  std::string layer;
  std::string op;
  std::string mode;
  std::string kind;  ///< "stem", "1x1", "1x1 + sum", "3x3", "depthwise", "linear", "max_pool", ...
  std::string implementation;
  std::string output;  ///< "1x64x56x56"
  DirectionWork work;
};

struct SessionProfile {
  std::vector<SessionLayer> layers;  ///< in the order they run
  double outside_ms = 0.0;           ///< pixels to codes, logits to the caller
  double run_ms = 0.0;

  double gflop() const;
};

/// `runs` runs on `images` with a clock, after one that is not counted; the mean of the middle half
/// of them by their time. The clock is read once a layer.
SessionProfile profile_session(const integer::Model& model, backends::Session& session,
                               ConstTensorView images, std::int64_t runs);

/// One object a layer: layer, op, mode, kind, implementation, output, gflop, mb, ms, share_of_peak,
/// limit ("compute" or "memory"); last the work outside of layers, as kind "input and logits".
nlohmann::json layers_json(const SessionProfile& profile, const kernels::MachinePeaks& peaks);

/// The same as a table, and its sums by kind.
std::string layer_table(const SessionProfile& profile, const kernels::MachinePeaks& peaks);
std::string kind_table(const SessionProfile& profile, const kernels::MachinePeaks& peaks);

}  // namespace bitloom::tools
