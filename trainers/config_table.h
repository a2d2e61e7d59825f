// Every configuration key, declared once: parsing, printing, ranges and help all read this table.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// One key. `parse` leaves the config alone and answers false where the text is no value in range.
struct Key {
  std::string name;
  std::string help;
  std::string range;
  std::function<bool(Config&, std::string_view)> parse;
  std::function<std::string(const Config&)> print;
  std::vector<std::string> words = {};  ///< every value, where they are a handful of words
};

/// In to_ini's order: unsectioned keys first, then section by section.
const std::vector<Key>& key_table();
/// nullptr if there is no such key.
const Key* find_key(std::string_view name);
std::vector<std::string> key_names();

}  // namespace bitloom::trainers
