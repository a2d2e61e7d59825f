// Plans an exported model for a batch and a backend, then runs it.
// Comes from: integer/model.h. Goes to: train (validation), tools (eval, bench, compare).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bitloom/core/lap_clock.h"
#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::backends {

struct SessionOptions {
  std::string backend = "onednn";  ///< "onednn", "onednn-bf16", "reference", ...
  std::int64_t batch = 1;
  bool fallback_to_reference = false;  ///< --fallback=reference
  bool keep_all_tensors = false;       ///< every tensor keeps its own memory, see Session::tensor
  /// Names of implementations, one a layer, as PlanRow::chosen has them: the layer takes that one
  /// where it can, else ("" too) the first in the backend's own order. Empty: no wishes at all.
  std::vector<std::string> prefer = {};
};

/// What was chosen for one layer, and why not something faster.
struct PlanRow {
  std::string layer;
  std::string op;
  std::string mode;
  int weight_bits = 32;
  int activation_bits = 32;    ///< of the source, as the layer computes with it
  std::string chosen;          ///< of the backend's implementations: "own", "onednn", ...
  std::string implementation;  ///< its kernel: "brgconv:avx512_core_vnni", "reference"
  std::string isa;             ///< "avx512_vnni"
  std::string declined;        ///< "xnor: weights have 8 bits; ..." or ""
};

/// A planned model. Runs allocate nothing; not thread-safe.
class Session {
 public:
  /// @throws BackendError if a layer cannot run and no fallback was asked for, naming every such
  ///         layer with its reason; or if the profile is not exact on this CPU.
  /// The model must outlive the session.
  Session(const integer::Model& model, const SessionOptions& options);
  /// Takes the model, and frees the weights of each layer once it holds them in the layout that its
  /// kernel reads: constants lie in memory once. What else model() says stays.
  Session(integer::Model&& model, const SessionOptions& options);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// images u8 [batch, C, H, W] (channels-last) to logits f32 [batch, classes]; in general to the
  /// last tensor's type and shape (a model of one layer may end in codes).
  /// Fewer images than the batch are allowed; the rest of the batch is computed as zeros.
  /// A clock gets the laps of all layers, by their index in Model::layers: encoding the input and
  /// copying the logits are its kData, outside of them.
  /// @throws ShapeError; NumericError if a dynamic layer's source is not finite.
  void run(ConstTensorView images_u8, TensorView logits, LapClock* clock = nullptr);

  const integer::Model& model() const;
  const std::vector<PlanRow>& plan() const;
  /// Bytes of activations, packed weights and scratch that this session owns.
  std::size_t memory_bytes() const;
  /// Codes (or reals) of tensor `index` after a run, for parity tests and SQNR; only in sessions
  /// whose memory is not shared between tensors (keep_all_tensors) - empty otherwise.
  ConstTensorView tensor(int index) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Names of the backends, built or not.
std::vector<std::string> backend_names();

}  // namespace bitloom::backends
