// The program `bitloom`. Only here is an error caught: its message goes to stderr, exit code 2.
#include <exception>
#include <iostream>

#include "bitloom/core/error.h"
#include "command.h"
#include "wait_policy.h"

int main(int argc, char** argv) {
  bitloom::tools::settle_wait_policy(argv);
  try {
    return bitloom::tools::run_program({argv + 1, argv + argc});
  } catch (const bitloom::Error& error) {
    std::cerr << "bitloom: " << error.what() << "\n";
  } catch (const std::exception& error) {
    std::cerr << "bitloom: unexpected error: " << error.what() << "\n";
  }
  return bitloom::tools::kExitBadInput;
}
