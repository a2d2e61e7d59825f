#include "text_table.h"

#include <gtest/gtest.h>

#include <limits>

namespace bitloom::tools {
namespace {

TEST(TextTable, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(format_table({{"name", "ms"}, {{"a", "1.5"}, {"long name", "10.25"}, {"b", "-"}}}),
            "name          ms\n"
            "----------------\n"
            "a            1.5\n"
            "long name  10.25\n"
            "b              -\n");
}

TEST(TextTable, CountsCodePointsNotBytes) {
  EXPECT_EQ(format_table({{"n", "x"}, {{"\xC3\xA9", "w"}, {"ee", "w"}}}),
            "n   x\n"
            "-----\n"
            "\xC3\xA9   w\n"
            "ee  w\n");
}

TEST(TextTable, HeaderAloneIsATable) { EXPECT_EQ(format_table({{"a", "b"}, {}}), "a  b\n----\n"); }

TEST(Text, FixedKnowsWhatIsNoNumber) {
  EXPECT_EQ(fixed(1.005, 1), "1.0");
  EXPECT_EQ(fixed(-2.5, 2), "-2.50");
  EXPECT_EQ(fixed(std::numeric_limits<double>::quiet_NaN(), 2), "-");
  EXPECT_EQ(fixed(std::numeric_limits<double>::infinity(), 2), "inf");
  EXPECT_EQ(fixed(1e308, 0).size(), 309U);
}

TEST(Text, ScientificHasTwoDigits) {
  EXPECT_EQ(scientific(4.768e-7), "4.8e-07");
  EXPECT_EQ(scientific(-0.0123), "-1.2e-02");
  EXPECT_EQ(scientific(0.0), "0");
  EXPECT_EQ(scientific(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(scientific(std::numeric_limits<double>::infinity()), "inf");
}

TEST(Text, BytesTakeTheUnitThatFits) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(std::int64_t{5} << 40), "5120.0 GiB");
}

TEST(Text, ClockShowsHoursOnlyWhereThereAreAny) {
  EXPECT_EQ(clock_text(7.4), "0:07");
  EXPECT_EQ(clock_text(754), "12:34");
  EXPECT_EQ(clock_text(3723), "1:02:03");
  EXPECT_EQ(clock_text(-1), "0:00");
  EXPECT_EQ(clock_text(std::numeric_limits<double>::infinity()), "1000:00:00");
}

}  // namespace
}  // namespace bitloom::tools
