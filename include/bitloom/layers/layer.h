// One operation of a running network, forward and backward, and the table that makes it from a
// node. Goes to: layers/network.h. Layers know nothing of quantization methods; an edge may carry
// codes (u8, s8) instead of reals, and a few layers (max_pool, avg_pool, global_avg_pool, concat,
// dropout, flatten) pass them on.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitloom/core/lap_clock.h"
#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"
#include "bitloom/kernels/precision.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::layers {

/// What travels from one node to its readers. Gradients belong to the reals; they are f32, or bf16
/// where the layers on both sides can (LayerMemory).
struct Edge {
  Shape shape;  ///< [N, C, H, W], [N, C]; weights [O, I, KH, KW], [O, I]
  /// kF32 reals; kU8 or kS8 codes; kBf16 sums of codes, integers that a chain with a batch norm
  /// takes times scale[c].
  DType dtype = DType::kF32;
  integer::AffineFormat format;  ///< codes only
  const float* scale = nullptr;  ///< codes only; live: changes from step to step
  std::int64_t scale_count = 0;  ///< 1, or one a channel: shape[0] of weights, shape.c() of sums
  /// Codes only; live, holds an integer; nullptr where format.zero_point is fixed.
  const float* zero_point = nullptr;
  /// The format with the zero point of now.
  integer::AffineFormat format_now() const {
    integer::AffineFormat now = format;
    if (zero_point != nullptr) now.zero_point = static_cast<std::int32_t>(*zero_point);
    return now;
  }
  /// A gradient in bf16 is bf16(gradient_factor[c] * dy); live, [C]; nullptr for 1. Products of
  /// codes take the scales of their weights in this way, before the one rounding.
  const float* gradient_factor = nullptr;
  /// Set by Network on the inputs it hands to a layer: a trainable parameter lies behind this edge,
  /// so backward is asked for its gradient.
  bool needs_gradient = false;
  /// Of this edge's gradient, chosen by Network: kF32 or kBf16.
  DType gradient_dtype = DType::kF32;
};

/// What a layer is made from.
struct LayerContext {
  const Node& node;
  std::span<const Edge> inputs;
  ParameterStore& parameters;
  std::int64_t batch = 1;
  bool training = true;                                     ///< false: backward is never called
  kernels::Precision precision = kernels::Precision::kF32;  ///< of products of reals
};

/// Memory a layer asks the network to plan.
struct LayerMemory {
  std::size_t saved_bytes = 0;             ///< lives from forward to backward
  std::size_t scratch_bytes = 0;           ///< lives during one call
  std::vector<bool> backward_reads_input;  ///< per input; empty means none
  bool backward_reads_output = false;
  bool aliases_input = false;  ///< output is input 0's memory under another shape (flatten)
  /// Permissions, which Network uses where nobody else needs the old content: output may be input
  /// 0's memory; input gradient 0 may be the output gradient's memory.
  bool forward_in_place = false;
  bool backward_in_place = false;
  /// Input gradient 1 may be the output gradient's memory, rather than input gradient 0.
  bool backward_in_place_of_second = false;
  /// backward adds to input gradient 0 where BackwardCall::adds says so: a gradient of several
  /// contributions then needs no pass of its own for their sum.
  bool backward_adds = false;
  /// Permissions for gradients in bf16, given by layers of products in bf16 and of what lies
  /// between them. An edge has one where the layer that makes it reads it and all that read it
  /// write it.
  bool backward_reads_bf16 = false;
  std::vector<bool> backward_writes_bf16;  ///< per input; empty means none
  /// backward reads a gradient in bf16 as two terms where two layers contribute: nobody writes
  /// their sum then.
  bool backward_reads_terms = false;
  /// Input gradient 1 is the output gradient as it is. Network may let it lie there; backward then
  /// finds an empty view.
  bool passes_gradient = false;
  /// The layer behind input 0 writes this one's output beside its own and finds this one's gradient
  /// beside its own (Layer::carry): forward and backward of this layer are never called.
  bool carried = false;
};

enum class Phase : std::uint8_t { kTrain, kEvaluate };

struct ForwardCall {
  Phase phase = Phase::kTrain;
  std::span<const ConstTensorView> inputs;
  TensorView output;
  std::byte* saved = nullptr;    ///< 64-byte aligned
  std::byte* scratch = nullptr;  ///< 64-byte aligned
  LapClock* clock = nullptr;     ///< for layers that do several kinds of work; the rest is kForward
  TensorView carried;  ///< output of the layer that this one carries; empty: there is none
};

struct BackwardCall {
  std::span<const ConstTensorView> inputs;  ///< empty views where not asked for in LayerMemory
  ConstTensorView output;                   ///< likewise
  ConstTensorView output_gradient;          ///< shape of the output
  ConstTensorView second_gradient;          ///< the other term of it; empty: there is none
  std::span<const TensorView>
      input_gradients;  ///< empty view where nobody needs it. Written, not added to.
  bool adds = false;    ///< input gradient 0 holds other contributions, to which this one is added
  std::byte* saved = nullptr;
  std::byte* scratch = nullptr;
  LapClock* clock = nullptr;         ///< as in ForwardCall; the rest is kBackwardData
  ConstTensorView carried_gradient;  ///< of the carried layer's output; f32, or bf16 if it reads it
};

/// A layer. Own parameters are declared in the constructor under "<node>.<word>"
/// ("bn1.gamma"); their gradients are written (not added to) by backward.
class Layer {
 public:
  virtual ~Layer() = default;
  /// Known once constructed.
  virtual const Edge& output() const = 0;
  virtual LayerMemory memory() const { return {}; }
  /// Set by layers whose output is memory they own (parameter): value and gradient.
  virtual Parameter* parameter() { return nullptr; }
  virtual void forward(const ForwardCall& call) = 0;
  virtual void backward(const BackwardCall& call) = 0;
  /// Told of the one reader whose LayerMemory says carried; memory() is asked for again. @throws
  /// ConfigError in layers that carry none.
  virtual void carry(Layer& reader);
};

using LayerFactory = std::function<std::unique_ptr<Layer>(const LayerContext&)>;

/// One kind of layer: how it is made and which attributes its node may carry.
struct LayerKind {
  LayerFactory make;
  int inputs = 1;
  std::vector<std::string> attributes;  ///< others are an error
  bool takes_more_inputs = false;       ///< `inputs` is the least count
};

/// Ops by name. src/quant adds its own to the float ones.
using LayerRegistry = std::map<std::string, LayerKind>;

/// input, parameter, conv2d, linear, batch_norm, fused, relu, relu6, hardtanh, prelu, rprelu,
/// k_map, scale_map, shift_batch_norm, max_pool, avg_pool, global_avg_pool, add, concat, dropout,
/// flatten.
LayerRegistry float_layers();

}  // namespace bitloom::layers
