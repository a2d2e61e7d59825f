#include "bitloom/io/json_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::io {
namespace {

TEST(JsonRows, AppendsOneLineEach) {
  const TempDir dir;
  append_row(dir / "r", {{"top1", 91.5}, {"network", "lenet5"}});
  append_row(dir / "r", {{"top1", nullptr}});
  EXPECT_EQ(read_whole_file(dir / "r"),
            "{\"network\":\"lenet5\",\"top1\":91.5}\n{\"top1\":null}\n");
  const auto rows = read_rows(dir / "r");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["top1"], 91.5);
  EXPECT_TRUE(rows[1]["top1"].is_null());
}

TEST(JsonRows, WritesWhatJsonLacksAsNull) {
  const TempDir dir;
  append_row(dir / "r", {{"nan", std::nan("")}, {"text", "a\xff"}});
  const auto rows = read_rows(dir / "r");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_TRUE(rows[0]["nan"].is_null());
  EXPECT_EQ(rows[0]["text"], "a\xEF\xBF\xBD");
}

TEST(JsonRows, MendsATornLastLine) {
  const TempDir dir;
  write_whole_file(dir / "r", "{\"a\":1}\n{\"b\":");
  EXPECT_EQ(read_rows(dir / "r").size(), 1U);
  append_row(dir / "r", {{"c", 3}});
  EXPECT_EQ(read_whole_file(dir / "r"), "{\"a\":1}\n{\"c\":3}\n");
}

TEST(JsonRows, KeepsAWholeLastLineWithoutNewline) {
  const TempDir dir;
  write_whole_file(dir / "r", "{\"a\":1}");
  EXPECT_EQ(read_rows(dir / "r").size(), 1U);
  append_row(dir / "r", {{"c", 3}});
  EXPECT_EQ(read_whole_file(dir / "r"), "{\"a\":1}\n{\"c\":3}\n");
}

TEST(JsonRows, NamesTheBrokenLine) {
  const TempDir dir;
  write_whole_file(dir / "r", "{\"a\":1}\n\n[1]\n");
  EXPECT_ERROR(FormatError, read_rows(dir / "r"), "r:3: expected a JSON object, found [1]");
  EXPECT_ERROR(FormatError, read_rows(dir / "none"), "No such file");
}

}  // namespace
}  // namespace bitloom::io
