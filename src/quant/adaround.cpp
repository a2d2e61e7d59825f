#include "bitloom/quant/adaround.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::Node;
using layers::ParameterStore;

// Where outputs are large, the paper's lambda is too weak to make h binary: then lambda is so large
// that the regularizer of all weights is this multiple of the error that rounding makes.
constexpr double kLeastRegularizer = 10.0;

// The node whose float output a product's rounding is judged by: through batch norm and activation
// function, but not through an add, whose other input is not the product's doing.
std::string judged_node(const Chain& chain) {
  if (chain.add == nullptr && chain.clip != nullptr) return chain.clip->name;
  return chain.batch_norm != nullptr ? chain.batch_norm->name : chain.head->name;
}

const Node& weight_quantizer(const Graph& graph, const Chain& chain) {
  return *graph.find(chain.head->inputs[1]);
}

// The chains whose weight has a grid of its own.
std::vector<Chain> roundable_chains(const Graph& graph) {
  std::vector<Chain> roundable;
  for (Chain& chain : chains_of(graph)) {
    if (!is_product(*chain.head)) continue;
    const Node& quantizer = weight_quantizer(graph, chain);
    if (!is_fake_quant(quantizer) || only_reader(graph, quantizer) != chain.head) continue;
    const std::string word = quantizer.word("quantizer", "static");
    if (word != "static" && word != "lsq") {
      throw ConfigError(ErrorText{cat("quant.adaround: ", quantizer.name),
                                  "a quantizer whose scale stays: static (PTQ) or lsq", word,
                                  "set quant.quantizer = lsq or quant.adaround = false"});
    }
    roundable.push_back(std::move(chain));
  }
  return roundable;
}

// What a layer learns from: its quantized inputs and float outputs, in chunks of one batch.
class Examples {
 public:
  void add(ConstTensorView input, ConstTensorView output) {
    inputs_.emplace_back(DType::kF32, input.shape());
    copy(input, inputs_.back().view());
    outputs_.emplace_back(DType::kF32, output.shape());
    copy(output, outputs_.back().view());
  }
  bool empty() const { return inputs_.empty(); }
  // True if one more chunk would not fit.
  bool full(std::size_t most_bytes) const {
    if (empty()) return false;
    return (inputs_.size() + 1) * (inputs_.front().bytes() + outputs_.front().bytes()) > most_bytes;
  }
  std::int64_t images() const {
    return static_cast<std::int64_t>(inputs_.size()) * inputs_.front().shape()[0];
  }
  Shape input_shape(std::int64_t batch) const { return inputs_.front().shape().with_batch(batch); }
  Shape output_shape(std::int64_t batch) const {
    return outputs_.front().shape().with_batch(batch);
  }
  void take(std::int64_t image, std::int64_t slot, Tensor& input, Tensor& output) const {
    take_from(inputs_, image, slot, input);
    take_from(outputs_, image, slot, output);
  }

 private:
  static void take_from(const std::vector<Tensor>& chunks, std::int64_t image, std::int64_t slot,
                        Tensor& batch) {
    const std::int64_t per_chunk = chunks.front().shape()[0];
    const Tensor& chunk = chunks[static_cast<std::size_t>(image / per_chunk)];
    const std::int64_t size = chunk.elements() / per_chunk;
    std::memcpy(batch.data<float>() + slot * size, chunk.data<float>() + image % per_chunk * size,
                static_cast<std::size_t>(size) * sizeof(float));
  }

  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
};

Examples collect(const Graph& graph, const Graph& float_graph, const Chain& chain,
                 ParameterStore& store, ParameterStore& float_store,
                 const CalibrationBatches& batches, std::int64_t batch, std::size_t most_bytes) {
  Network source(up_to(graph, chain.head->inputs[0]), quantized_layers(), store,
                 {.batch = batch, .training = false});
  Network wanted(up_to(float_graph, judged_node(chain)), layers::float_layers(), float_store,
                 {.batch = batch, .training = false});
  Examples examples;
  batches([&](ConstTensorView images) {
    if (examples.full(most_bytes)) return;
    examples.add(source.forward(images, layers::Phase::kEvaluate),
                 wanted.forward(images, layers::Phase::kEvaluate));
  });
  if (examples.empty()) {
    throw ConfigError(ErrorText{"quant.adaround", "at least one full batch of images", "none",
                                "raise quant.calibration_images or data.validation_images"});
  }
  return examples;
}

