#include "bitloom/layers/fused_chain.h"

#include "bitloom/core/error.h"
#include "channel_norm.h"
#include "channel_rectifier.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// nullptr where the node names no batch norm.
std::unique_ptr<ChannelNorm> norm_of(const LayerContext& context) {
  const bool alone = context.node.op == "batch_norm";
  if (!alone && !context.node.has("norm")) return nullptr;
  return std::make_unique<ChannelNorm>(
      context,
      ChannelNormOptions{.name = alone ? context.node.name : context.node.word("norm", ""),
                         .epsilon = context.node.real("epsilon", 1e-5),
                         .momentum = static_cast<float>(context.node.real("momentum", 0.1)),
                         .frozen = flag(context.node, alone ? "frozen" : "norm_frozen", false)});
}

}  // namespace

FusedChain::FusedChain(const LayerContext& context, std::unique_ptr<ChainGrid> grid)
    : source_dtype_(context.inputs[0].dtype), grid_(std::move(grid)) {
  const Edge& source = context.inputs[0];
  norm_ = norm_of(context);
  if (source_dtype_ != DType::kF32 && (source_dtype_ != DType::kBf16 || norm_ == nullptr)) {
    throw ShapeError({.place = context.node.name,
                      .expected = cat("reals (f32) from ", context.node.inputs[0]),
                      .found = cat("codes (", to_word(source.dtype), ")"),
                      .remedy = ""});
  }
  edge_.shape = source.shape;
  source_factor_ = source.gradient_factor;
  bf16_ = context.precision == kernels::Precision::kBf16;
  chain_.size = kernels::channel_rows(source.shape.elements() / source.shape.c(), source.shape.c());
  chain_.source = {.dtype = source_dtype_, .scale = source.scale};
  read_clip(context);
  read_rectifier(context);
  if (context.inputs.size() > 1) read_shortcut(context);
  if (grid_ == nullptr) return;
  edge_ = grid_->codes();
  edge_.shape = source.shape;
  chain_.quantizes = true;
  if (norm_ != nullptr && grid_->follows()) {
    ranges_.resize(static_cast<std::size_t>(chain_.size.channels));
  }
}

FusedChain::~FusedChain() = default;

void FusedChain::read_clip(const LayerContext& context) {
  const Node& node = context.node;
  chain_.clips = node.has("low") || node.has("high");
  if (node.has("low")) chain_.clip.low = static_cast<float>(node.real("low", 0.0));
  if (node.has("high")) chain_.clip.high = static_cast<float>(node.real("high", 0.0));
  if (chain_.clip.low < chain_.clip.high) return;
  throw ConfigError({.place = node.name,
                     .expected = "low below high",
                     .found = cat("low=", chain_.clip.low, ", high=", chain_.clip.high),
                     .remedy = ""});
}

void FusedChain::read_rectifier(const LayerContext& context) {
  const std::string word = context.node.word("rectifier", "");
  if (word.empty()) return;
  if ((word != "prelu" && word != "rprelu") || norm_ == nullptr || chain_.clips ||
      grid_ != nullptr) {
    throw ConfigError({.place = context.node.name,
                       .expected = "rectifier=prelu or rprelu behind a norm, no clip and no grid",
                       .found = cat("rectifier=", word),
                       .remedy = ""});
  }
  rectifier_ = std::make_unique<ChannelRectifier>(context, word == "rprelu");
  rectifier_sums_.resize(static_cast<std::size_t>(2 * chain_.size.channels));
  chain_.rectifies = true;
}

void FusedChain::read_shortcut(const LayerContext& context) {
  if (context.inputs.size() > 2) {
    throw ConfigError({.place = context.node.name,
                       .expected = "x and at most one shortcut",
                       .found = cat(context.inputs.size(), " inputs"),
                       .remedy = ""});
  }
  shortcut_ = context.inputs[1];
  if (shortcut_.dtype == DType::kBf16) {
    throw ShapeError({.place = context.node.name,
                      .expected = cat("reals or codes from ", context.node.inputs[1]),
                      .found = "sums of a product",
                      .remedy = ""});
  }
  chain_.shortcut_dtype = shortcut_.dtype;
  if (shortcut_.shape == edge_.shape) return;
  throw ShapeError({.place = context.node.name,
                    .expected = cat("two inputs of one shape, ", context.node.inputs[1], " like ",
                                    context.node.inputs[0], " ", to_string(edge_.shape)),
                    .found = to_string(shortcut_.shape),
                    .remedy = ""});
}

// A shortcut of reals would be kept for the mask alone; the output mostly is kept anyway.
bool FusedChain::masks_by_output() const {
  return has_shortcut() && shortcut_.dtype == DType::kF32 && chain_.clips && !chain_.quantizes;
}

LayerMemory FusedChain::memory() const {
  const bool computes_again = (masks() && !masks_by_output()) || rectifier_ != nullptr;
  return {
      .scratch_bytes = norm_ != nullptr ? norm_->scratch_bytes() : 0,
      .backward_reads_input = {norm_ != nullptr || computes_again,
                               has_shortcut() && computes_again},
      .backward_reads_output = masks_by_output() || (signs_ != nullptr && rectifier_ == nullptr),
      .forward_in_place = source_dtype_ == DType::kF32,
      .backward_in_place = true,
      .backward_in_place_of_second = norm_ != nullptr,
      .backward_reads_bf16 = bf16_,
      .backward_writes_bf16 = {bf16_ && (norm_ != nullptr || source_factor_ == nullptr),
                               bf16_ && shortcut_.gradient_factor == nullptr},
      .backward_reads_terms = bf16_,
      .passes_gradient = has_shortcut() && !masks() && signs_ == nullptr && rectifier_ == nullptr};
}

