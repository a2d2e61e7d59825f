#include "popcount_spread.h"

#include <cstring>

#include "bitloom/core/parallel.h"

namespace bitloom::kernels {
namespace {

std::size_t word_bytes(std::int64_t words) {
  return static_cast<std::size_t>(words) * sizeof(std::uint32_t);
}

// `count` bits from bit `first` of a packed pixel, to whole words.
void copy_bits(const std::uint32_t* from, std::int64_t first, std::int64_t count,
               std::uint32_t* to) {
  std::memset(to, 0, word_bytes(sign_words(count)));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t bit = first + i;
    const std::uint32_t value = (from[bit / kSignsPerWord] >> (bit % kSignsPerWord)) & 1U;
    to[i / kSignsPerWord] |= value << (i % kSignsPerWord);
  }
}

// One image row of one group, from bits.
void copy_row(const PopcountGeometry& g, const std::uint32_t* row, std::int64_t group,
              std::uint32_t* to) {
  const std::int64_t pixel_words = sign_words(g.c);
  if (g.window.groups == 1) {
    std::memcpy(to, row, word_bytes(g.w * pixel_words));
    return;
  }
  for (std::int64_t x = 0; x < g.w; ++x) {
    copy_bits(row + x * pixel_words, group * g.group_inputs(), g.group_inputs(),
              to + x * g.words());
  }
}

// The same from codes.
void pack_row(const PopcountGeometry& g, const std::int8_t* row, std::int64_t group,
              std::uint32_t* sign, std::uint32_t* nonzero) {
  if (g.window.groups == 1) {
    pack_codes_row(row, {g.w, g.c}, sign, nonzero);
    return;
  }
  for (std::int64_t x = 0; x < g.w; ++x) {
    pack_codes_row(row + x * g.c + group * g.group_inputs(), {1, g.group_inputs()},
                   sign + x * g.words(), nonzero == nullptr ? nullptr : nonzero + x * g.words());
  }
}

// Each pixel's right neighbour in the upper half of its word.
void add_neighbours(std::uint32_t* row, std::int64_t pixels) {
#pragma omp simd
  for (std::int64_t x = 0; x < pixels - 1; ++x) row[x] |= row[x + 1] << kPairShift;
}

}  // namespace

void spread_source(const PopcountGeometry& g, const PopcountSource& source,
                   const SpreadPlanes& planes, std::uint32_t* out) noexcept {
  const std::int64_t line = g.padded_w() * g.words();
  const std::int64_t border = g.window.pad * g.words();
  const std::int64_t rows = g.window.groups * g.n * g.padded_h();
  const std::int64_t grain = std::max<std::int64_t>(1, 32768 / (line * kSignsPerWord));
  parallel_for(rows, grain, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t y = row % g.padded_h() - g.window.pad;
      const std::int64_t image = row / g.padded_h() % g.n;
      const std::int64_t group = row / g.padded_h() / g.n;
      std::uint32_t* sign = out + row * line;
      std::uint32_t* second = sign + g.plane_words();
      std::uint32_t* nonzero = planes.nonzeros ? second : nullptr;
      std::uint32_t* single = planes.singles ? second : nullptr;
      const bool inside = y >= 0 && y < g.h;
      for (std::uint32_t* plane : {sign, nonzero, single}) {
        if (plane == nullptr) continue;
        std::memset(plane, 0, word_bytes(inside ? border : line));
        if (inside) std::memset(plane + line - border, 0, word_bytes(border));
      }
      if (!inside) continue;
      const std::int64_t at = (image * g.h + y) * g.w;
      if (source.bits != nullptr) {
        copy_row(g, source.bits + at * sign_words(g.c), group, sign + border);
      } else {
        pack_row(g, source.codes + at * g.c, group, sign + border,
                 nonzero == nullptr ? nullptr : nonzero + border);
      }
      if (single != nullptr) std::memcpy(single, sign, word_bytes(line));
      if (!g.pairs()) continue;
      add_neighbours(sign, line);
      if (nonzero != nullptr) add_neighbours(nonzero, line);
    }
  });
}

}  // namespace bitloom::kernels
