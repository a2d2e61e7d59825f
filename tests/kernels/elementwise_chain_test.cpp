// What stands between two products, against its plain reference on every CPU target, and against
// the separate passes that it replaces.
#include "bitloom/kernels/elementwise_chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/kernels/bf16_convert.h"
#include "bitloom/kernels/f32_elementwise.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr integer::AffineFormat kPlainU8{8, false, 0, {0, 255}};
constexpr integer::AffineFormat kU8Zero{8, false, 100, {0, 255}};
constexpr integer::AffineFormat kS4{4, true, 0, {-8, 7}};

enum class Shortcut : std::uint8_t { kNone, kReals, kU8, kS8 };

struct Case {
  bool normalizes;
  Shortcut shortcut;
  bool clips;
  integer::Clip clip;
  bool quantizes;
  integer::AffineFormat format;
  enum class Signs : std::uint8_t { kNone, kOfX, kAroundThresholds } signs = Signs::kNone;
  enum class Rectifier : std::uint8_t { kNone, kSlopes, kShifted } rectifier = Rectifier::kNone;
  bool sums = false;  // the source is of a product's sums
};
using Signs = Case::Signs;
using Rectifier = Case::Rectifier;

// Every step present and absent, every kind of shortcut, clip and grid at least twice.
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {true, Shortcut::kNone, true, integer::kRelu, true, kPlainU8},
      {true, Shortcut::kU8, true, integer::kRelu, true, kPlainU8},
      {true, Shortcut::kS8, true, integer::kRelu6, true, kS4},
      {true, Shortcut::kNone, false, {}, true, kS4},
      {true, Shortcut::kReals, true, integer::kRelu, false, {}},
      {true, Shortcut::kU8, true, integer::kRelu, false, {}},
      {true, Shortcut::kNone, false, {}, false, {}},
      {true, Shortcut::kReals, false, {}, true, kU8Zero},
      {false, Shortcut::kNone, true, integer::kRelu, true, kPlainU8},
      {false, Shortcut::kS8, true, {-1.0F, 1.5F}, true, kU8Zero},
      {false, Shortcut::kReals, true, integer::kRelu6, false, {}},
      {true, Shortcut::kNone, false, {}, false, {}, Signs::kOfX},
      {true, Shortcut::kReals, false, {}, false, {}, Signs::kAroundThresholds},
      {true, Shortcut::kU8, false, {}, false, {}, Signs::kAroundThresholds},
      {true, Shortcut::kReals, false, {}, false, {}, Signs::kOfX, Rectifier::kShifted, true},
      {true, Shortcut::kU8, false, {}, false, {}, Signs::kAroundThresholds, Rectifier::kSlopes},
      {true, Shortcut::kReals, false, {}, false, {}, Signs::kNone, Rectifier::kShifted},
      {true, Shortcut::kNone, false, {}, false, {}, Signs::kNone, Rectifier::kSlopes, true},
      {true, Shortcut::kReals, false, {}, false, {}, Signs::kOfX, Rectifier::kNone, true},
      {true, Shortcut::kU8, true, integer::kRelu, true, kPlainU8, Signs::kNone, Rectifier::kNone,
       true},
  };
  return all;
}

std::vector<float> normals(std::int64_t count, float deviation, std::uint64_t stream) {
  const RandomStream random(3, stream);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = deviation * random.normal(i);
  return values;
}

// Integers that bf16 holds, some at both ends.
std::vector<Bf16> sums_of(const std::vector<float>& reals) {
  std::vector<Bf16> sums;
  for (const float real : reals) {
    const float wide = std::isfinite(real) ? std::nearbyint(60.0F * real) : 0.0F;
    sums.push_back(round_to_bf16(std::min(std::max(wide, -256.0F), 256.0F)));
  }
  return sums;
}

