// Every promise of model.h has a model that breaks it, and is named in the refusal.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "backends/binary_models.h"
#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom::integer {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Break {
  std::string what;
  std::function<void(Model&)> change;
  std::string part;  ///< of the message
};

std::size_t layer_named(const Model& model, const std::string& name) {
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    if (model.layers[i].name == name) return i;
  }
  ADD_FAILURE() << name;
  return 0;
}

Layer& layer(Model& model, const std::string& name) {
  return model.layers[layer_named(model, name)];
}

TensorInfo& output(Model& model, const std::string& name) {
  return model.tensors[static_cast<std::size_t>(layer(model, name).output)];
}

std::vector<Break> numeric_breaks() {
  return {
      {"NaN multiplier", [](Model& m) { layer(m, "a").multiplier.data<float>()[3] = kNan; },
       "layer a multiplier"},
      {"infinite bias", [](Model& m) { layer(m, "a").bias.data<float>()[0] = kInfinity; },
       "layer a bias"},
      {"negative scale", [](Model& m) { output(m, "a").scale = -0.1F; }, "tensor a scale"},
      {"zero scale", [](Model& m) { output(m, "a").scale = 0.0F; }, "tensor a scale"},
      {"NaN scale", [](Model& m) { output(m, "a").scale = kNan; }, "tensor a scale"},
      {"NaN ratio", [](Model& m) { layer(m, "b").residual_ratio = kNan; }, "residual ratio"},
      {"zero ratio", [](Model& m) { layer(m, "b").residual_ratio = 0.0F; }, "residual ratio"},
  };
}

std::vector<Break> format_breaks() {
  return {
      {"zero point above range", [](Model& m) { output(m, "a").format.zero_point = 256; },
       "zero point"},
      {"zero point below range", [](Model& m) { output(m, "a").format.zero_point = -1; },
       "zero point"},
      {"upside-down clip", [](Model& m) { layer(m, "a").clip = {.low = 1.0F, .high = 0.5F}; },
       "a clip from below to above, found [1, 0.5]"},
      {"NaN clip", [](Model& m) { layer(m, "a").clip.high = kNan; }, "a clip from below"},
      {"clip of a pool", [](Model& m) { layer(m, "pool").clip = kRelu; }, "no clip in max_pool"},
      {"range wider than bits",
       [](Model& m) {
         output(m, "a").format.range = {0, 256};
       },
       "codes within [0, 255]"},
      {"bits", [](Model& m) { output(m, "a").format.bits = 33; }, "2 to 8 bits, found 33"},
      {"sign and type", [](Model& m) { output(m, "a").format.is_signed = true; }, "signed codes"},
      {"weight outside range",
       [](Model& m) {
         layer(m, "a").weight_range = {-3, 3};
       },
       "layer a weight"},
      {"weight bits", [](Model& m) { layer(m, "a").weight_bits = 3; }, "a weight range of 3 bits"},
      {"no weights", [](Model& m) { layer(m, "a").weight = Tensor(); }, "layer a"},
      {"weight shape",
       [](Model& m) {
         layer(m, "a").weight = Tensor(DType::kS8, Shape{16, 16, 3, 1});
       },
       "weight [16, 16, 3, 3]"},
      {"no bias", [](Model& m) { layer(m, "a").bias = Tensor(); }, "bias f32 [16], found nothing"},
      {"short multiplier",
       [](Model& m) { layer(m, "a").multiplier = Tensor(DType::kF32, Shape{15}); },
       "multiplier f32 [16], found [15]"},
      {"stride", [](Model& m) { layer(m, "a").window.stride = 0; }, "a window that fits"},
      {"output shape", [](Model& m) { layer(m, "a").window.stride = 2; },
       "layer a: expected output"},
      {"groups", [](Model& m) { layer(m, "a").window.groups = 3; }, "groups that divide"},
      {"kernel beyond source", [](Model& m) { layer(m, "pool").window.kernel_h = 99; },
       "a window that fits"},
      {"pool column pad", [](Model& m) { layer(m, "pool").window.column_pad = 0; },
       "as much padding left as above"},
      {"pool counts padding", [](Model& m) { layer(m, "pool").window.count_pad = true; },
       "padding that does not count"},
      {"pool pad", [](Model& m) { layer(m, "pool").window.pad = 3; }, "a pad below the kernel"},
      {"pool scale", [](Model& m) { output(m, "pool").scale *= 2.0F; }, "one format and scale"},
      {"input index", [](Model& m) { layer(m, "a").inputs[0] = 77; }, "found tensor 77"},
      {"input from later", [](Model& m) { layer(m, "a").inputs[0] = layer(m, "c").output; },
       "inputs that earlier layers make"},
      {"output twice", [](Model& m) { layer(m, "a").output = 0; }, "an output of its own"},
      {"too many inputs",
       [](Model& m) {
         layer(m, "a").inputs = {0, 0, 0};
       },
       "1 to 2 inputs"},
      {"no inputs", [](Model& m) { layer(m, "a").inputs.clear(); }, "1 to 2 inputs, found 0"},
      {"residual shape", [](Model& m) { layer(m, "wide").inputs.push_back(0); },
       "a residual of shape"},
      {"dynamic from codes", [](Model& m) { layer(m, "a").mode = ComputeMode::kDynamic; },
       "layer a: expected f32 inputs"},
      {"dynamic pool", [](Model& m) { layer(m, "pool").mode = ComputeMode::kDynamic; },
       "layer pool: expected mode float or static, found dynamic"},
      {"float from codes", [](Model& m) { layer(m, "a").mode = ComputeMode::kFloat; },
       "weights of type f32"},
      {"table",
       [](Model& m) {
         m.input_table = Tensor(DType::kF32, Shape{3, 256});
       },
       "input table"},
      {"table shape",
       [](Model& m) {
         m.input_table = Tensor(m.input_table.dtype(), Shape{1, 256});
       },
       "input table"},
      {"tensor nobody makes", [](Model& m) { m.tensors.insert(m.tensors.end() - 1, m.tensors[0]); },
       "tensor logits: expected a layer that makes it"},
      {"logits of codes",
       [](Model& m) {
         m.tensors.back() = m.tensors[1];
         m.tensors.back().name = "logits";
       },
       "logits"},
      {"batch",
       [](Model& m) {
         m.tensors[0].shape = Shape{2, 3, 13, 12};
       },
       "a batch of 1"},
      {"nothing", [](Model& m) { m.layers.clear(); }, "tensors and layers"},
  };
}

