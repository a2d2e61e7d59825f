// A planned session's runs allocate nothing of ours.
#include "allocation_count.h"

#include <gtest/gtest.h>

#include "backends/hand_models.h"
#include "bitloom/backends/session.h"

namespace bitloom::backends {
namespace {

tools::AllocationCount allocations_of_five_runs(const char* backend, integer::ComputeMode mode) {
  const integer::Model model = integer::small_residual_model("int8-reduced", mode);
  Session session(model, {.backend = backend, .batch = 2});
  const Tensor images = integer::random_images({2, 3, 13, 12}, 1);
  Tensor logits(DType::kF32, Shape{2, 10});
  session.run(images, logits);  // the runtime starts its threads
  const tools::AllocationCount before = tools::allocation_count();
  EXPECT_GT(before.ours, 0);  // the counter counts
  for (int i = 0; i < 5; ++i) session.run(images, logits);
  const tools::AllocationCount after = tools::allocation_count();
  return {after.ours - before.ours, after.onednn - before.onednn};
}

class SessionAllocation : public testing::TestWithParam<integer::ComputeMode> {
 protected:
  void SetUp() override {
    if (!tools::counts_allocations()) GTEST_SKIP() << "the sanitizer's operators count nothing";
  }
};

TEST_P(SessionAllocation, ReferenceRunsAllocateNothing) {
  const tools::AllocationCount count = allocations_of_five_runs("reference", GetParam());
  EXPECT_EQ(count.ours, 0);
  EXPECT_EQ(count.onednn, 0);
}

// oneDNN makes small tables of arguments inside its own library, 14 allocations for each of the
// nine primitives here; none is ours and none grows.
TEST_P(SessionAllocation, OnednnRunsAllocateTheSameSmallNumberEachTime) {
  const tools::AllocationCount first = allocations_of_five_runs("onednn", GetParam());
  const tools::AllocationCount again = allocations_of_five_runs("onednn", GetParam());
  EXPECT_EQ(first.ours, 0);
  EXPECT_EQ(again.ours, 0);
  EXPECT_EQ(again.onednn, first.onednn);
  EXPECT_LE(first.onednn, 5 * 9 * 32);
}

INSTANTIATE_TEST_SUITE_P(Modes, SessionAllocation,
                         testing::Values(integer::ComputeMode::kStatic,
                                         integer::ComputeMode::kFloat,
                                         integer::ComputeMode::kDynamic),
                         [](const auto& one) { return std::string(to_word(one.param)); });

}  // namespace
}  // namespace bitloom::backends