// Tensors of one case; the chain points into them.
struct ChainSetup {
  ChainSetup(const Case& which, std::int64_t rows, std::int64_t channels, int pieces)
      : source(normals(rows * channels, 2.0F, 1)),
        dy(normals(rows * channels, 0.01F, 2)),
        reals(normals(rows * channels, 1.0F, 3)),
        codes(source.size()),
        mean(normals(channels, 1.0F, 4)),
        slope(normals(channels, 1.0F, 5)),
        shift(normals(channels, 0.5F, 6)),
        threshold(normals(channels, 0.3F, 10)),
        decay(normals(channels, 0.1F, 7)),
        offset(normals(channels, 0.01F, 8)),
        sums(sums_of(source)),
        source_scale(normals(channels, 0.02F, 11)),
        rectifier_slope(normals(channels, 0.3F, 12)),
        rectifier_offset(normals(channels, 0.3F, 13)) {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<std::uint8_t>(i * 37 % 256);
      // Values that meet ties and both edges of grid and clip.
      if (i % 7 == 0) source[i] = 0.0125F * (std::floor(80.0F * source[i]) + 0.5F);
    }
    const float special[] = {0.0F, -0.0F, kInfinity, -kInfinity, std::nanf("")};
    for (std::size_t i = 0; which.quantizes && which.clips && i < 5 && 9 + i < codes.size(); ++i) {
      source[9 + i] = special[i];
    }
    chain = {.size = {.rows = rows, .channels = channels, .pieces = pieces},
             .source = {source.data()},
             .shortcut_scale = 0.02F,
             .shortcut_zero_point = which.shortcut == Shortcut::kU8 ? 90 : -3,
             .clips = which.clips,
             .clip = which.clip,
             .quantizes = which.quantizes,
             .scale = 0.0125F,
             .format = which.format};
    if (which.sums) chain.source = {sums.data(), DType::kBf16, source_scale.data()};
    chain.rectifies = which.rectifier != Rectifier::kNone;
    if (chain.rectifies) chain.rectifier.slope = rectifier_slope.data();
    if (which.rectifier == Rectifier::kShifted) {
      chain.rectifier.threshold = threshold.data();
      chain.rectifier.offset = rectifier_offset.data();
    }
    if (which.normalizes) {
      chain.mean = mean.data();
      chain.slope = slope.data();
      chain.shift = shift.data();
    }
    chain.signs = which.signs != Signs::kNone;
    if (which.signs == Signs::kAroundThresholds) chain.sign_threshold = threshold.data();
    if (which.shortcut == Shortcut::kReals) {
      chain.shortcut = reals.data();
    } else if (which.shortcut != Shortcut::kNone) {
      chain.shortcut = codes.data();
      chain.shortcut_dtype = which.shortcut == Shortcut::kU8 ? DType::kU8 : DType::kS8;
    }
  }
  // A second term of dy.
  std::vector<float> decayed() const {
    std::vector<float> values = dy;
    for (float& value : values) value *= -0.375F;
    return values;
  }
  std::vector<float> source, dy, reals;
  std::vector<std::uint8_t> codes;
  std::vector<float> mean, slope, shift, threshold, decay, offset;
  std::vector<Bf16> sums;
  std::vector<float> source_scale, rectifier_slope, rectifier_offset;
  ElementwiseChain chain;
};

void expect_near(const GradientSums& a, const GradientSums& b, double tolerance) {
  EXPECT_NEAR(a.inside, b.inside, tolerance);
  EXPECT_NEAR(a.below, b.below, tolerance);
  EXPECT_NEAR(a.above, b.above, tolerance);
}