TEST(Validate, AcceptsTheHandModels) {
  for (const char* profile : {"int8", "int8-reduced"}) {
    for (const ComputeMode mode : {ComputeMode::kStatic, ComputeMode::kFloat,
                                   ComputeMode::kWeightOnly, ComputeMode::kDynamic}) {
      for (const Model& model : hand_models(profile, mode)) EXPECT_NO_THROW(validate(model));
    }
  }
}

TEST(Validate, RefusesEveryBrokenPromise) {
  int checked = 0;
  for (const Break& each : format_breaks()) {
    Model model = small_residual_model("int8", ComputeMode::kStatic);
    each.change(model);
    SCOPED_TRACE(each.what);
    EXPECT_ERROR(FormatError, validate(model), each.part);
    ++checked;
  }
  for (const Break& each : numeric_breaks()) {
    Model model = small_residual_model("int8", ComputeMode::kStatic);
    each.change(model);
    SCOPED_TRACE(each.what);
    EXPECT_ERROR(NumericError, validate(model), each.part);
    ++checked;
  }
  EXPECT_GT(checked, 35);
}

TEST(Validate, RefusesBrokenDynamicLayers) {
  const std::vector<Break> breaks = {
      {"bits", [](Model& m) { layer(m, "a").source_format.bits = 9; }, "2 to 8 bits, found 9"},
      {"zero point", [](Model& m) { layer(m, "a").source_format.zero_point = 300; },
       "layer a source: expected a zero point"},
      {"nothing above zero", [](Model& m) { layer(m, "a").source_format.zero_point = 255; },
       "source codes above the zero point"},
      {"range",
       [](Model& m) {
         layer(m, "a").source_format.range = {-1, 255};
       },
       "layer a source: expected codes within"},
      {"no multiplier", [](Model& m) { layer(m, "a").multiplier = Tensor(); },
       "multiplier f32 [16], found nothing"},
      {"weights of reals",
       [](Model& m) { layer(m, "a").weight = Tensor(DType::kF32, layer(m, "a").weight.shape()); },
       "weight codes of type s8, found f32"},
  };
  for (const Break& each : breaks) {
    Model model = small_residual_model("int8", ComputeMode::kDynamic);
    each.change(model);
    SCOPED_TRACE(each.what);
    EXPECT_ERROR(FormatError, validate(model), each.part);
  }
  Model model = small_residual_model("int8", ComputeMode::kDynamic);
  layer(model, "a").multiplier.data<float>()[0] = kInfinity;
  EXPECT_ERROR(NumericError, validate(model), "layer a multiplier");
}

TEST(Validate, RefusesBrokenBranches) {
  const std::vector<Break> breaks{
      {"concat scale", [](Model& m) { output(m, "one").scale *= 2.0F; },
       "layer joined: expected one format and scale"},
      {"concat format", [](Model& m) { output(m, "joined").format.range.qmax = 200; },
       "layer joined: expected one format and scale"},
      {"concat of one", [](Model& m) { layer(m, "joined").inputs.resize(1); },
       "layer joined: expected 2 to"},
      {"concat channels", [](Model& m) { layer(m, "joined").inputs.pop_back(); },
       "layer joined: expected output [1, 85, 7, 6]"},
      {"concat side", [](Model& m) { layer(m, "joined").inputs[1] = 0; },
       "layer joined: expected inputs of the output's height and width"},
      {"average scale", [](Model& m) { output(m, "mean").scale *= 2.0F; },
       "layer mean: expected one format and scale"},
      {"average window", [](Model& m) { layer(m, "mean").window.pad = 3; },
       "a pad below the kernel"},
      {"concat that clips", [](Model& m) { layer(m, "joined").clip = kRelu6; },
       "no clip in concat"},
  };
  for (const Break& each : breaks) {
    Model model = small_branches_model("int8", ComputeMode::kStatic);
    each.change(model);
    SCOPED_TRACE(each.what);
    EXPECT_ERROR(FormatError, validate(model), each.part);
  }
}

