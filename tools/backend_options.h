// What --backend and --fallback say.
#pragma once

#include <string>

#include "command.h"

namespace bitloom::tools {

/// --backend, or onednn. @throws ConfigError for an unknown word, listing the known ones.
std::string backend_option(const Arguments& arguments);

/// @throws ConfigError for an unknown word, listing the known ones.
void require_backend(const std::string& backend);

/// True with --fallback reference. @throws ConfigError for another word.
bool fallback_option(const Arguments& arguments);

}  // namespace bitloom::tools
