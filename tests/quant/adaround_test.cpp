// AdaRound over whole graphs.
#include "bitloom/quant/adaround.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/quantize.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"
#include "layers/random_parameters.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::ParameterStore;

constexpr std::int64_t kBatch = 8;
constexpr std::int64_t kBatches = 6;

// Every kind of product that is judged differently: behind batch norm and ReLU, behind an add,
// depthwise, linear; strides and padding.
constexpr const char* kText = R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=8x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1, stride=2)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
dw.weight = parameter(shape=8x1x3x3)
dw = conv2d(relu1, dw.weight, pad=1, groups=8, bias=1)
clip = relu6(dw)
conv2.weight = parameter(shape=8x8x1x1)
conv2 = conv2d(clip, conv2.weight)
bn2 = batch_norm(conv2)
add = add(bn2, relu1)
relu2 = relu(add)
flatten = flatten(relu2)
fc.weight = parameter(shape=5x128)
fc = linear(flatten, fc.weight, bias=1)
)";

// Pixels of an image are alike, as in photographs. Rounding to nearest is the best there is for
// independent inputs; what AdaRound uses is that errors of neighbours can cancel.
void fill_smooth(Tensor& images) {
  layers::fill_normal(images, "images", 0.0F, 0.3F);
  const RandomStream random(17, "smooth");
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<float>()[i] += random.normal(static_cast<std::uint64_t>(i / 192));
  }
}

struct Rounded {
  explicit Rounded(const QuantOptions& options)
      : images(DType::kF32, Shape{kBatch * kBatches, 3, 8, 8}) {
    fill_smooth(images);
    const Graph graph = Graph::parse(kText, "test");
    const Network declared(graph, layers::float_layers(), store, {.batch = kBatch});
    layers::shake(store);
    const Network again(graph, layers::float_layers(), reals, {.batch = kBatch});
    layers::shake(reals);
    quantized = quantize_network(graph, store, options, {.profile = integer::profile_named("int8")},
                                 batches(), kBatch);
  }

  CalibrationBatches batches() {
    return [this](const auto& use) {
      for (std::int64_t i = 0; i < kBatches; ++i) {
        use(ConstTensorView(DType::kF32, images.shape().with_batch(kBatch),
                            images.data<float>() + i * kBatch * 192));
      }
    };
  }

  // Of the network's outputs against the float network's, over all images.
  double squared_error() {
    Network network(quantized, quantized_layers(), store, {.batch = kBatch, .training = false});
    Network wanted(Graph::parse(kText, "test"), layers::float_layers(), reals,
                   {.batch = kBatch, .training = false});
    double sum = 0.0;
    batches()([&](ConstTensorView in) {
      const ConstTensorView a = network.forward(in, layers::Phase::kEvaluate);
      const ConstTensorView b = wanted.forward(in, layers::Phase::kEvaluate);
      for (std::int64_t i = 0; i < a.elements(); ++i) {
        const double difference = double{a.data<float>()[i]} - double{b.data<float>()[i]};
        sum += difference * difference;
      }
    });
    return sum;
  }

  Tensor images;
  ParameterStore store{3};
  ParameterStore reals{3};
  Graph quantized;
};

QuantOptions options_of(int weight_bits, bool adaround) {
  QuantOptions options{.method = "ptq-static", .adaround = adaround, .weight_bits = weight_bits};
  options.adaround_steps = 60;
  options.first_last_bits = 0;
  return options;
}

TEST(AdaRound, LowersEachLayersErrorAndTheNetworks) {
  Rounded nearest(options_of(3, false));
  const double before = nearest.squared_error();
  const std::vector<LearnedRounding> learned =
      adaround(nearest.quantized, nearest.store, nearest.reals, nearest.batches(), kBatch,
               {.steps = 1000, .batch = 16});
  ASSERT_EQ(learned.size(), 4U);
  for (const LearnedRounding& layer : learned) {
    SCOPED_TRACE(layer.layer);
    EXPECT_TRUE(layer.kept);
    EXPECT_LT(layer.learned_loss, 0.9 * layer.nearest_loss);
    EXPECT_GT(layer.moved, 0);
  }
  EXPECT_LT(nearest.squared_error(), 0.3 * before);
}