TEST(Validate, NamesWhatIsWrongWithBinaryLayers) {
  const std::vector<Break> breaks{
      {"zero weight", [](Model& m) { layer(m, "a").weight.data<std::int8_t>()[7] = 0; },
       "layer a weight: expected codes -1 and +1, found 0"},
      {"bits", [](Model& m) { layer(m, "a").weight_bits = 2; },
       "layer a weight: expected the one format of binary codes"},
      {"signed grid", [](Model& m) { output(m, "stem").format.range.qmin = 0; },
       "tensor stem: expected the one format of binary codes"},
      {"lowest", [](Model& m) { layer(m, "pool").lowest.data<std::uint8_t>()[0] = 2; },
       "layer pool lowest: expected codes in [0, 1]"},
      {"lowest length", [](Model& m) { layer(m, "pool").lowest = Tensor(DType::kU8, Shape{3}); },
       "layer pool: expected which channels take the lowest as u8 [64]"},
      {"average of signs", [](Model& m) { layer(m, "wide").op = LayerOp::kAvgPool; },
       "layer wide: expected reals or codes of an affine grid to average, found binary"},
      {"two scales",
       [](Model& m) { layer(m, "a").negative_multiplier = layer(m, "a").multiplier.clone(); },
       "two scales only of ternary weights"},
  };
  for (const Break& each : breaks) {
    Model model = signs_model();
    each.change(model);
    SCOPED_TRACE(each.what);
    EXPECT_ERROR(FormatError, validate(model), each.part);
  }
  const std::vector<Break> real_breaks{
      {"mode", [](Model& m) { layer(m, "norm").mode = ComputeMode::kStatic; },
       "layer norm: expected mode float for an f32 output"},
      {"slope", [](Model& m) { layer(m, "bent").multiplier = Tensor(); },
       "layer bent: expected slope f32 [48], found nothing"},
      {"map", [](Model& m) { layer(m, "scaled").inputs[1] = layer(m, "scaled").inputs[0]; },
       "layer scaled: expected a map [1, 1, 7, 6]"},
      {"residual", [](Model& m) { layer(m, "c").inputs.push_back(layer(m, "bent").output); },
       "layer c: expected a residual"},
  };
  for (const Break& each : real_breaks) {
    Model model = real_shortcuts_model();
    each.change(model);
    SCOPED_TRACE(each.what);
    EXPECT_ERROR(FormatError, validate(model), each.part);
  }
}

TEST(Validate, RefusesNanInFloatWeights) {
  Model model = small_lenet_model("int8", ComputeMode::kFloat);
  layer(model, "conv2").weight.data<float>()[5] = kNan;
  EXPECT_ERROR(NumericError, validate(model), "layer conv2 weight");
  model = small_lenet_model("int8", ComputeMode::kWeightOnly);
  layer(model, "fc1").weight_scale.data<float>()[0] = -1.0F;
  EXPECT_ERROR(NumericError, validate(model), "layer fc1 weight scale");
  layer(model, "fc1").weight_scale = Tensor();  // for readers alone: it may be missing
  EXPECT_NO_THROW(validate(model));
  layer(model, "fc1").multiplier.data<float>()[0] = kNan;
  EXPECT_ERROR(NumericError, validate(model), "layer fc1 multiplier");
}

// 2^31 - 1 over 255 * 127 is 66311 products: one more channel of full codes than fits.
TEST(Validate, RefusesAccumulatorsBeyondThirtyTwoBits) {
  const auto model_with = [](std::int64_t inputs) {
    ModelBuilder build(profile_named("int8"), ComputeMode::kStatic, 1);
    const int x = build.input({1, 1, inputs, 1});
    build.product(
        {.name = "fc", .source = x, .outputs = 2, .linear = true, .clip = {}, .logits = true});
    Model model = build.take();
    model.tensors[0].dtype = DType::kU8;
    model.tensors[0].format = u8_format();
    model.input_table = Tensor(DType::kU8, Shape{1, 256});
    for (std::int8_t& code : model.layers[0].weight.span<std::int8_t>()) code = -127;
    return model;
  };
  EXPECT_NO_THROW(validate(model_with(66311)));
  EXPECT_ERROR(FormatError, validate(model_with(66312)), "layer fc", "sums that fit 32 bits",
               "2147514120");
}

}  // namespace
}  // namespace bitloom::integer
