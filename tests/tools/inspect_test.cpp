#include "inspect.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/tensor_matchers.h"

namespace bitloom::tools {
namespace {

constexpr const char* kGraph = R"(bitloom-graph 1
input = input(shape=1x2x2)
flatten = flatten(input)
flatten.q = fake_quant(flatten, quantizer=static, bits=8, dtype=u8, qmin=0, qmax=255, zero_point=55)
fc.weight = parameter(shape=2x4)
fc.weight.q = fake_quant(fc.weight, quantizer=lsq, bits=2, dtype=s8, qmin=-2, qmax=1, axis=0)
fc = linear(flatten.q, fc.weight.q, bias=1)
)";

Archive checkpoint(const std::string& graph) {
  Archive archive("bitloom.checkpoint", 1);
  archive.put_text("graph", graph);
  archive.put("parameters/flatten.q.scale", vector_of({0.1F}), "C");
  archive.put("parameters/fc.weight.q.scale", vector_of({0.5F, 1.0F}), "C");
  // Channel 0 reaches -1.25 .. 0.75, channel 1 -2.5 .. 1.5, half a step beyond the last codes.
  archive.put("parameters/fc.weight", matrix({{-1.3F, -1.2F, 0.7F, 0.8F}, {-3, -2, 1, 2}}), "OI");
  return archive;
}

TEST(QuantizerRows, TellCodesReachAndWhatIsOutside) {
  const std::vector<QuantizerRow> rows = quantizer_rows(checkpoint(kGraph), kGraph);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].codes, "8 bits, 0 .. 255");
  EXPECT_EQ(rows[0].reals, "-5.5 .. 20");
  EXPECT_TRUE(std::isnan(rows[0].outside_percent));
  EXPECT_EQ(rows[1].node, "fc.weight.q");
  EXPECT_EQ(rows[1].quantizer, "lsq");
  EXPECT_EQ(rows[1].scale, "0.5 .. 1");
  EXPECT_EQ(rows[1].reals, "-2 .. 1");
  EXPECT_EQ(rows[1].outside_percent, 50.0);
}

TEST(QuantizerRows, LeaveOutWhatABentWeightWouldNotMean) {
  std::string graph = kGraph;
  graph.replace(graph.find("quantizer=lsq"), 13, "quantizer=dorefa");
  const std::vector<QuantizerRow> rows = quantizer_rows(checkpoint(graph), graph);
  EXPECT_TRUE(std::isnan(rows.at(1).outside_percent));
}

TEST(EndsPercent, CountsBothEnds) {
  integer::Layer layer;
  EXPECT_TRUE(std::isnan(ends_percent(layer)));
  layer.weight = Tensor(DType::kS8, Shape{1, 4});
  layer.weight_range = {.qmin = -8, .qmax = 7};
  std::int8_t* codes = layer.weight.data<std::int8_t>();
  codes[0] = -8;
  codes[1] = 7;
  codes[2] = 6;
  codes[3] = -7;
  EXPECT_EQ(ends_percent(layer), 50.0);
}

TEST(LayerBytes, AreThoseOfItsOwnTensors) {
  Archive archive("bitloom.model", 2);
  archive.put("layers/00000/weight", matrix({{1, 2}}), "OI");
  archive.put("layers/00000/bias", vector_of({1}), "O");
  archive.put("layers/00001/bias", vector_of({1, 2, 3}), "O");
  archive.put("tensors/00001/shape", vector_of({1}), "D");
  EXPECT_EQ(layer_bytes(archive, 2), (std::vector<std::int64_t>{12, 12}));
}

}  // namespace
}  // namespace bitloom::tools