// A learned weight is scale * code, bit for bit, and ordinary rounding finds the code again; a
// layer that learned nothing keeps its weights.
TEST(AdaRound, LeavesWeightsOnTheirGrid) {
  Rounded rounded(options_of(4, false));
  int kept = 0;
  for (const LearnedRounding& layer :
       adaround(rounded.quantized, rounded.store, rounded.reals, rounded.batches(), kBatch,
                {.steps = 250, .batch = 16})) {
    SCOPED_TRACE(layer.layer);
    const std::string name = layer.layer + ".weight";
    const Tensor& reals = rounded.reals.at(name).value;
    const Tensor& learned = rounded.store.at(name).value;
    if (!layer.kept) {
      EXPECT_THAT(learned, TensorEq(reals));
      continue;
    }
    ++kept;
    const integer::AffineFormat format = format_of(*rounded.quantized.find(name + ".q"));
    const auto scales = rounded.store.at(name + ".q.scale").value.span<float>();
    const std::size_t columns = learned.span<float>().size() / scales.size();
    std::int64_t moved = 0;
    for (std::size_t i = 0; i < learned.span<float>().size(); ++i) {
      const float scale = scales[i / columns];
      const float weight = learned.span<float>()[i];
      const float real = reals.span<float>()[i];
      const std::int32_t code = integer::quantize(weight, 1.0F / scale, format);
      ASSERT_EQ(weight, integer::dequantize(code, scale, 0)) << i;
      const float steps = std::clamp(real / scale, static_cast<float>(format.range.qmin),
                                     static_cast<float>(format.range.qmax));
      ASSERT_LE(std::abs(steps - static_cast<float>(code)), 1.0001F) << i;  // up or down
      if (code != integer::quantize(real, 1.0F / scale, format)) ++moved;
    }
    EXPECT_EQ(moved, layer.moved);
  }
  EXPECT_GE(kept, 2);
}

TEST(AdaRound, RepeatsBitForBit) {
  const Rounded first(options_of(4, true));
  const Rounded second(options_of(4, true));
  for (const auto& [name, parameter] : first.store.all()) {
    EXPECT_THAT(second.store.at(name).value, TensorEq(parameter.value)) << name;
  }
}

// One byte of memory for examples still gives one calibration batch; the result differs.
TEST(AdaRound, KeepsAsManyImagesAsFit) {
  Rounded all(options_of(3, false));
  Rounded few(options_of(3, false));
  const auto run = [](Rounded& setup, std::size_t bytes) {
    return adaround(setup.quantized, setup.store, setup.reals, setup.batches(), kBatch,
                    {.steps = 30, .batch = 4, .data_bytes = bytes});
  };
  const auto with_all = run(all, std::size_t{1} << 20);
  const auto with_few = run(few, 1);
  ASSERT_EQ(with_few.size(), with_all.size());
  EXPECT_NE(with_few[0].nearest_loss, with_all[0].nearest_loss);
}

TEST(AdaRound, RefusesWeightsWhoseScaleMoves) {
  QuantOptions options = options_of(4, true);
  options.method = "qat";
  options.quantizer = "ema";
  EXPECT_ERROR(ConfigError, Rounded(options), "quant.adaround: conv1.weight.q",
               "set quant.quantizer = lsq");
}

TEST(AdaRound, NeedsImages) {
  Rounded setup(options_of(4, false));
  EXPECT_ERROR(ConfigError,
               adaround(setup.quantized, setup.store, setup.reals, [](const auto&) {}, kBatch, {}),
               "at least one full batch of images");
}

}  // namespace
}  // namespace bitloom::quant
