// EXPECT_ERROR(FormatError, load(path), "expected", "found"): the type and parts of the text.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bitloom {

/// The text of the Error that `body` throws, or a failed test and "".
template <typename ErrorType, typename Body>
std::string error_text(const Body& body) {
  try {
    body();
  } catch (const ErrorType& error) {
    return error.what();
  } catch (const std::exception& other) {
    ADD_FAILURE() << "another exception: " << other.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace bitloom

#define EXPECT_ERROR(ErrorType, statement, ...)                                     \
  do {                                                                              \
    const std::string bitloom_text =                                                \
        ::bitloom::error_text<ErrorType>([&] { static_cast<void>(statement); });    \
    for (const std::string& bitloom_part : std::vector<std::string>{__VA_ARGS__}) { \
      EXPECT_THAT(bitloom_text, ::testing::HasSubstr(bitloom_part));                \
    }                                                                               \
  } while (false)
