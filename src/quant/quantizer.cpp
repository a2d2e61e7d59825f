#include "bitloom/quant/quantizer.h"

#include <algorithm>
#include <array>

#include "bitloom/core/error.h"
#include "bitloom/quant/bi_real.h"
#include "bitloom/quant/binary_connect.h"
#include "bitloom/quant/bnn.h"
#include "bitloom/quant/dorefa.h"
#include "bitloom/quant/ema.h"
#include "bitloom/quant/lsq.h"
#include "bitloom/quant/observer.h"
#include "bitloom/quant/pact.h"
#include "bitloom/quant/reactnet.h"
#include "bitloom/quant/ttq.h"
#include "bitloom/quant/twn.h"
#include "bitloom/quant/xnor_net.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;
using layers::Role;

constexpr std::array<std::pair<std::string_view, QuantizerKind>, 17> kWords{
    {{"static", QuantizerKind::kStatic},
     {"ema", QuantizerKind::kEma},
     {"lsq", QuantizerKind::kLsq},
     {"lsq+", QuantizerKind::kLsqPlus},
     {"pact", QuantizerKind::kPact},
     {"dorefa", QuantizerKind::kDorefa},
     {"binary-connect", QuantizerKind::kBinaryConnect},
     {"binary-connect-stochastic", QuantizerKind::kBinaryConnectStochastic},
     {"bnn", QuantizerKind::kBnn},
     {"bnn-stochastic", QuantizerKind::kBnnStochastic},
     {"bwn", QuantizerKind::kBwn},
     {"xnor", QuantizerKind::kXnor},
     {"bi-real", QuantizerKind::kBiReal},
     {"rsign", QuantizerKind::kRsign},
     {"twn", QuantizerKind::kTwn},
     {"twn-exact", QuantizerKind::kTwnExact},
     {"ttq", QuantizerKind::kTtq}}};

// "static", and everything that is frozen: the scale stays.
class StaticQuantizer final : public Quantizer {
 public:
  explicit StaticQuantizer(const QuantizerContext& context) : Quantizer(context, false) {}
};

bool is_frozen(const Node& node) { return node.integer("frozen", 0) != 0; }

// The tensor behind a node where it is a weight; activations have none outside of a network.
ConstTensorView weight_behind(const Node& node, const ParameterStore& store) {
  return quantizes_weight(node) ? ConstTensorView(store.at(node.inputs[0]).value)
                                : ConstTensorView();
}

std::unique_ptr<Quantizer> quantizer_of(const Node& node, ParameterStore& store) {
  const ConstTensorView weight = weight_behind(node, store);
  return make_quantizer({node, weight.empty() ? Shape{1, 1} : weight.shape(), store});
}

// grid= of a node. @throws ConfigError naming the node unless bits and range are the grid's.
integer::AffineFormat level_format_of(const Node& node, const std::string& grid) {
  const bool known = grid == "binary" || grid == "ternary";
  const integer::AffineFormat format =
      grid == "binary" ? integer::kBinaryFormat : integer::kTernaryFormat;
  if (!known || node.integer("bits", 0) != format.bits || node.integer("qmin", 0) != -1 ||
      node.integer("qmax", 0) != 1 || node.word("dtype", "") != "s8" ||
      node.integer("zero_point", 0) != 0) {
    throw ConfigError(ErrorText{
        node.name,
        "grid=binary, bits=1 or grid=ternary, bits=2; dtype=s8, qmin=-1, "
        "qmax=1, no zero_point",
        cat("grid=", grid, ", bits=", node.word("bits", "-"), ", dtype=", node.word("dtype", "-"),
            ", qmin=", node.word("qmin", "-"), ", qmax=", node.word("qmax", "-")),
        ""});
  }
  return format;
}

// The quantizer of a binary or ternary grid, or nullptr where `kind` has none.
std::unique_ptr<Quantizer> make_level_quantizer(QuantizerKind kind,
                                                const QuantizerContext& context) {
  const bool is_weight = quantizes_weight(context.node);
  switch (kind) {
    case QuantizerKind::kBinaryConnect:
    case QuantizerKind::kBinaryConnectStochastic:
      return std::make_unique<BinaryConnectWeights>(
          context, kind == QuantizerKind::kBinaryConnectStochastic);
    case QuantizerKind::kBnn:
      if (is_weight) return std::make_unique<BnnWeights>(context);
      return std::make_unique<BnnActivations>(context, false);
    case QuantizerKind::kBnnStochastic:
      return std::make_unique<BnnActivations>(context, true);
    case QuantizerKind::kBwn:
    case QuantizerKind::kXnor:
      return std::make_unique<BwnWeights>(context, kind == QuantizerKind::kXnor);
    case QuantizerKind::kBiReal:
      if (is_weight) return std::make_unique<BiRealWeights>(context);
      return std::make_unique<BiRealActivations>(context);
    case QuantizerKind::kRsign:
      return std::make_unique<RsignActivations>(context);
    case QuantizerKind::kTwn:
    case QuantizerKind::kTwnExact:
      return std::make_unique<TwnWeights>(context, kind == QuantizerKind::kTwnExact);
    case QuantizerKind::kTtq:
      return std::make_unique<TtqWeights>(context);
    case QuantizerKind::kDorefa:
      return std::make_unique<DorefaBinaryWeights>(context);
    default:
      return nullptr;
  }
}

