// Scripts that complete a command line, made from the declarations that parse it.
// Goes to: program.cpp (run_completion), cmake/BitloomInstall.cmake.
#pragma once

#include <string>

namespace bitloom::tools {

/// Commands, options, keys, and the values of those that take a handful of words; file names where
/// any text may stand.
std::string bash_completion();
std::string zsh_completion();

}  // namespace bitloom::tools
