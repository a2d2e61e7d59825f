// Aligned tables for the terminal, and numbers as a reader wants them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitloom::tools {

/// Rows of cells under a header; every row has as many cells as the header.
struct TextTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// Columns two spaces apart under a rule; a column whose cells are all numbers or "-" is aligned to
/// the right. Width is counted in code points of UTF-8.
std::string format_table(const TextTable& table);

/// "12.34"; "-" for NaN.
std::string fixed(double value, int decimals);
/// "4.8e-07"; "0" for zero, "-" for NaN.
std::string scientific(double value);
/// "412 B", "12.3 KiB", "1.5 MiB".
std::string bytes_text(std::int64_t bytes);
/// "0:07", "12:34", "1:02:03".
std::string clock_text(double seconds);

}  // namespace bitloom::tools
