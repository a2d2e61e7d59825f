// The program on files that nobody should send us: with little memory and little time it still ends
// with exit code 2 and a text that says what is wrong.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "cli/program.h"

// clang tells of its sanitizers by a feature, GCC by a macro.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BITLOOM_RESERVES_ADDRESSES 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BITLOOM_RESERVES_ADDRESSES 1
#endif

namespace bitloom::tools {

/// One file and parts of what it must be answered.
struct Hostile {
  const char* name;
  std::vector<std::string> parts;
};

/// bitloom `words` with 1 GiB of address space and 20 s of CPU time. Sanitizers reserve terabytes
/// of addresses: there the time alone is limited, and a test tells it by `limits_memory()`.
inline bool limits_memory() {
#if defined(BITLOOM_RESERVES_ADDRESSES)
  return false;
#else
  return true;
#endif
}

inline ChildEnd limited(const Words& words) {
  const std::string memory = limits_memory() ? "ulimit -v 1048576; " : "";
  ChildOptions options{
      .program = "/bin/sh",
      .arguments = {"-c", memory + "ulimit -t 20; exec \"$0\" \"$@\"", BITLOOM_PROGRAM},
      .take_stderr = true};
  options.arguments.insert(options.arguments.end(), words.begin(), words.end());
  return run_child(options);
}

/// Text that leaves a terminal as it is, of a length that somebody reads.
inline bool is_readable(std::string_view text) {
  return text.size() < 10000 && std::none_of(text.begin(), text.end(), [](char c) {
           return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7F;
         });
}

inline void expect_refused(const Words& words, const std::vector<std::string>& parts) {
  const ChildEnd end = limited(words);
  EXPECT_EQ(end.signal, 0) << end.output;
  EXPECT_EQ(end.exit_code, 2) << end.output;
  for (const std::string& part : parts) EXPECT_THAT(end.output, testing::HasSubstr(part));
  EXPECT_THAT(end.output, testing::Not(testing::HasSubstr("unexpected error")));
  EXPECT_TRUE(is_readable(end.output)) << end.output.size() << " bytes";
}

}  // namespace bitloom::tools
