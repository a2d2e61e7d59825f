// Averages of codes over small windows, many channels at a time. Goes to: pool_codes.cpp.
#pragma once

#include <cstdint>

namespace bitloom::kernels {

/// Most pixels of a window: 16 bits hold the sum of that many codes.
constexpr std::int64_t kAverageWindow = 256;

/// Pixels of one window inside the image, and what padding adds.
struct AverageWindow {
  const std::uint8_t* first = nullptr;  ///< channel 0 of the upper left pixel
  std::int64_t rows = 0, columns = 0;
  std::int64_t row_step = 0, column_step = 0;  ///< bytes
  std::int32_t padding = 0;                    ///< sum of the codes of padding, as they are stored
  std::int32_t count = 1;                      ///< pixels to divide by, those of padding too
  std::uint8_t flip = 0;                       ///< 0x80: codes are s8
};

/// to[c] = round_half_even((sum of codes + padding) / count) of channels [begin, end).
/// One f32 division: sums below 2^17 are exact, and no quotient but a tie lies as near to k + 1/2
/// as f32 can round. @pre rows * columns <= kAverageWindow, count <= kAverageWindow.
void average_window(const AverageWindow& window, std::int64_t begin, std::int64_t end,
                    std::uint8_t* to) noexcept;

}  // namespace bitloom::kernels
