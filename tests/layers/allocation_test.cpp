// A training step allocates nothing of ours: oneDNN's execute makes small objects of its own, the
// same number in each step.
#include "allocation_count.h"

#include <gtest/gtest.h>

#include "bitloom/core/cpu.h"
#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"

namespace bitloom::layers {
namespace {

void expect_no_allocations(kernels::Precision precision) {
  if (!tools::counts_allocations()) GTEST_SKIP() << "the sanitizer's operators count nothing";
  ParameterStore store(1);
  const Graph graph = Graph::parse(R"(bitloom-graph 1
    input = input(shape=3x16x16)
    w1 = parameter(shape=16x3x3x3)
    c1 = conv2d(input, w1, pad=1, bias=1)
    b1 = batch_norm(c1)
    r1 = relu(b1)
    w2 = parameter(shape=16x16x3x3)
    c2 = conv2d(r1, w2, pad=1)
    n = batch_norm(c2)
    a = fused(c2, n, norm=b2, low=0)
    p = max_pool(a, kernel=2)
    q = avg_pool(a, kernel=3, stride=2, pad=1)
    j = concat(p, q)
    d = dropout(j)
    r6 = relu6(d)
    g = global_avg_pool(r6)
    f = flatten(g)
    w3 = parameter(shape=10x32)
    l = linear(f, w3, bias=1))",
                                   "test");
  constexpr std::int64_t kBatch = 8;
  Network network(graph, float_layers(), store, {.batch = kBatch, .precision = precision});
  Tensor images(DType::kF32, {kBatch, 3, 16, 16});
  fill_normal(images, "images");
  Tensor gradient(DType::kF32, {kBatch, 10});
  const std::vector<std::int32_t> labels(kBatch, 3);

  tools::AllocationCount in_step[4];
  for (tools::AllocationCount& count : in_step) {
    const tools::AllocationCount before = tools::allocation_count();
    softmax_cross_entropy(network.forward(images, Phase::kTrain), labels, gradient);
    network.backward(gradient);
    const tools::AllocationCount after = tools::allocation_count();
    count = {after.ours - before.ours, after.onednn - before.onednn};
  }
  EXPECT_GT(tools::allocation_count().ours, 0) << "the counter counts nothing";
  EXPECT_EQ(in_step[3].ours, 0);
  EXPECT_EQ(in_step[3].onednn, in_step[2].onednn);
}

TEST(Allocation, StepsAllocateNothingOfOurs) { expect_no_allocations(kernels::Precision::kF32); }

TEST(Allocation, StepsInBf16AllocateNothingOfOurs) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  expect_no_allocations(kernels::Precision::kBf16);
}

}  // namespace
}  // namespace bitloom::layers
