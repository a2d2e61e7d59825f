// The kinds of configuration keys: how each parses, prints and names its range.
// Goes to: config_data.cpp, config_train.cpp, config_quant.cpp, config_compare.cpp,
// config_table.cpp.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitloom/core/error.h"
#include "config_table.h"

namespace bitloom::trainers {

using Words = std::vector<std::string>;

/// Interval of numbers; `open_low` leaves the lower end out.
struct Interval {
  double low = 0.0;
  double high = 0.0;
  bool open_low = false;
};

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

template <typename T>
std::string print_number(T value) {
  char text[64];
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  return error == std::errc{} ? std::string(std::begin(text), end) : "";
}

inline std::string join(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

inline Words split(std::string_view text) {
  Words parts;
  while (true) {
    const std::size_t comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    const std::size_t begin = part.find_first_not_of(" \t");
    const std::size_t end = part.find_last_not_of(" \t");
    parts.emplace_back(begin == std::string_view::npos ? "" : part.substr(begin, end - begin + 1));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

inline bool inside(double value, const Interval& interval) {
  const bool above = interval.open_low ? value > interval.low : value >= interval.low;
  return std::isfinite(value) && above && value <= interval.high;
}

inline std::string to_text(const Interval& interval) {
  const std::string high = print_number(interval.high);
  if (interval.open_low) {
    return cat("a number above ", print_number(interval.low), ", at most ", high);
  }
  return cat(print_number(interval.low), " .. ", high);
}

/// Text that an INI file gives back as it was: '#' starts a comment there, ends are trimmed.
inline bool survives_ini(std::string_view text) {
  if (text.find_first_of("#\n\r") != std::string_view::npos) return false;
  return text.empty() ||
         (text.find_first_of(" \t") != 0 && text.find_last_of(" \t") != text.size() - 1);
}

/// `access(config)` gives the field; it serves const and mutable configs alike.
template <typename Access>
Key integer_key(std::string name, std::string help, std::int64_t low, std::int64_t high,
                Access access) {
  using T = std::decay_t<decltype(access(std::declval<Config&>()))>;
  return {std::move(name), std::move(help), cat(low, " .. ", high),
          [=](Config& config, std::string_view text) {
            const std::optional<std::int64_t> value = parse_number<std::int64_t>(text);
            if (!value || *value < low || *value > high) return false;
            access(config) = static_cast<T>(*value);
            return true;
          },
          [=](const Config& config) { return print_number(access(config)); }};
}

template <typename Access>
Key seed_key(std::string name, std::string help, Access access) {
  return {std::move(name), std::move(help), "0 .. 2^64-1",
          [=](Config& config, std::string_view text) {
            const std::optional<std::uint64_t> value = parse_number<std::uint64_t>(text);
            if (value) access(config) = *value;
            return value.has_value();
          },
          [=](const Config& config) { return print_number(access(config)); }};
}

template <typename Access>
Key real_key(std::string name, std::string help, Interval interval, Access access) {
  using T = std::decay_t<decltype(access(std::declval<Config&>()))>;
  return {std::move(name), std::move(help), to_text(interval),
          [=](Config& config, std::string_view text) {
            const std::optional<T> value = parse_number<T>(text);
            if (!value || !inside(static_cast<double>(*value), interval)) return false;
            access(config) = *value;
            return true;
          },
          [=](const Config& config) { return print_number(access(config)); }};
}

template <typename Access>
Key real_list_key(std::string name, std::string help, Interval interval, Access access) {
  using T = typename std::decay_t<decltype(access(std::declval<Config&>()))>::value_type;
  return {std::move(name), std::move(help),
          cat("each ", to_text(interval), ", by commas; nothing: none"),
          [=](Config& config, std::string_view text) {
            std::vector<T> values;
            if (text.empty()) {
              access(config).clear();
              return true;
            }
            for (const std::string& part : split(text)) {
              const std::optional<T> value = parse_number<T>(part);
              if (!value || !inside(static_cast<double>(*value), interval)) return false;
              values.push_back(*value);
            }
            access(config) = std::move(values);
            return true;
          },
          [=](const Config& config) {
            std::string text;
            for (const T value : access(config)) {
              text += (text.empty() ? "" : ",") + print_number(value);
            }
            return text;
          }};
}

template <typename Access>
Key flag_key(std::string name, std::string help, Access access) {
  return {std::move(name),
          std::move(help),
          "true or false",
          [=](Config& config, std::string_view text) {
            if (text != "true" && text != "false") return false;
            access(config) = text == "true";
            return true;
          },
          [=](const Config& config) -> std::string { return access(config) ? "true" : "false"; },
          {"false", "true"}};
}

template <typename Access>
Key text_key(std::string name, std::string help, Access access) {
  return {std::move(name), std::move(help), "text without '#' and line breaks",
          [=](Config& config, std::string_view text) {
            if (!survives_ini(text)) return false;
            access(config) = std::string(text);
            return true;
          },
          [=](const Config& config) -> std::string { return access(config); }};
}

/// A word of `words`; "" too where `may_be_empty`.
template <typename Access>
Key word_key(std::string name, std::string help, const Words& words, bool may_be_empty,
             Access access) {
  std::string range = cat("one of ", join(words), may_be_empty ? ", or nothing" : "");
  return {std::move(name),
          std::move(help),
          std::move(range),
          [=](Config& config, std::string_view text) {
            const bool known = std::find(words.begin(), words.end(), text) != words.end();
            if (!known && !(may_be_empty && text.empty())) return false;
            access(config) = std::string(text);
            return true;
          },
          [=](const Config& config) -> std::string { return access(config); },
          words};
}

/// Comma-separated distinct words, at least one, each accepted by `accepts`.
template <typename Accepts, typename Access>
Key word_list_key(std::string name, std::string help, std::string range, Accepts accepts,
                  Access access) {
  return {std::move(name), std::move(help), std::move(range),
          [=](Config& config, std::string_view text) {
            Words words = split(text);
            for (std::size_t i = 0; i < words.size(); ++i) {
              const auto here = words.begin() + static_cast<std::ptrdiff_t>(i);
              if (!accepts(words[i]) || std::find(words.begin(), here, words[i]) != here)
                return false;
            }
            access(config) = std::move(words);
            return true;
          },
          [=](const Config& config) {
            std::string text;
            for (const std::string& word : access(config)) text += (text.empty() ? "" : ",") + word;
            return text;
          }};
}

using Keys = std::vector<Key>;

/// One function a section; together they are key_table().
void declare_data(Keys& keys);
void declare_train(Keys& keys);
void declare_quant(Keys& keys);
void declare_schedule(Keys& keys);
void declare_compare(Keys& keys);

}  // namespace bitloom::trainers