void expect_forward_matches(const ChainSetup& setup) {
  ElementwiseChain chain = setup.chain;
  const std::size_t bytes = setup.source.size() * (chain.quantizes ? 1 : sizeof(float));
  std::vector<std::int8_t> signs(setup.source.size(), 7), expected_signs = signs;
  std::vector<std::uint8_t> found(bytes + 1, 77), expected(bytes + 1, 77);
  chain.sign_codes = signs.data();
  chain_forward(chain, found.data());
  chain.sign_codes = expected_signs.data();
  reference::chain_forward(chain, expected.data());
  EXPECT_EQ(found, expected);
  EXPECT_EQ(signs, expected_signs);
  EXPECT_EQ(chain.signs, signs[0] != 7);
  const MinMax range = chain_range(chain, nullptr);
  const MinMax wanted = reference::chain_range(chain, nullptr);
  EXPECT_EQ(std::isnan(range.min), std::isnan(wanted.min));
  if (!std::isnan(wanted.min)) {
    EXPECT_EQ(range.min, wanted.min);
    EXPECT_EQ(range.max, wanted.max);
  }
}

// In what types gradients come and go, and in how many terms.
struct Kind {
  DType from, to;
  int terms;
};
constexpr Kind kKinds[] = {{DType::kF32, DType::kF32, 1},
                           {DType::kBf16, DType::kBf16, 1},
                           {DType::kBf16, DType::kBf16, 2},
                           {DType::kF32, DType::kBf16, 2},
                           {DType::kBf16, DType::kF32, 1}};

// Values in a type, as bytes.
std::vector<std::uint8_t> in_type(const std::vector<float>& values, DType dtype) {
  std::vector<std::uint8_t> bytes(values.size() * size_of(dtype));
  if (dtype == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
  } else {
    reference::to_bf16(values.data(), 1, static_cast<std::int64_t>(values.size()), nullptr,
                       reinterpret_cast<Bf16*>(bytes.data()));
  }
  return bytes;
}

void expect_backward_matches(ChainSetup& setup, const Kind& kind) {
  ElementwiseChain chain = setup.chain;
  const std::size_t count = setup.source.size();
  std::vector<float> output(count);
  // The sums of a channel would not be numbers where an element is not.
  for (float& value : setup.source) value = std::isfinite(value) ? value : 1.0F;
  std::vector<std::int8_t> signs(count);
  chain.sign_codes = signs.data();
  if ((!chain.quantizes && chain.clips && chain.shortcut_dtype == DType::kF32) || chain.signs) {
    reference::chain_forward(chain, output.data());
    chain.output = output.data();
  }
  std::vector<float> of_signs = setup.decayed();
  std::ranges::reverse(of_signs);
  const std::vector<std::uint8_t> sign_gradient = in_type(of_signs, kind.to);
  chain.sign_gradient = {.first = sign_gradient.data(), .dtype = kind.to};
  double magnitude = 0.0;
  for (const float value : setup.dy) magnitude += 8.0 * std::abs(static_cast<double>(value));
  const double tolerance = 1e-6 * magnitude;
  const auto channels = static_cast<std::size_t>(chain.size.channels);
  const std::vector<std::uint8_t> first = in_type(setup.dy, kind.from);
  const std::vector<std::uint8_t> second = in_type(setup.decayed(), kind.from);
  // The place of dy itself, where it has the right type; what is not written is the same in both.
  struct Found {
    std::vector<std::uint8_t> dx, again;
    std::vector<double> shift, slope, signs, rectifier_slope, rectifier_offset;
    GradientSums grid;
  };
  const auto run = [&](bool by_reference) {
    Found found{in_type(setup.dy, kind.to), in_type(setup.dy, kind.to), {}, {}, {}, {}, {}, {}};
    for (std::vector<double>* sums : {&found.shift, &found.slope, &found.signs,
                                      &found.rectifier_slope, &found.rectifier_offset}) {
      sums->resize(channels);
    }
    std::vector<double> scratch(channel_scratch_bytes(chain.size) / sizeof(double));
    ChainGradients to{.dx = {found.dx.data(), kind.to}, .again = {found.again.data(), kind.to}};
    if (chain.mean != nullptr) {
      to.shift = found.shift.data();
      to.slope = found.slope.data();
    }
    if (chain.quantizes) to.grid = &found.grid;
    if (chain.signs) to.signs = found.signs.data();
    if (chain.rectifies) {
      to.rectifier_slope = found.rectifier_slope.data();
      to.rectifier_offset = found.rectifier_offset.data();
    }
    const OutputGradient dy{.first = kind.from == kind.to ? found.dx.data() : first.data(),
                            .second = kind.terms == 2 ? second.data() : nullptr,
                            .dtype = kind.from};
    (by_reference ? reference::chain_gradient : chain_gradient)(
        chain, dy, to, reinterpret_cast<std::byte*>(scratch.data()));
    return found;
  };
  const Found found = run(false), wanted = run(true);
  ASSERT_EQ(found.dx, wanted.dx);
  ASSERT_EQ(found.again, wanted.again);
  ASSERT_EQ(found.dx, found.again);
  expect_near(found.grid, wanted.grid, tolerance);
  if (chain.mean == nullptr) return;
  for (std::size_t c = 0; c < channels; ++c) {
    EXPECT_NEAR(found.shift[c], wanted.shift[c], tolerance);
    EXPECT_NEAR(found.slope[c], wanted.slope[c], tolerance);
    EXPECT_NEAR(found.signs[c], wanted.signs[c], tolerance);
    EXPECT_NEAR(found.rectifier_slope[c], wanted.rectifier_slope[c], tolerance);
    EXPECT_NEAR(found.rectifier_offset[c], wanted.rectifier_offset[c], tolerance);
    EXPECT_EQ(chain.rectifies, wanted.rectifier_offset[c] != 0.0);
  }
  const NormalizationGradient terms{
      .slope = setup.slope.data(), .decay = setup.decay.data(), .offset = setup.offset.data()};
  const auto back = [&](bool by_reference) {
    std::vector<std::uint8_t> dx = wanted.dx, dsource = in_type(setup.dy, kind.from);
    const InputGradient from{dx.data(), kind.to};
    // In place where the types are the same.
    const InputGradient to = kind.from == kind.to ? from : InputGradient{dsource.data(), kind.from};
    (by_reference ? reference::normalization_gradient : normalization_gradient)(chain, from, terms,
                                                                                to);
    return kind.from == kind.to ? dx : dsource;
  };
  ASSERT_EQ(back(false), back(true));
}

