// The program's log, on stderr, by spdlog.
#pragma once

#include <string>

namespace bitloom {

void log_info(const std::string& text);
void log_warning(const std::string& text);
/// Nothing below a warning is printed when quiet.
void set_quiet(bool quiet);

}  // namespace bitloom
