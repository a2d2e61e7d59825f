// A backend: an ordered list of implementations, each of which runs a layer or says why not.
// Goes to: session.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/integer/model.h"

namespace bitloom::backends {

/// One layer, planned for a batch. Runs allocate nothing.
class LayerRunner {
 public:
  virtual ~LayerRunner() = default;
  /// `inputs` follow layer.inputs; `scratch` has scratch_bytes(), 64-byte aligned.
  virtual void run(std::span<const ConstTensorView> inputs, TensorView output,
                   std::span<std::byte> scratch) = 0;
  virtual std::string implementation() const = 0;
  virtual std::size_t scratch_bytes() const { return 0; }
  /// Packed weights and scratch of its own.
  virtual std::size_t memory_bytes() const { return 0; }
  /// Whether run() reads layer.weight's numbers: a session that owns its model frees the others.
  virtual bool reads_plain_weights() const { return true; }

  /// Whether the output's pixels may lie apart, as a concat's inputs do in its own memory.
  virtual bool can_write_apart() const { return false; }
  /// Said once, before run(): the bytes from one output pixel to the next.
  virtual void write_apart(std::int64_t pitch) {
    BITLOOM_ASSERT(false);
    static_cast<void>(pitch);
  }
  /// Whether an input may lie in the output already, where its channels belong.
  virtual bool takes_inputs_in_place() const { return false; }

  /// Whether inputs[0], and the output, may be tensors of sign bits (kernels/sign_bits.h) instead
  /// of s8 codes: s32 of shape [N, sign_words(C), H, W].
  virtual bool can_read_bits() const { return false; }
  virtual bool can_write_bits() const { return false; }
  /// Said once, before scratch_bytes() and run(): which of them are.
  virtual void use_bits(bool reads, bool writes) {
    BITLOOM_ASSERT(!reads && !writes);
    static_cast<void>(reads || writes);
  }
};

/// Why an implementation does not take a layer; empty where it has nothing to do with its kind
/// (a popcount product and a pool), which is not worth a word in the plan.
struct Declined {
  std::string reason;
};

using PlanResult = std::variant<std::unique_ptr<LayerRunner>, Declined>;

/// What a plan is made for. All that it refers to outlives the runner.
struct LayerContext {
  const integer::Model& model;
  const integer::Layer& layer;
  std::span<const integer::TensorInfo> tensors;  ///< the model's, as this session carries them
  std::int64_t batch;
  Isa isa;

  const integer::TensorInfo& input(std::size_t i) const {
    return tensors[static_cast<std::size_t>(layer.inputs[i])];
  }
  const integer::TensorInfo& output() const {
    return tensors[static_cast<std::size_t>(layer.output)];
  }
  bool is_product() const {
    return layer.op == integer::LayerOp::kConv2d || layer.op == integer::LayerOp::kLinear;
  }
};

struct Implementation {
  std::string_view name;
  PlanResult (*plan)(const LayerContext& context);
};

struct Backend {
  std::string_view name;
  std::vector<Implementation> implementations;  ///< fastest first; tune.h measures
  bool sums_pairs = false;  ///< products on the CPU's own u8*s8 instructions: profiles matter
  bool bf16 = false;        ///< reals between layers are bf16, but for the model's output
};

/// All backends, built or not.
const std::vector<Backend>& all_backends();
/// @throws ConfigError listing the known names.
const Backend& backend_named(std::string_view name);

/// The implementation that takes a layer, and what those before it said, "name: reason; ...".
struct Choice {
  std::unique_ptr<LayerRunner> runner;  ///< null if all declined
  std::string name;                     ///< of the implementation
  std::string declined;
};

/// The one named `preferred` if there is one that takes the layer, else the first that does.
Choice choose(const std::vector<Implementation>& implementations, const LayerContext& context,
              std::string_view preferred = {});

/// Runs a layer by the integer library's own loops, under the name that rows show.
std::unique_ptr<LayerRunner> own_loops(const LayerContext& context, std::string implementation);

/// The reference executor as an implementation; takes every layer.
PlanResult plan_reference(const LayerContext& context);
PlanResult plan_onednn(const LayerContext& context);
/// Static products on the second of oneDNN's kernels for them: at times the faster one.
PlanResult plan_onednn_next(const LayerContext& context);
/// Our own kernels for codes: depthwise and 1x1 convolutions, averages.
PlanResult plan_own(const LayerContext& context);
/// Our VNNI kernel where plan_own leaves a convolution to oneDNN: at times the faster one.
PlanResult plan_own_vnni(const LayerContext& context);
/// Float and weight-only layers whose numbers are bf16 (Backend::bf16).
PlanResult plan_bf16(const LayerContext& context);
PlanResult plan_xnor(const LayerContext& context);
/// plan_xnor for layers that this CPU runs faster so than by oneDNN's int8 kernels.
PlanResult plan_faster_xnor(const LayerContext& context);
PlanResult plan_cudnn(const LayerContext& context);

}  // namespace bitloom::backends