TEST(ElementwiseChain, MatchesItsReferenceOnEveryTarget) {
  int checked = 0;
  const int targets = for_each_highway_target([&] {
    for (const std::int64_t channels : {1, 3, 16, 24, 63, 64, 65, 113}) {
      for (const std::int64_t rows : {1, 200}) {
        for (std::size_t k = 0; k < cases().size(); ++k) {
          SCOPED_TRACE(testing::Message() << "case " << k << ", " << rows << "x" << channels);
          ChainSetup setup(cases()[k], rows, channels, rows > 1 ? 3 : 1);
          expect_forward_matches(setup);
          for (const Kind& kind : kKinds) expect_backward_matches(setup, kind);
          ++checked;
        }
      }
    }
  });
  EXPECT_EQ(checked, targets * 8 * 2 * static_cast<int>(cases().size()));
}

// The passes that the chain replaces, one after another: each rounds where the chain rounds.
TEST(ElementwiseChain, GivesTheBitsOfSeparatePasses) {
  ChainSetup setup(cases()[1], 500, 16, 2);
  for (float& value : setup.source) value = std::isfinite(value) ? value : 1.0F;
  const ElementwiseChain& chain = setup.chain;
  const std::int64_t count = 500 * 16;
  std::vector<float> x(setup.source.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scaled = (setup.source[i] - setup.mean[i % 16]) * setup.slope[i % 16];
    x[i] = scaled + setup.shift[i % 16];
  }
  const RowsFormat shortcut{1, count, &chain.shortcut_scale, false, {8, false, 90, {0, 255}}};
  const RowsFormat grid{1, count, &chain.scale, false, chain.format};
  const TensorView view(DType::kF32, Shape{count}, x.data());
  add_dequantized(x.data(), chain.shortcut, shortcut, x.data());
  relu(view, view);
  std::vector<std::uint8_t> codes(x.size()), expected(x.size());
  quantize(x.data(), grid, expected.data());
  chain_forward(chain, codes.data());
  EXPECT_EQ(codes, expected);

  std::vector<float> dx(x.size()), found(x.size());
  GradientSums sums, sums_found;
  fake_quantize_backward(x.data(), setup.dy.data(), grid, dx.data(), &sums);
  const TensorView gradient(DType::kF32, Shape{count}, dx.data());
  relu_gradient(view, gradient, gradient);
  std::vector<double> shift(16), slope(16);
  std::vector<double> scratch(channel_scratch_bytes(chain.size) / sizeof(double));
  chain_gradient(
      chain, {setup.dy.data()},
      {.dx = {found.data()}, .shift = shift.data(), .slope = slope.data(), .grid = &sums_found},
      reinterpret_cast<std::byte*>(scratch.data()));
  EXPECT_EQ(found, dx);
  expect_near(sums_found, sums, 1e-5);
}

