#include "bitloom/core/error.h"

#include <gtest/gtest.h>

namespace bitloom {
namespace {

TEST(ErrorText, JoinsAllFourParts) {
  EXPECT_EQ(to_string(ErrorText{.place = "conv1",
                                .expected = "input [N, 3, 32, 32]",
                                .found = "[N, 1, 28, 28]",
                                .remedy = "set data.channels"}),
            "conv1: expected input [N, 3, 32, 32], found [N, 1, 28, 28]; set data.channels");
}

TEST(ErrorText, LeavesOutEmptyParts) {
  EXPECT_EQ(to_string(ErrorText{.place = "a", .expected = "", .found = "b", .remedy = ""}),
            "a: found b");
  EXPECT_EQ(to_string(ErrorText{.place = "a", .expected = "b", .found = "", .remedy = "c"}),
            "a: expected b; c");
  EXPECT_EQ(to_string(ErrorText{.place = "a", .expected = "", .found = "", .remedy = "c"}), "a: c");
  EXPECT_EQ(to_string(ErrorText{.place = "", .expected = "b", .found = "c", .remedy = ""}),
            "expected b, found c");
}

TEST(Error, IsCaughtAsItsBase) {
  try {
    throw NumericError({.place = "scale", .expected = "> 0", .found = "0", .remedy = ""});
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "scale: expected > 0, found 0");
  }
}

TEST(Cat, ConcatenatesAnything) { EXPECT_EQ(cat("a", 1, ' ', 2.5), "a1 2.5"); }

#ifdef BITLOOM_ENABLE_ASSERTS
TEST(AssertDeathTest, PrintsTheBrokenPromise) {
  EXPECT_DEATH(BITLOOM_ASSERT(1 + 1 == 3), "broken promise: 1 \\+ 1 == 3");
}
#endif

}  // namespace
}  // namespace bitloom
