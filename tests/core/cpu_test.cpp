#include "bitloom/core/cpu.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom {
namespace {

TEST(Cpu, WordsGoThereAndBack) {
  for (const Isa isa :
       {Isa::kOther, Isa::kSse41, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Amx}) {
    EXPECT_EQ(isa_from_word(to_word(isa)), isa);
  }
  EXPECT_EQ(isa_from_word("vnni"), Isa::kAvx512Vnni);
  EXPECT_EQ(isa_from_word("amx"), Isa::kAvx512Amx);
  for (const std::string& word : isa_words()) EXPECT_NO_THROW(isa_from_word(word)) << word;
  EXPECT_ERROR(ConfigError, isa_from_word("avx9"), "sse41, avx2, avx512, avx512_vnni", "'avx9'");
}

TEST(Cpu, KnowsWhereByteProductsAreExact) {
  EXPECT_FALSE(has_exact_u8s8(Isa::kSse41));
  EXPECT_FALSE(has_exact_u8s8(Isa::kAvx2));
  EXPECT_FALSE(has_exact_u8s8(Isa::kAvx512));
  EXPECT_TRUE(has_exact_u8s8(Isa::kAvx512Vnni));
  EXPECT_TRUE(has_exact_u8s8(Isa::kAvx512Amx));
  EXPECT_TRUE(has_exact_u8s8(Isa::kOther));
}

TEST(Cpu, HasAName) { EXPECT_FALSE(cpu_name().empty()); }

// The cap is read once per process, so each case dies in a process of its own.
void exit_with_effective_isa(const char* environment, const char* option) {
  if (environment != nullptr) {
    ::setenv("BITLOOM_ISA", environment, 1);
  } else {
    ::unsetenv("BITLOOM_ISA");
  }
  try {
    if (option != nullptr) cap_isa(isa_from_word(option));
    std::_Exit(static_cast<int>(effective_isa()));
  } catch (const ConfigError&) {
    std::_Exit(99);
  }
}

TEST(CpuDeathTest, CapComesFromOptionThenEnvironmentThenMachine) {
  if (detected_isa() < Isa::kAvx2) GTEST_SKIP() << "needs AVX2";
  const auto exits = [](Isa isa) { return ::testing::ExitedWithCode(static_cast<int>(isa)); };
  EXPECT_EXIT(exit_with_effective_isa(nullptr, nullptr), exits(detected_isa()), "");
  EXPECT_EXIT(exit_with_effective_isa("", nullptr), exits(detected_isa()), "");
  EXPECT_EXIT(exit_with_effective_isa("sse41", nullptr), exits(Isa::kSse41), "");
  EXPECT_EXIT(exit_with_effective_isa("sse41", "avx2"), exits(Isa::kAvx2), "");
  EXPECT_EXIT(exit_with_effective_isa(nullptr, "sse41"), exits(Isa::kSse41), "");
}

TEST(CpuDeathTest, UnknownOrMissingIsaIsAnError) {
  EXPECT_EXIT(exit_with_effective_isa("sse5", nullptr), ::testing::ExitedWithCode(99), "");
  if (detected_isa() != Isa::kAvx512Amx) {
    EXPECT_EXIT(exit_with_effective_isa(nullptr, "avx512_amx"), ::testing::ExitedWithCode(99), "");
  }
  if (detected_isa() != Isa::kOther) {
    EXPECT_EXIT(exit_with_effective_isa(nullptr, "other"), ::testing::ExitedWithCode(99), "");
  }
}

}  // namespace
}  // namespace bitloom