// Runs use(quantizer, weight) for every node with a grid of its own and takes the zero point over
// into the graph; nodes that share a grid follow.
template <typename Use>
void for_each_grid(Graph& graph, ParameterStore& store, const Use& use) {
  for (const Node& listed : graph.nodes()) {
    if (!is_fake_quant(listed)) continue;
    Node& node = *graph.find(listed.name);
    if (node.has("share")) {
      const Node* source = graph.find(node.word("share", ""));
      if (source->has("zero_point")) node.set("zero_point", source->word("zero_point", "0"));
      continue;
    }
    const std::unique_ptr<Quantizer> quantizer = quantizer_of(node, store);
    use(*quantizer, weight_behind(node, store));
    if (quantizer->zero_point() != nullptr) {
      node.set("zero_point", cat(quantizer->format().zero_point));
    }
  }
}

}  // namespace

QuantizerKind quantizer_from_word(std::string_view word) {
  std::string known;
  for (const auto& [name, kind] : kWords) {
    if (name == word) return kind;
    known += cat(known.empty() ? "" : ", ", name);
  }
  throw ConfigError(ErrorText{"quantizer", cat("one of ", known), std::string(word), ""});
}

bool is_fake_quant(const Node& node) { return node.op == "fake_quant"; }

bool quantizes_weight(const Node& node) {
  return node.has("axis") || node.integer("weight", 0) != 0;
}

std::string scale_name(const Node& node) { return cat(node.word("share", node.name), ".scale"); }

integer::AffineFormat format_of(const Node& node) {
  const std::string grid = node.word("grid", "affine");
  if (grid != "affine") return level_format_of(node, grid);
  integer::AffineFormat format;
  format.bits = static_cast<int>(node.integer("bits", 8));
  format.is_signed = dtype_from_word(node.word("dtype", "u8")) == DType::kS8;
  format.range.qmin = static_cast<std::int32_t>(node.integer("qmin", 0));
  format.range.qmax = static_cast<std::int32_t>(node.integer("qmax", 255));
  format.zero_point = static_cast<std::int32_t>(node.integer("zero_point", 0));
  const integer::CodeRange storage =
      format.is_signed ? integer::CodeRange{-128, 127} : integer::CodeRange{0, 255};
  const bool fits = format.bits >= 2 && format.bits <= 8 && format.range.qmin >= storage.qmin &&
                    format.range.qmax <= storage.qmax && format.range.qmin < format.range.qmax &&
                    format.range.levels() <= (1 << format.bits) &&
                    format.zero_point >= format.range.qmin &&
                    format.zero_point <= format.range.qmax;
  if (!fits) {
    throw ConfigError(ErrorText{
        node.name, "bits 2..8, qmin < qmax within dtype and 2^bits levels, zero_point in the range",
        cat("bits ", format.bits, ", range [", format.range.qmin, ", ", format.range.qmax,
            "], zero_point ", format.zero_point),
        ""});
  }
  return format;
}

Quantizer::Quantizer(const QuantizerContext& context, bool learned)
    : name_(context.node.name),
      store_(context.parameters),
      format_(format_of(context.node)),
      is_weight_(quantizes_weight(context.node)),
      per_channel_(context.node.has("axis")),
      power_of_two_(context.node.integer("power_of_two", 0) != 0) {
  if (per_channel_ && context.node.integer("axis", 0) != 0) {
    throw ConfigError(
        ErrorText{name_, "axis=0 (output channels)", context.node.word("axis", ""), ""});
  }
  const std::int64_t count = per_channel_ ? context.input[0] : 1;
  counted_ = context.input.elements() / (is_weight_ ? count : context.input.n());
  scale_ =
      &store_.declare(cat(name_, ".scale"), Shape{count},
                      learned ? Role::kQuantizerScale : Role::kQuantizerState, {.constant = 1.0F});
}

