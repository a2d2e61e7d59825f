// A training step allocates nothing of ours: oneDNN's execute makes small objects of its own, the
// same number in each step.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "bitloom/core/cpu.h"
#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"

namespace {

std::atomic<std::int64_t> g_count{0};
std::atomic<std::size_t> g_largest{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  ++g_count;
  if (bytes > g_largest) g_largest = bytes;
  const std::size_t padded = (bytes / alignment + 1) * alignment;
  void* memory = std::aligned_alloc(alignment, padded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Not inlined: GCC would see free() after a new-expression and warn of a mismatch.
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }

}  // namespace

// Replaces the allocation functions of the whole test program, oneDNN's library included; all of
// them, since the address sanitizer would bring its own for those left out.
void* operator new(std::size_t bytes) { return counted(bytes, 16); }
void* operator new[](std::size_t bytes) { return counted(bytes, 16); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes, 16); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted(bytes, 16);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace bitloom::layers {
namespace {

constexpr std::size_t kLargestOfOneDnn = 4096;

void expect_no_allocations(kernels::Precision precision) {
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

  std::int64_t in_step[4] = {};
  for (std::int64_t& count : in_step) {
    g_largest = 0;
    const std::int64_t before = g_count;
    softmax_cross_entropy(network.forward(images, Phase::kTrain), labels, gradient);
    network.backward(gradient);
    count = g_count - before;
  }
  EXPECT_GT(g_count, 0) << "the counter counts nothing";
  EXPECT_EQ(in_step[3], in_step[2]);
  EXPECT_LE(g_largest, kLargestOfOneDnn);
}

TEST(Allocation, StepsAllocateNothingOfOurs) { expect_no_allocations(kernels::Precision::kF32); }

TEST(Allocation, StepsInBf16AllocateNothingOfOurs) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  expect_no_allocations(kernels::Precision::kBf16);
}

}  // namespace
}  // namespace bitloom::layers
