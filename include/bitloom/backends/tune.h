// A measured choice of implementations, layer by layer.
// Comes from: backends/session.h. Goes to: tools (bench --tune).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/integer/tuned_plan.h"

namespace bitloom::backends {

struct TuneOptions {
  double seconds = 2.0;  ///< of runs of each implementation, all of them in turns
  /// Another implementation than the backend's own choice must be that much faster: noise changes
  /// nothing.
  double least_gain = 0.03;
};

/// What one layer was measured with.
struct TunedLayer {
  std::string layer;
  std::string usual, chosen;  ///< implementations by name; equal where nothing was faster
  double usual_ms = 0.0, chosen_ms = 0.0;
};

/// Times every layer inside whole runs, where caches hold what they hold later: one session for
/// each implementation of the backend, each taking all layers that it can, in turns; of a layer's
/// times in one of them the median counts. All implementations give the same bits, so the choice
/// changes no result. Neither `session.prefer` nor Model::tuned is read.
/// @return one entry a layer.
/// @throws BackendError as Session.
std::vector<TunedLayer> tune(const integer::Model& model, const SessionOptions& session,
                             const TuneOptions& options = {});

/// tune() of an exported model's file, which is written anew with the choice.
/// @throws FormatError or NumericError as load_model; BackendError.
std::vector<TunedLayer> tune_file(const std::filesystem::path& path, const SessionOptions& session,
                                  const TuneOptions& options = {});

/// This machine, with its threads and ISA cap as they are now.
integer::TunedFor tuned_for(const SessionOptions& session);

/// The names alone, as a model carries them: sessions of it on this machine take them by
/// themselves.
integer::TunedPlan tuned_plan(const std::vector<TunedLayer>& layers, const SessionOptions& session);

}  // namespace bitloom::backends