void FusedChain::carry(Layer& reader) {
  auto* signs = dynamic_cast<ChainSigns*>(&reader);
  if (signs == nullptr || signs_ != nullptr || norm_ == nullptr || masks()) Layer::carry(reader);
  signs_ = signs;
  chain_.signs = true;
  sign_sums_.resize(static_cast<std::size_t>(chain_.size.channels));
}

void FusedChain::point_at(std::span<const ConstTensorView> inputs) {
  chain_.source.at = inputs[0].raw();
  if (!has_shortcut()) return;
  chain_.shortcut = inputs[1].raw();
  if (shortcut_.dtype == DType::kF32) return;
  chain_.shortcut_scale = *shortcut_.scale;
  chain_.shortcut_zero_point = shortcut_.format_now().zero_point;
}

void FusedChain::forward(const ForwardCall& call) {
  point_at(call.inputs);
  chain_.output = nullptr;
  const bool follows = grid_ != nullptr && call.phase == Phase::kTrain && grid_->follows();
  if (norm_ != nullptr) {
    norm_->measure(chain_.source, call.phase, follows ? ranges_.data() : nullptr, call.scratch);
    norm_->describe(chain_);
  }
  if (rectifier_ != nullptr) chain_.rectifier = rectifier_->channels();
  if (grid_ != nullptr) {
    if (follows) {
      const bool ranges_known = norm_ != nullptr && norm_->measures(call.phase);
      grid_->follow(kernels::chain_range(chain_, ranges_known ? ranges_.data() : nullptr));
    }
    grid_->settle();
    chain_.scale = *edge_.scale;
    chain_.format = edge_.format_now();
  }
  if (signs_ != nullptr) {
    signs_->settle();
    chain_.sign_threshold = signs_->thresholds();
    chain_.sign_codes = call.carried.data<std::int8_t>();
  }
  kernels::chain_forward(chain_, call.output.raw());
}

void FusedChain::backward(const BackwardCall& call) {
  const auto asked = [&](std::size_t k) -> kernels::InputGradient {
    if (k >= call.input_gradients.size()) return {};
    return kernels::place_of(call.input_gradients[k]);
  };
  const kernels::InputGradient source = asked(0);
  const kernels::InputGradient shortcut = asked(1);
  const bool learns = grid_ != nullptr && grid_->learns();
  kernels::GradientSums sums;
  kernels::ChainGradients gradients{.dx = source, .again = shortcut};
  if (learns) gradients.grid = &sums;
  if (norm_ != nullptr) {
    // The source's memory holds dx until its own gradient takes the place.
    if (shortcut.at != nullptr) gradients.dx = shortcut;
    gradients.again = {};
    norm_->ask_sums(gradients);
  }
  chain_.output = call.output.empty() ? nullptr : call.output.data<float>();
  if (signs_ != nullptr) {
    chain_.sign_gradient = kernels::terms_of(call.carried_gradient, {});
    gradients.signs = sign_sums_.data();
  }
  if (rectifier_ != nullptr) {
    gradients.rectifier_slope = rectifier_sums_.data();
    gradients.rectifier_offset = rectifier_sums_.data() + chain_.size.channels;
  }
  kernels::chain_gradient(chain_, kernels::terms_of(call.output_gradient, call.second_gradient),
                          gradients, call.scratch);
  if (learns) grid_->learn(sums);
  if (signs_ != nullptr) {
    const std::span<float> thresholds = signs_->threshold_gradient();
    for (std::size_t c = 0; c < thresholds.size(); ++c) {
      thresholds[c] = -static_cast<float>(sign_sums_[c]);
    }
  }
  if (rectifier_ != nullptr) learn_rectifier(gradients);
  if (norm_ == nullptr) return;
  const bool scales = source.dtype == DType::kBf16;
  const kernels::NormalizationGradient terms = norm_->learn(scales ? source_factor_ : nullptr);
  if (source.at != nullptr) {
    kernels::normalization_gradient(chain_, gradients.dx, terms, source);
  }
}

void FusedChain::learn_rectifier(const kernels::ChainGradients& sums) {
  const kernels::RectifierGradients gradients = rectifier_->gradients();
  for (std::int64_t c = 0; c < chain_.size.channels; ++c) {
    gradients.slope[c] = static_cast<float>(sums.rectifier_slope[c]);
    if (gradients.threshold == nullptr) continue;
    gradients.threshold[c] = -static_cast<float>(sums.shift[c]);
    gradients.offset[c] = static_cast<float>(sums.rectifier_offset[c]);
  }
}

std::unique_ptr<Layer> make_batch_norm(const LayerContext& context) {
  return std::make_unique<FusedChain>(context);
}

std::unique_ptr<Layer> make_fused(const LayerContext& context) {
  return std::make_unique<FusedChain>(context);
}

}  // namespace bitloom::layers
