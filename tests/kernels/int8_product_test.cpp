// oneDNN's int8 products against the reference formula, bit for bit, under every ISA cap.
#include "bitloom/kernels/int8_product.h"

#include <gtest/gtest.h>

#include <iostream>
#include <optional>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/bf16_convert.h"
#include "kernels/int8_cases.h"
#include "support/error_matchers.h"
#include "support/isa_children.h"

namespace bitloom::kernels {
namespace {

using integer::LayerCase;
using integer::RandomLayer;

/// Compares one shape in every format that this CPU cap runs; the number of formats. A `choice`
/// that oneDNN does not have, or has as its plain reference alone, counts as none.
int expect_equal_in_every_format(const LayerCase& shape, int choice = 0) {
  const Isa isa = effective_isa();
  int compared = 0;
  for (const Int8Format& format : int8_formats()) {
    if (format.needs_exact && !has_exact_u8s8(isa)) continue;
    const LayerCase problem = int8_case(shape, format, isa);
    const RandomLayer made = random_layer(problem, 7);
    const Tensor expected = by_reference(problem, made);
    Int8Problem planned = problem_of(problem);
    planned.choice = choice;
    std::optional<Int8Product> made_product;
    try {
      made_product.emplace(planned);
      load(problem, made, *made_product);
    } catch (const BackendError&) {
      if (choice == 0) throw;
      continue;
    }
    Int8Product& product = *made_product;
    EXPECT_EQ(product.destination(), expected.shape());
    Tensor found(problem.destination, product.destination());
    product.run(made.source, made.residual, found);
    EXPECT_EQ(differences(expected, found), 0)
        << problem.name << " of " << expected.elements() << " by " << product.implementation();
    if (problem.destination == DType::kU8 || problem.destination == DType::kS8) {
      EXPECT_GT(inside(expected, problem.destination_format.range), 0.15) << problem.name;
    }
    ++compared;
  }
  return compared;
}

class Int8ProductShapes : public testing::TestWithParam<LayerCase> {};

TEST_P(Int8ProductShapes, EqualsReferenceBitForBit) {
  const int compared = expect_equal_in_every_format(GetParam());
  std::cout << "compared " << compared << " formats\n";
  EXPECT_GE(compared, 22);
}

TEST_P(Int8ProductShapes, OnednnsNextImplementationEqualsReferenceToo) {
  std::cout << "next: " << expect_equal_in_every_format(GetParam(), 1) << " formats\n";
}

// The test above may find nothing to compare for one shape, not for all.
TEST(Int8ProductNext, ExistsForAThreeByThree) {
  if (effective_isa() < Isa::kAvx512) GTEST_SKIP() << "AVX2 has one kernel of each kind";
  EXPECT_GT(expect_equal_in_every_format(int8_shapes().front(), 1), 0);
}

// t = t + r behind the bias, then the clip; the residual may lie where the output goes.
TEST(Int8ProductReal, TakesARealResidualOfARealDestination) {
  for (const LayerCase& shape : {int8_shapes()[0], int8_shapes()[3], int8_shapes()[13]}) {
    Int8Format format{.name = "f32", .destination = DType::kF32, .clip = {}};
    const LayerCase problem = int8_case(shape, format, effective_isa());
    const RandomLayer made = random_layer(problem, 7);
    Tensor expected = by_reference(problem, made);
    Tensor residual(DType::kF32, expected.shape());
    const RandomStream random(4, "residual");
    const integer::Clip clip{.low = -0.4F, .high = 0.3F};
    for (std::int64_t i = 0; i < expected.elements(); ++i) {
      residual.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
      float& t = expected.data<float>()[i];
      t = integer::clipped(t + residual.data<float>()[i], clip);
    }
    Int8Problem real = problem_of(problem);
    real.clip = clip;
    real.residual = true;
    real.residual_dtype = DType::kF32;
    Int8Product product(real);
    load(problem, made, product);
    Tensor found(DType::kF32, expected.shape());
    product.run(made.source, residual, found);
    EXPECT_EQ(differences(expected, found), 0) << problem.name;
    product.run(made.source, residual, residual);
    EXPECT_EQ(differences(expected, residual), 0) << problem.name << ", in place";
    real.destination_dtype = DType::kU8;
    EXPECT_ERROR(BackendError, Int8Product{real}, "codes take no real residual");
  }
}

TEST(Int8ProductRagged, EqualsReferenceOrIsDeclinedOnAvx2) {
  for (const LayerCase& shape : int8_ragged_shapes()) {
    if (effective_isa() > Isa::kAvx2) {
      EXPECT_GE(expect_equal_in_every_format(shape), 22);
    } else {
      const LayerCase problem = int8_case(shape, int8_formats().front(), effective_isa());
      EXPECT_ERROR(BackendError, Int8Product(problem_of(problem)), "only its plain reference");
    }
  }
}

/// gtest allows letters and digits.
std::string test_name(const testing::TestParamInfo<LayerCase>& shape) {
  std::string name;
  for (const char letter : shape.param.name) {
    if (std::isalnum(static_cast<unsigned char>(letter)) != 0) name += letter;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Int8ProductShapes, testing::ValuesIn(int8_shapes()), test_name);

/// Outputs of a 3x3 layer with 8-bit weights that differ from the reference.
std::int64_t differences_with_8_bit_weights() {
  LayerCase problem = int8_case(int8_shapes().front(), int8_formats().front(), effective_isa());
  problem.weights = {-127, 127};
  const RandomLayer made = random_layer(problem, 7);
  Int8Product product(problem_of(problem));
  load(problem, made, product);
  Tensor found(problem.destination, product.destination());
  product.run(made.source, made.residual, found);
  return differences(by_reference(problem, made), found);
}

// Also shows that the comparison above can fail: without VNNI pairs saturate at 16 bits.
TEST(Int8ProductWide, EightBitWeightsAreExactWhereTheProfileSaysSo) {
  if (has_exact_u8s8(effective_isa())) {
    EXPECT_EQ(differences_with_8_bit_weights(), 0);
  } else {
    EXPECT_GT(differences_with_8_bit_weights(), 100);
  }
}

class Int8ProductCaps : public testing::TestWithParam<Isa> {};

TEST_P(Int8ProductCaps, EqualsReferenceBitForBit) {
  if (std::getenv("BITLOOM_ISA") != nullptr) GTEST_SKIP() << "runs in the uncapped parent";
  const ChildResult child = run_capped(
      GetParam(), "*Int8ProductShapes*:Int8ProductWide.*:Int8ProductRagged.*:Int8ProductReal.*");
  EXPECT_EQ(child.status, 0) << child.output;
  std::size_t shapes = 0;
  for (std::size_t at = child.output.find("compared "); at != std::string::npos;
       at = child.output.find("compared ", at + 1)) {
    ++shapes;
  }
  EXPECT_EQ(shapes, int8_shapes().size());
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Int8ProductCaps);
std::string cap_name(const testing::TestParamInfo<Isa>& cap) {
  std::string name;
  for (const char letter : to_word(cap.param)) {
    if (letter != '_') name += letter;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Caps, Int8ProductCaps, testing::ValuesIn(isa_caps()), cap_name);

// Sums of signs that bf16 holds; without AVX-512 oneDNN has its plain reference alone.
TEST(Int8Product, GivesBareSumsInBf16) {
  if (effective_isa() < Isa::kAvx512Vnni) GTEST_SKIP() << "needs AVX-512 VNNI";
  Int8Problem problem{.source = {3, 16, 9, 7},
                      .source_dtype = DType::kS8,
                      .weight = {24, 16, 3, 3},
                      .window = {.kernel_h = 3, .kernel_w = 3, .pad = 1}};
  const RandomStream random(4, "signs");
  Tensor source(DType::kS8, problem.source), weight(DType::kS8, problem.weight);
  for (Tensor* codes : {&source, &weight}) {
    std::uint64_t i = 0;
    for (std::int8_t& code : codes->span<std::int8_t>()) code = random.below(i++, 2) == 0 ? 1 : -1;
  }
  const auto run = [&](DType dtype) {
    problem.destination_dtype = dtype;
    Int8Product product(problem);
    Tensor sums(dtype, product.destination());
    product.set_weights(weight);
    product.run(source, {}, sums);
    return sums;
  };
  const Tensor halves = run(DType::kBf16), whole = run(DType::kS32);
  for (std::int64_t i = 0; i < whole.elements(); ++i) {
    ASSERT_EQ(to_float(halves.data<Bf16>()[i]), static_cast<float>(whole.data<std::int32_t>()[i]));
  }
}

TEST(Int8Product, IsTheSameForOneAndTwoThreads) {
  const Isa isa = effective_isa();
  const int before = threads();
  int compared = 0;
  for (const LayerCase& shape : int8_shapes()) {
    const LayerCase problem = int8_case(shape, int8_formats().front(), isa);
    const RandomLayer made = random_layer(problem, 3);
    Tensor found[2];
    for (const int count : {1, 2}) {
      set_threads(count);
      Int8Product product(problem_of(problem));
      load(problem, made, product);
      found[count - 1] = Tensor(problem.destination, product.destination());
      product.run(made.source, made.residual, found[count - 1]);
    }
    EXPECT_EQ(differences(found[0], found[1]), 0) << problem.name;
    ++compared;
  }
  set_threads(before);
  EXPECT_EQ(compared, static_cast<int>(int8_shapes().size()));
}

TEST(Int8Product, TakesAResidualInPlaceAndANewRatio) {
  Int8Format format;
  for (const Int8Format& each : int8_formats()) {
    if (std::string(each.name) == "u8 residual") format = each;
  }
  const LayerCase problem = int8_case(int8_shapes().front(), format, effective_isa());
  RandomLayer made = random_layer(problem, 5);
  Int8Product product(problem_of(problem));
  load(problem, made, product);
  for (const float ratio : {0.25F, 1.0F, 1.37F}) {
    made.model.layers.front().residual_ratio = ratio;
    product.set_residual(ratio, 0);
    Tensor found = made.residual.clone();
    product.run(made.source, found, found);
    EXPECT_EQ(differences(by_reference(problem, made), found), 0) << ratio;
  }
}

TEST(Int8Product, RefusesWhatDoesNotFit) {
  const LayerCase problem = int8_case(int8_shapes().front(), int8_formats().front(), Isa::kAvx2);
  Int8Product product(problem_of(problem));
  EXPECT_ERROR(ShapeError, product.set_weights(Tensor(DType::kS8, Shape{64, 64, 1, 1})),
               "int8 product", "[64, 64, 3, 3]", "[64, 64, 1, 1]");
  Tensor out(DType::kU8, product.destination());
  EXPECT_ERROR(ShapeError, product.run(Tensor(DType::kU8, Shape{1, 64, 9, 8}), {}, out),
               "expected a source u8 [1, 64, 9, 7]");
  Int8Problem wrong = problem_of(problem);
  wrong.weight = Shape{64, 32, 3, 3};
  EXPECT_ERROR(ShapeError, Int8Product(wrong), "groups 1");
}

}  // namespace
}  // namespace bitloom::kernels
