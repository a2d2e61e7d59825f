// oneDNN's max pooling against the reference, every type, odd windows.
#include "bitloom/kernels/int8_pool.h"

#include <gtest/gtest.h>

#include <cstring>

#include "bitloom/integer/reference.h"
#include "integer/random_layer.h"
#include "support/error_matchers.h"

namespace bitloom::kernels {
namespace {

Tensor random_source(const Shape& shape, DType dtype) {
  // Below 0 where the type allows: a padding of 0 would win.
  const integer::CodeRange range =
      dtype == DType::kU8 ? integer::CodeRange{0, 255} : integer::CodeRange{-128, -1};
  const DType codes = dtype == DType::kU8 ? DType::kU8 : DType::kS8;
  Tensor random = integer::random_codes(shape, codes, range, RandomStream(1, "pool"));
  if (dtype != DType::kF32) return random;
  Tensor reals(DType::kF32, shape);
  for (std::int64_t i = 0; i < reals.elements(); ++i) {
    reals.data<float>()[i] = 0.37F * static_cast<float>(random.data<std::int8_t>()[i]);
  }
  return reals;
}

Tensor by_reference(const Tensor& source, const Shape& pooled, const integer::Window& window) {
  integer::Model model;
  integer::Layer layer;
  layer.op = integer::LayerOp::kMaxPool;
  layer.inputs = {0};
  layer.output = 1;
  layer.window = window;
  Tensor out(source.dtype(), pooled);
  const ConstTensorView inputs[1] = {source};
  run_layer(model, layer, inputs, out);
  return out;
}

TEST(Int8MaxPool, EqualsReference) {
  struct Case {
    Shape source;
    std::int64_t kernel, stride, pad;
  };
  int compared = 0;
  for (const Case& each : {Case{{1, 16, 8, 8}, 2, 2, 0}, Case{{3, 64, 7, 9}, 2, 2, 0},
                           Case{{1, 64, 13, 12}, 3, 2, 1}, Case{{2, 19, 6, 7}, 3, 1, 1},
                           Case{{1, 1, 28, 28}, 2, 2, 0}, Case{{1, 3, 11, 10}, 5, 3, 2}}) {
    const integer::Window window{.kernel_h = each.kernel,
                                 .kernel_w = each.kernel,
                                 .stride = each.stride,
                                 .pad = each.pad,
                                 .groups = 1};
    for (const DType dtype : {DType::kU8, DType::kS8, DType::kF32}) {
      const Tensor source = random_source(each.source, dtype);
      Int8MaxPool pool(each.source, dtype, window);
      Tensor found(dtype, pool.destination());
      pool.run(source, found);
      const Tensor expected = by_reference(source, pool.destination(), window);
      EXPECT_EQ(std::memcmp(found.raw(), expected.raw(), found.bytes()), 0)
          << to_string(each.source) << " " << to_word(dtype) << " " << pool.implementation();
      ++compared;
    }
  }
  EXPECT_EQ(compared, 18);
}

TEST(Int8MaxPool, RefusesWindowsOfPaddingAlone) {
  const integer::Window window{.kernel_h = 2, .kernel_w = 2, .stride = 2, .pad = 2, .groups = 1};
  EXPECT_ERROR(ShapeError, Int8MaxPool(Shape{1, 8, 4, 4}, DType::kU8, window), "max pool", "pad 2");
  const integer::Window wide{.kernel_h = 9, .kernel_w = 9, .stride = 1, .pad = 0, .groups = 1};
  EXPECT_ERROR(ShapeError, Int8MaxPool(Shape{1, 8, 4, 4}, DType::kU8, wide), "9x9");
}

}  // namespace
}  // namespace bitloom::kernels
