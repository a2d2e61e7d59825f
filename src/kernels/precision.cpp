#include "bitloom/kernels/precision.h"

#include <array>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"

namespace bitloom::kernels {
namespace {

constexpr const char* kPlace = "train.precision";

struct PrecisionRow {
  Precision precision;
  std::string_view word;
};

// In the order of the enum.
constexpr std::array<PrecisionRow, 2> kPrecisions{
    {{Precision::kF32, "f32"}, {Precision::kBf16, "bf16"}}};

}  // namespace

std::vector<std::string> precision_words() {
  std::vector<std::string> words;
  for (const PrecisionRow& row : kPrecisions) words.emplace_back(row.word);
  return words;
}

std::string_view to_word(Precision precision) {
  return kPrecisions[static_cast<std::size_t>(precision)].word;
}

Precision usable_precision(std::string_view word) {
  for (const PrecisionRow& row : kPrecisions) {
    if (row.word != word) continue;
    if (row.precision == Precision::kF32 || has_bf16(effective_isa())) return row.precision;
    const bool capped = effective_isa() != detected_isa() && has_bf16(detected_isa());
    throw ConfigError(
        {.place = kPlace,
         .expected = "f32, because bf16 products need AVX512-BF16 or AMX",
         .found = cat("bf16 ",
                      capped ? cat("under the cap isa = ", to_word(effective_isa()))
                             : cat("on a CPU with ", to_word(detected_isa()), " and without them")),
         .remedy =
             capped ? "leave isa out, or set train.precision = f32" : "set train.precision = f32"});
  }
  throw ConfigError(
      {.place = kPlace, .expected = "f32 or bf16", .found = cat("'", word, "'"), .remedy = ""});
}

}  // namespace bitloom::kernels