TEST(ElementwiseChain, RangeFollowsFromTheRangesOfItsChannels) {
  for (const bool clips : {false, true}) {
    ChainSetup setup({true, Shortcut::kNone, clips, integer::kRelu6, true, kPlainU8}, 400, 19, 2);
    for (float& value : setup.source) value = std::isfinite(value) ? value : 1.0F;
    std::vector<float> mean(19), variance(19);
    std::vector<MinMax> ranges(19);
    reference::channel_statistics({setup.source.data()}, setup.chain.size, mean.data(),
                                  variance.data(), ranges.data(), nullptr);
    const MinMax wanted = reference::chain_range(setup.chain, nullptr);
    setup.chain.source = {};  // not read
    const MinMax found = chain_range(setup.chain, ranges.data());
    EXPECT_EQ(found.min, wanted.min);
    EXPECT_EQ(found.max, wanted.max);
    EXPECT_LT(found.min, found.max);
  }
}

TEST(ElementwiseChain, RangeTellsOfWhatIsNotFinite) {
  for (const float bad : {kInfinity, std::nanf("")}) {
    ChainSetup setup(cases()[7], 400, 19, 2);
    setup.source[5000] = bad;
    EXPECT_TRUE(std::isnan(chain_range(setup.chain, nullptr).min)) << bad;
    EXPECT_TRUE(std::isnan(chain_range(setup.chain, nullptr).max)) << bad;
    std::vector<MinMax> ranges(19, {bad, bad});
    setup.chain.shortcut = nullptr;
    EXPECT_TRUE(std::isnan(chain_range(setup.chain, ranges.data()).min)) << bad;
  }
}

TEST(ElementwiseChain, SumsAreTheSameInEveryRunAndWhateverTheThreads) {
  ChainSetup setup(cases()[1], 9000, 24, 4);
  const std::size_t bytes = channel_scratch_bytes(setup.chain.size);
  std::vector<double> first(48), again(48), scratch(bytes / sizeof(double));
  const auto run = [&](std::vector<double>& sums) {
    GradientSums grid;
    chain_gradient(setup.chain, {setup.dy.data()},
                   {.shift = sums.data(), .slope = sums.data() + 24, .grid = &grid},
                   reinterpret_cast<std::byte*>(scratch.data()));
    return grid.inside;
  };
  for (float& value : setup.source) value = std::isfinite(value) ? value : 1.0F;
  const int before = threads();
  set_threads(1);
  const double inside = run(first);
  EXPECT_NE(inside, 0.0);
  for (const int count : {2, 2}) {
    set_threads(count);
    EXPECT_EQ(run(again), inside);
    EXPECT_EQ(again, first);
  }
  set_threads(before);
}

}  // namespace
}  // namespace bitloom::kernels
