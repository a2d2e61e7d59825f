#include "bitloom/core/error.h"

#include <cstdio>
#include <cstdlib>

namespace bitloom {
namespace {

/// Bytes of the UTF-8 character that `text` starts with; 0 if it is none that a terminal shows.
std::size_t shown_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return (lead >= 0x20 && lead != 0x7F) || lead == '\n' ? 1 : 0;
  const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if (byte(i) >> 6 != 2) return 0;
  }
  return lead == 0xC2 && byte(1) < 0xA0 ? 0 : size;  // U+0080 .. U+009F are controls too
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t kMostBytes = 300;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  const std::size_t whole = text.size();
  while (!text.empty() && out.size() < kMostBytes) {
    const std::size_t size = shown_bytes(text);
    if (size == 0) {
      const auto byte = static_cast<unsigned char>(text[0]);
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  if (!text.empty()) out += cat("... (", whole, " bytes)");
  return out;
}

std::string to_string(const ErrorText& text) {
  std::string out = text.place;
  const auto add = [&out](const char* separator, const char* lead, const std::string& part) {
    if (part.empty()) return;
    if (!out.empty()) out += separator;
    out += lead;
    out += part;
  };
  add(": ", "expected ", text.expected);
  add(text.expected.empty() ? ": " : ", ", "found ", printable(text.found));
  const bool only_place = text.expected.empty() && text.found.empty();
  add(only_place ? ": " : "; ", "", text.remedy);
  return out;
}

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, condition);
  std::abort();
}

}  // namespace bitloom
