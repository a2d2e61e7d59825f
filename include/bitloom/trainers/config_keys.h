// The keys of a configuration one by one: for --help, for overrides on a stored configuration, and
// for the nearest known word where a user mistyped one.
// Comes from: trainers/config_table.cpp, the one place that declares keys. Goes to: tools.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// One key as a user meets it.
struct KeyHelp {
  std::string name;                ///< "train.epochs", "seed"
  std::string fallback;            ///< default, as to_ini prints it; may be empty
  std::string range;               ///< "0 .. 10000", "one of lsq, ema"
  std::string help;                ///< what it does, one line
  std::vector<std::string> words;  ///< every value, where they are a handful of words; or none
};

/// Every key, in to_ini's order.
std::vector<KeyHelp> config_keys();

/// `base` with `overrides` ("train.epochs=3") on top; the last of two on one key wins.
/// @throws ConfigError as load_config.
Config with_overrides(const Config& base, const std::vector<std::string>& overrides);

/// Keys whose values differ, each as "train.epochs: 4 -> 6".
std::vector<std::string> config_differences(const Config& from, const Config& to);

/// Levenshtein distance: the least number of insertions, deletions and substitutions of a byte.
std::size_t edit_distance(std::string_view from, std::string_view to);

/// The candidate that `word` most likely means, or "" where none is near: least edit distance,
/// also to the part after the last '.', at most half of the word's length; ties: the earlier one.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace bitloom::trainers
