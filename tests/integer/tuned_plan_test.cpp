#include "bitloom/integer/tuned_plan.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom::integer {
namespace {

TunedPlan plan(int threads, std::vector<std::string> names) {
  return {.where = {.cpu = "AMD EPYC 9",
                    .isa = "avx512_vnni",
                    .backend = "onednn",
                    .threads = threads,
                    .batch = 16},
          .implementations = std::move(names)};
}

TEST(TunedPlan, TextHoldsAllOfIt) {
  const std::vector<TunedPlan> plans{plan(1, {"own", "onednn"}), plan(2, {"onednn-next", "own"})};
  EXPECT_EQ(tuned_from_text(tuned_to_text(plans), 2), plans);
  EXPECT_TRUE(tuned_from_text("", 2).empty());
  EXPECT_EQ(tuned_to_text({&plans[0], 1}),
            "cpu = AMD EPYC 9\nisa = avx512_vnni\nbackend = onednn\nthreads = 1\nbatch = 16\n"
            "layers = own onednn\n");
}

TEST(TunedPlan, IsFoundOnItsOwnMachineAloneAndReplacedThere) {
  std::vector<TunedPlan> plans{plan(1, {"a"}), plan(2, {"b"})};
  ASSERT_NE(find_tuned(plans, plans[1].where), nullptr);
  EXPECT_EQ(find_tuned(plans, plans[1].where)->implementations.front(), "b");
  TunedFor other = plans[0].where;
  other.batch = 1;
  EXPECT_EQ(find_tuned(plans, other), nullptr);
  put_tuned(plans, plan(1, {"c"}));
  EXPECT_EQ(plans.size(), 2U);
  EXPECT_EQ(find_tuned(plans, plan(1, {}).where)->implementations.front(), "c");
}

TEST(TunedPlan, RefusesTextsOfOthers) {
  const std::string good = tuned_to_text(std::vector<TunedPlan>{plan(2, {"own", "onednn"})});
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  EXPECT_ERROR(FormatError, tuned_from_text(good, 3), "tuned", "3 layers", "found 2");
  EXPECT_ERROR(FormatError, tuned_from_text(changed("isa = ", "izza = "), 2), "a line 'isa = ...'",
               "izza");
  EXPECT_ERROR(FormatError, tuned_from_text(changed("threads = 2", "threads = 0"), 2),
               "threads from 1 to 256");
  EXPECT_ERROR(FormatError, tuned_from_text(changed("batch = 16", "batch = 1 6"), 2),
               "batch from 1");
  EXPECT_ERROR(FormatError, tuned_from_text("cpu = x\n", 2), "isa = ");
}

}  // namespace
}  // namespace bitloom::integer
