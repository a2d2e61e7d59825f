// The program `bitloom-run`. Only here is an error caught: its message goes to stderr, exit code 2.
#include <exception>
#include <iostream>

#include "commands.h"

int main(int argc, char** argv) {
  constexpr int kExitBadInput = 2;
  try {
    return bitloom::runtime::run_program({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "bitloom-run: " << error.what() << "\n";
  }
  return kExitBadInput;
}
