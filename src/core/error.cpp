#include "bitloom/core/error.h"

#include <cstdio>
#include <cstdlib>

namespace bitloom {

std::string to_string(const ErrorText& text) {
  std::string out = text.place;
  const auto add = [&out](const char* separator, const char* lead, const std::string& part) {
    if (part.empty()) return;
    if (!out.empty()) out += separator;
    out += lead;
    out += part;
  };
  add(": ", "expected ", text.expected);
  add(text.expected.empty() ? ": " : ", ", "found ", text.found);
  const bool only_place = text.expected.empty() && text.found.empty();
  add(only_place ? ": " : "; ", "", text.remedy);
  return out;
}

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, condition);
  std::abort();
}

}  // namespace bitloom
