#include "bitloom/core/archive.h"

#include <gtest/gtest.h>

#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom {
namespace {

Archive sample() {
  Archive archive("sample", 2);
  archive.set_source("a.h5");
  archive.put("parameters/w", matrix({{1, 2}}), "OI", "weight");
  archive.put_text("graph", "conv");
  archive.put_attribute("parameters", "step", std::int64_t{7});
  archive.put_attribute("parameters", "lr", 0.5);
  archive.put_attribute("", "kind", std::string("float"));
  return archive;
}

TEST(Archive, GivesBackWhatWasPut) {
  const Archive archive = sample();
  EXPECT_TRUE(archive.has("parameters/w"));
  EXPECT_FALSE(archive.has("graph"));
  EXPECT_TRUE(archive.has_text("graph"));
  EXPECT_THAT(archive.tensor("parameters/w", DType::kF32, {1, 2}), TensorEq(matrix({{1, 2}})));
  EXPECT_EQ(archive.text("graph"), "conv");
  EXPECT_EQ(archive.integer("parameters", "step"), 7);
  EXPECT_EQ(archive.real("parameters", "lr"), 0.5);
  EXPECT_EQ(archive.word("", "kind"), "float");
  EXPECT_TRUE(archive.has_attribute("", "kind"));
  EXPECT_FALSE(archive.has_attribute("parameters", "kind"));
}

TEST(Archive, ErrorsNameFilePathAndWhatIsThere) {
  const Archive archive = sample();
  EXPECT_ERROR(FormatError, archive.tensor("x"), "a.h5: x: expected a tensor, found nothing");
  EXPECT_ERROR(FormatError, archive.tensor("graph"), "found a text");
  EXPECT_ERROR(FormatError, archive.text("parameters/w"), "expected a text, found a tensor");
  EXPECT_ERROR(FormatError, archive.tensor("parameters/w", DType::kS8, {1, 2}),
               "expected s8 [1, 2], found f32 [1, 2]");
  EXPECT_ERROR(FormatError, archive.tensor("parameters/w", DType::kF32, {2, 1}),
               "expected f32 [2, 1]");
  EXPECT_ERROR(FormatError, archive.integer("parameters", "lr"), "'lr' of type integer");
  EXPECT_ERROR(FormatError, archive.real("parameters", "step"), "'step' of type real");
  EXPECT_ERROR(FormatError, archive.word("", "missing"),
               "a.h5: root: expected attribute 'missing'");
}

TEST(Archive, RefusesOtherSchemasAndVersions) {
  const Archive archive = sample();
  archive.require_schema("sample", 2);
  EXPECT_ERROR(FormatError, archive.require_schema("other", 2), "a.h5", "'other'", "'sample'");
  EXPECT_ERROR(FormatError, archive.require_schema("sample", 1), "found version 2",
               "use a newer bitloom");
  EXPECT_ERROR(FormatError, archive.require_schema("sample", 3), "make the file again");
  EXPECT_THROW(Archive("sample", 0).require_schema("sample", 1), FormatError);
}

}  // namespace
}  // namespace bitloom
