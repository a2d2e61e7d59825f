// What is baked into the program when it is built; see generated.cmake.
#pragma once

#include <string>
#include <string_view>

namespace bitloom::tools {

/// "0.1.0".
std::string version();
/// Git commit this program was built from, "-dirty" behind it if files were changed; or "unknown".
std::string build_commit();
/// report_page.html with its {{placeholders}}.
std::string_view report_page();

}  // namespace bitloom::tools
