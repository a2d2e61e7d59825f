#include "text_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "bitloom/core/error.h"

namespace bitloom::tools {
namespace {

/// Code points: bytes that do not continue one.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  }));
}

bool is_number_cell(const std::string& cell) {
  return cell == "-" || (!cell.empty() && cell.find_first_of("0123456789") <= 1 &&
                         cell.find_first_not_of("0123456789.+-eE %xBKMGi") == std::string::npos);
}

}  // namespace

std::string format_table(const TextTable& table) {
  const std::size_t columns = table.header.size();
  std::vector<std::size_t> widths(columns);
  std::vector<bool> right(columns, !table.rows.empty());
  for (std::size_t column = 0; column < columns; ++column) {
    widths[column] = width_of(table.header[column]);
    for (const std::vector<std::string>& row : table.rows) {
      BITLOOM_ASSERT(row.size() == columns);
      widths[column] = std::max(widths[column], width_of(row[column]));
      right[column] = right[column] && is_number_cell(row[column]);
    }
  }
  std::string text;
  const auto put_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t column = 0; column < columns; ++column) {
      const std::string padding(widths[column] - width_of(cells[column]), ' ');
      line += column == 0 ? "" : "  ";
      line += right[column] ? padding + cells[column] : cells[column] + padding;
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  put_line(table.header);
  std::size_t total = 0;
  for (const std::size_t width : widths) total += width;
  text += std::string(total + 2 * (std::max<std::size_t>(columns, 1) - 1), '-') + "\n";
  for (const std::vector<std::string>& row : table.rows) put_line(row);
  return text;
}

std::string fixed(double value, int decimals) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[400];  // 1e308 has 309 digits before the point
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string scientific(double value) {
  if (!std::isfinite(value) || value == 0.0) return fixed(value, 0);
  char text[16];
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

std::string bytes_text(std::int64_t bytes) {
  constexpr std::array<const char*, 4> kUnits{"B", "KiB", "MiB", "GiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return cat(fixed(value, unit == 0 ? 0 : 1), " ", kUnits[unit]);
}

std::string clock_text(double seconds) {
  const auto total = static_cast<std::int64_t>(std::llround(std::clamp(seconds, 0.0, 3.6e6)));
  const std::int64_t hours = total / 3600;
  const auto two = [](std::int64_t value) { return cat(value < 10 ? "0" : "", value); };
  const std::int64_t minutes = total / 60 % 60;
  return cat(hours > 0 ? cat(hours, ":", two(minutes)) : cat(minutes), ":", two(total % 60));
}

}  // namespace bitloom::tools
