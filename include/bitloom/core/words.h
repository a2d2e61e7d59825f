// Words that name something in configurations and files.
#pragma once

#include <string>
#include <vector>

namespace bitloom {

/// For registries that callers extend: `word` must survive an INI file, a list with commas and a
/// command line, and be new.
/// @throws ConfigError, its place `where`, if it is among `taken`, empty, or holds anything but
///         letters, digits, '_', '-' and '.'.
void require_new_word(const std::string& where, const std::string& word,
                      const std::vector<std::string>& taken);

}  // namespace bitloom
