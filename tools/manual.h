// The man page, made from the declarations that parse the options.
// Goes to: program.cpp, cmake/BitloomInstall.cmake.
#pragma once

#include <string>

namespace bitloom::tools {

/// bitloom(1) in roff: every command with its options and examples, then every configuration key
/// with range and default.
std::string man_page();

}  // namespace bitloom::tools
