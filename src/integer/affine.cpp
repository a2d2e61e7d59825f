#include "bitloom/integer/affine.h"

#include "bitloom/core/error.h"

namespace bitloom::integer {
namespace {

void require_bits(int bits) {
  if (bits >= 2 && bits <= 8) return;
  throw ConfigError(
      {.place = "bits", .expected = "2 to 8", .found = std::to_string(bits), .remedy = ""});
}

}  // namespace

std::string_view to_word(Grid grid) {
  switch (grid) {
    case Grid::kBinary:
      return "binary";
    case Grid::kTernary:
      return "ternary";
    case Grid::kAffine:
      break;
  }
  return "affine";
}

Grid grid_from_word(std::string_view word) {
  for (const Grid grid : {Grid::kAffine, Grid::kBinary, Grid::kTernary}) {
    if (word == to_word(grid)) return grid;
  }
  throw FormatError({.place = "grid",
                     .expected = "affine, binary or ternary",
                     .found = cat("'", word, "'"),
                     .remedy = ""});
}

CodeRange weight_range(int bits, bool narrow) {
  require_bits(bits);
  const std::int32_t half = 1 << (bits - 1);
  return {.qmin = bits == 8 || narrow ? -(half - 1) : -half, .qmax = half - 1};
}

CodeRange activation_range(int bits, bool is_signed) {
  require_bits(bits);
  const std::int32_t half = 1 << (bits - 1);
  if (is_signed) return {.qmin = -half, .qmax = half - 1};
  return {.qmin = 0, .qmax = 2 * half - 1};
}

}  // namespace bitloom::integer
