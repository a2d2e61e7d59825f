// What goes wrong with a user's input, in words that name the place and the remedy.
// Comes from: everywhere. Goes to: main(), which alone catches (exit code 2).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace bitloom {

/// Concatenates its arguments with operator<< (GCC 12 has no std::format).
template <typename... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

/// The four parts of a message; an empty part is left out.
struct ErrorText {
  std::string place;     ///< file, layer, config key
  std::string expected;  ///< what would have been right
  std::string found;     ///< what was there
  std::string remedy;    ///< what the user can do
};

/// `text` as a terminal can show it: control characters and bytes that are no UTF-8 become escapes
/// of two hexadecimal digits, and a text of more than 300 bytes is cut. What was found may come
/// from any file.
std::string printable(std::string_view text);

/// Formats `place: expected E, found F; R`, with F printable.
std::string to_string(const ErrorText& text);

/// Base of every error that a user can cause and mend.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  explicit Error(const ErrorText& text) : std::runtime_error(to_string(text)) {}
};

/// A config key, option or combination of options is wrong.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A tensor or an image has another shape or type than its place needs.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A file is missing, truncated, damaged, or of another kind or a newer version.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// No backend can run what was asked.
class BackendError : public Error {
 public:
  using Error::Error;
};

/// A number left the range in which training or quantization has a meaning (NaN, scale <= 0).
class NumericError : public Error {
 public:
  using Error::Error;
};

/// Called by BITLOOM_ASSERT; prints and aborts.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace bitloom

/// A promise inside the code; on in dev and sanitizer builds (BITLOOM_ENABLE_ASSERTS).
#ifdef BITLOOM_ENABLE_ASSERTS
#define BITLOOM_ASSERT(condition) \
  ((condition) ? void(0) : ::bitloom::assertion_failed(#condition, __FILE__, __LINE__))
#else
#define BITLOOM_ASSERT(condition) void(0)
#endif