void Quantizer::observe(ConstTensorView /*x*/) {}
void Quantizer::settle(ConstTensorView /*x*/) {}
void Quantizer::start(ConstTensorView x) { settle(x); }
ConstTensorView Quantizer::transformed(ConstTensorView x) { return x; }
void Quantizer::transform_backward(ConstTensorView /*x*/, TensorView /*dx*/) {}
bool Quantizer::learns() const { return false; }
void Quantizer::learn(std::span<const kernels::GradientSums> /*sums*/) {}

void Quantizer::forget() {
  if (scale_->role != Role::kQuantizerState) scale_ = &keep_still(".scale");
}

layers::Parameter& Quantizer::keep_still(std::string_view word) {
  const std::string name = cat(name_, word);
  const Tensor value = store_.at(name).value.clone();
  store_.erase(name);
  layers::Parameter& still = store_.declare(name, value.shape(), Role::kQuantizerState, {});
  copy(value, still.value);
  return still;
}

float Quantizer::usable(float wanted) const {
  // What is not a number or has collapsed is told by the layer, with its place.
  if (!power_of_two_ || !(wanted > kSmallestScale)) return wanted;
  return power_of_two_scale(wanted);
}

std::unique_ptr<Quantizer> make_quantizer(const QuantizerContext& context) {
  const QuantizerKind kind = quantizer_from_word(context.node.word("quantizer", "static"));
  const bool frozen = is_frozen(context.node);
  const bool is_weight = quantizes_weight(context.node);
  if (format_of(context.node).grid != integer::Grid::kAffine) {
    if (std::unique_ptr<Quantizer> made = make_level_quantizer(kind, context)) return made;
    throw ConfigError(ErrorText{context.node.name, "a quantizer of one or two bits",
                                cat("quantizer=", context.node.word("quantizer", "static"),
                                    " with grid=", context.node.word("grid", "")),
                                ""});
  }
  if (kind == QuantizerKind::kDorefa && is_weight) {
    return std::make_unique<DorefaWeights>(context, !frozen);
  }
  if (frozen) return std::make_unique<StaticQuantizer>(context);
  switch (kind) {
    case QuantizerKind::kEma:
      return std::make_unique<EmaQuantizer>(context);
    case QuantizerKind::kLsq:
    case QuantizerKind::kLsqPlus:
      return std::make_unique<LsqQuantizer>(context);
    case QuantizerKind::kPact:
      return std::make_unique<PactQuantizer>(context);
    case QuantizerKind::kDorefa:
      return std::make_unique<DorefaActivations>(context);
    case QuantizerKind::kStatic:
      return std::make_unique<StaticQuantizer>(context);
    default:
      break;
  }
  throw ConfigError(ErrorText{context.node.name, "grid=binary or grid=ternary",
                              cat("quantizer=", context.node.word("quantizer", ""), " without it"),
                              ""});
}

void start_quantizers(Graph& graph, ParameterStore& store) {
  for_each_grid(graph, store,
                [](Quantizer& quantizer, ConstTensorView weight) { quantizer.start(weight); });
}

void settle_quantizers(Graph& graph, ParameterStore& store) {
  for_each_grid(graph, store,
                [](Quantizer& quantizer, ConstTensorView weight) { quantizer.settle(weight); });
}

void freeze_ranges(Graph& graph, ParameterStore& store) {
  for_each_grid(graph, store, [](Quantizer& quantizer, ConstTensorView weight) {
    quantizer.settle(weight);
    quantizer.forget();
  });
  for (const Node& node : graph.nodes()) {
    if (is_fake_quant(node)) graph.find(node.name)->set("frozen", "1");
  }
}

Tensor weight_codes(const Node& node, const ParameterStore& store) {
  const Tensor& weight = store.at(node.inputs[0]).value;
  if (format_of(node).grid != integer::Grid::kAffine) {
    Tensor codes(DType::kS8, weight.shape());
    write_level_codes(node, store, weight, codes.data<std::int8_t>());
    return codes;
  }
  const Tensor& scale = store.at(scale_name(node)).value;
  const bool squashed =
      quantizer_from_word(node.word("quantizer", "static")) == QuantizerKind::kDorefa;
  const Tensor values = squashed ? tanh_of(weight) : weight.clone();
  Tensor codes(DType::kS8, weight.shape());
  kernels::quantize(values.data<float>(),
                    {.rows = scale.elements(),
                     .cols = weight.elements() / scale.elements(),
                     .scale = scale.data<float>(),
                     .scale_per_row = scale.elements() > 1,
                     .format = format_of(node)},
                    codes.raw());
  return codes;
}

}  // namespace bitloom::quant
