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

// What stands in a file may steer a terminal, or fill it.
TEST(ErrorText, ShowsWhatWasFoundAsATerminalCan) {
  EXPECT_EQ(printable("a b\n\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80"),
            "a b\n\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(printable(std::string_view("\x1b[2J\0\x7f\t", 7)), "\\x1b[2J\\x00\\x7f\\x09");
  EXPECT_EQ(printable("\xff \xc3 \xc2\x9b \xe2\x82"), "\\xff \\xc3 \\xc2\\x9b \\xe2\\x82");
  EXPECT_EQ(printable(std::string(300, 'x')), std::string(300, 'x'));
  EXPECT_EQ(printable(std::string(5000, 'x')), std::string(300, 'x') + "... (5000 bytes)");
  EXPECT_EQ(to_string(ErrorText{.place = "f", .expected = "", .found = "\x07", .remedy = ""}),
            "f: found \\x07");
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