std::vector<integer::ChannelAffine> affines_of(const Chain& chain, const ParameterStore& store,
                                               std::int64_t channels) {
  std::vector<integer::ChannelAffine> affines(static_cast<std::size_t>(channels));
  const auto value = [&](const Node& node, const char* word, std::int64_t o) {
    return double{store.at(node.name + word).value.data<float>()[o]};
  };
  const bool biased = chain.head->integer("bias", 0) != 0;
  for (std::int64_t o = 0; o < channels; ++o) {
    integer::ChannelAffine& affine = affines[static_cast<std::size_t>(o)];
    if (chain.batch_norm != nullptr) {
      const Node& norm = *chain.batch_norm;
      affine.slope = value(norm, ".gamma", o) /
                     std::sqrt(value(norm, ".running_var", o) + norm.real("epsilon", 1e-5));
      affine.offset = value(norm, ".beta", o) - value(norm, ".running_mean", o) * affine.slope;
    }
    if (biased) affine.offset += value(*chain.head, ".bias", o) * affine.slope;
  }
  return affines;
}

RoundingProblem problem_of(const Chain& chain, const Node& quantizer, const Shape& source,
                           ParameterStore& store) {
  const Tensor& weight = store.at(quantizer.inputs[0]).value;
  const bool linear = chain.head->op == "linear";
  const Shape flat{source[0], source.elements() / source[0]};
  return {.layer = chain.head->name,
          .linear = linear,
          .product = {.source = linear ? flat : source,
                      .weight = weight.shape(),
                      .window = layers::conv_window(*chain.head)},
          .weight = weight,
          .scale = store.at(scale_name(quantizer)).value.span<float>(),
          .format = format_of(quantizer),
          .affine = affines_of(chain, store, weight.shape()[0]),
          .clip = chain.add == nullptr ? chain.bounds() : integer::Clip{}};
}

LearnedRounding learn(const Chain& chain, const Node& quantizer, const Examples& examples,
                      ParameterStore& store, const AdaRoundOptions& options) {
  const std::int64_t images = examples.images();
  const std::int64_t batch = std::min(options.batch, images);
  Tensor& weight = store.at(quantizer.inputs[0]).value;
  const RoundingProblem problem = problem_of(chain, quantizer, examples.input_shape(batch), store);
  RoundingLearner learner(problem, options);
  Tensor input(DType::kF32, problem.product.source);
  Tensor output(DType::kF32, examples.output_shape(batch));
  const auto mean_over_images = [&](const auto& loss) {
    double sum = 0.0;
    std::int64_t batches = 0;
    for (; (batches + 1) * batch <= images; ++batches) {
      for (std::int64_t i = 0; i < batch; ++i) examples.take(batches * batch + i, i, input, output);
      sum += loss();
    }
    return sum / static_cast<double>(batches);
  };

  LearnedRounding learned{.layer = chain.head->name};
  learned.nearest_loss = mean_over_images([&] { return learner.nearest_loss(input, output); });
  learner.set_regularizer(
      std::max(options.regularizer,
               kLeastRegularizer * learned.nearest_loss / static_cast<double>(weight.elements())));
  const RandomStream random(store.seed(), cat("adaround.", chain.head->name));
  for (int step = 0; step < options.steps; ++step) {
    for (std::int64_t i = 0; i < batch; ++i) {
      const auto draw = static_cast<std::uint64_t>(step * batch + i);
      const std::int64_t image =
          batch == images ? i : random.below(draw, static_cast<std::uint32_t>(images));
      examples.take(image, i, input, output);
    }
    learner.step(step, input, output);
  }
  learned.learned_loss = mean_over_images([&] { return learner.learned_loss(input, output); });
  learned.moved = learner.moved();
  learned.kept = learned.learned_loss < learned.nearest_loss;
  if (learned.kept) learner.write_weights(weight);
  return learned;
}

}  // namespace

std::vector<LearnedRounding> adaround(const Graph& graph, ParameterStore& store,
                                      ParameterStore& float_store,
                                      const CalibrationBatches& batches, std::int64_t batch,
                                      const AdaRoundOptions& options) {
  const Graph float_graph = strip_fake_quant(graph);
  std::vector<LearnedRounding> learned;
  for (const Chain& chain : roundable_chains(graph)) {
    const Examples examples =
        collect(graph, float_graph, chain, store, float_store, batches, batch, options.data_bytes);
    learned.push_back(learn(chain, weight_quantizer(graph, chain), examples, store, options));
  }
  return learned;
}

}  // namespace bitloom::quant
