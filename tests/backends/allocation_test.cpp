// A planned session's runs allocate nothing: operator new is counted in this executable.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "backends/hand_models.h"
#include "bitloom/backends/session.h"

namespace {

std::atomic<long> allocations{0};

void* counted(std::size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  if (memory == nullptr) std::abort();  // also serves the forms that must not throw
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace bitloom::backends {
namespace {

long allocations_of_a_run(const char* backend, integer::ComputeMode mode) {
  const integer::Model model = integer::small_residual_model("int8-reduced", mode);
  Session session(model, {.backend = backend, .batch = 2});
  const Tensor images = integer::random_images({2, 3, 13, 12}, 1);
  Tensor logits(DType::kF32, Shape{2, 10});
  session.run(images, logits);  // the runtime starts its threads
  const long before = allocations;
  EXPECT_GT(before, 0);  // the counter counts
  for (int i = 0; i < 5; ++i) session.run(images, logits);
  return allocations - before;
}

TEST(SessionAllocation, ReferenceRunsAllocateNothing) {
  EXPECT_EQ(allocations_of_a_run("reference", integer::ComputeMode::kStatic), 0);
  EXPECT_EQ(allocations_of_a_run("reference", integer::ComputeMode::kFloat), 0);
  EXPECT_EQ(allocations_of_a_run("reference", integer::ComputeMode::kDynamic), 0);
}

// oneDNN makes small tables of arguments inside its own library, 14 allocations for each of the
// nine primitives here; none is ours and none grows.
TEST(SessionAllocation, OnednnRunsAllocateTheSameSmallNumberEachTime) {
  for (const integer::ComputeMode mode :
       {integer::ComputeMode::kStatic, integer::ComputeMode::kDynamic}) {
    const long first = allocations_of_a_run("onednn", mode);
    EXPECT_EQ(allocations_of_a_run("onednn", mode), first);
    EXPECT_LE(first, 5 * 9 * 32);
  }
}

}  // namespace
}  // namespace bitloom::backends
