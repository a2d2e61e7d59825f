// Fused f32 products against the reference's plain sums.
#include "bitloom/kernels/float_inference_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "bitloom/integer/reference.h"
#include "kernels/int8_cases.h"
#include "support/error_matchers.h"

namespace bitloom::kernels {
namespace {

Tensor random_reals(const Shape& shape, const char* name) {
  const RandomStream random(1, name);
  Tensor reals(DType::kF32, shape);
  for (std::int64_t i = 0; i < reals.elements(); ++i) {
    reals.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  }
  return reals;
}

/// The case as a model of one float layer.
integer::Model float_model(const integer::LayerCase& shape, const integer::Clip& clip,
                           bool residual) {
  integer::RandomLayer made = random_layer(int8_case(shape, int8_formats().front(), Isa::kAvx2), 1);
  integer::Model model = std::move(made.model);
  integer::Layer& layer = model.layers.front();
  layer.mode = integer::ComputeMode::kFloat;
  layer.clip = clip;
  layer.weight = random_reals(layer.weight.shape(), "weight");
  layer.bias = random_reals(layer.bias.shape(), "bias");
  if (residual) layer.inputs.push_back(1);
  return model;
}

TEST(FloatInferenceProduct, EqualsReferenceWithinRounding) {
  int compared = 0;
  for (const integer::LayerCase& shape : int8_shapes()) {
    for (const bool residual : {false, true}) {
      for (const integer::Clip clip :
           {residual ? integer::Clip{.low = -0.1F, .high = 0.2F} : integer::Clip{},
            integer::kRelu}) {
        const integer::Model model = float_model(shape, clip, residual);
        const integer::Layer& layer = model.layers.front();
        const Tensor source = random_reals(shape.source, "source");
        const Tensor added = random_reals(output_shape(shape), "residual");
        Tensor expected(DType::kF32, output_shape(shape));
        std::vector<ConstTensorView> inputs{source};
        if (residual) inputs.push_back(added);
        run_layer(model, layer, inputs, expected);

        FloatInferenceProduct product({.source = shape.source,
                                       .weight = layer.weight.shape(),
                                       .window = shape.window,
                                       .clip = clip,
                                       .residual = residual});
        product.set_weights(layer.weight, layer.bias);
        EXPECT_EQ(product.destination(), expected.shape());
        Tensor found(DType::kF32, expected.shape());
        product.run(source, residual ? ConstTensorView(added) : ConstTensorView(), found);
        // K normal products in another order: below 1e-6 * K for K up to 4608.
        const double depth =
            static_cast<double>(layer.weight.elements()) / static_cast<double>(shape.outputs);
        for (std::int64_t i = 0; i < found.elements(); ++i) {
          ASSERT_NEAR(found.data<float>()[i], expected.data<float>()[i], 1e-6 * (depth + 10))
              << shape.name << " by " << product.implementation();
        }
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 4 * static_cast<int>(int8_shapes().size()));
}

TEST(FloatInferenceProduct, TakesAResidualInPlace) {
  const integer::LayerCase shape = int8_shapes().front();
  const integer::Model model = float_model(shape, integer::kRelu, true);
  const integer::Layer& layer = model.layers.front();
  FloatInferenceProduct product({.source = shape.source,
                                 .weight = layer.weight.shape(),
                                 .window = shape.window,
                                 .clip = integer::kRelu,
                                 .residual = true});
  product.set_weights(layer.weight, layer.bias);
  const Tensor source = random_reals(shape.source, "source");
  const Tensor added = random_reals(output_shape(shape), "residual");
  Tensor apart(DType::kF32, added.shape());
  Tensor shared = added.clone();
  product.run(source, added, apart);
  product.run(source, shared, shared);
  EXPECT_EQ(std::memcmp(apart.raw(), shared.raw(), apart.bytes()), 0);
}

TEST(FloatInferenceProduct, RefusesWhatDoesNotFit) {
  FloatInferenceProduct product(
      {.source = {1, 8, 5, 5}, .weight = {4, 8, 3, 3}, .window = {.kernel_h = 3, .kernel_w = 3}});
  Tensor out(DType::kF32, product.destination());
  EXPECT_ERROR(ShapeError, product.run(Tensor(DType::kF32, Shape{1, 8, 5, 4}), {}, out),
               "a source f32 [1, 8, 5, 5]", "[1, 8, 5, 4]");
  EXPECT_ERROR(ShapeError, product.set_weights(Tensor(DType::kF32, Shape{4, 8, 1, 1}), out),
               "weights f32");
  EXPECT_ERROR(ShapeError, FloatInferenceProduct({.source = {1, 8, 5, 5}, .weight = {4, 7, 3, 3}}),
               "float product", "[4, 7, 3, 3]");
}

}  // namespace
}  // namespace bitloom::kernels
