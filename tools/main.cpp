// The program `bitloom`. Only here is an error caught: its message goes to stderr, exit code 2.
#include <exception>
#include <iostream>
#include <new>
#include <string_view>

#include "bitloom/core/error.h"
#include "command.h"
#include "wait_policy.h"

int main(int argc, char** argv) {
  bitloom::tools::settle_wait_policy(argv);
  try {
    return bitloom::tools::run_program({argv + 1, argv + argc});
  } catch (const bitloom::Error& error) {
    const std::string_view text = error.what();  // its place may be the command: "bitloom train"
    std::cerr << (text.starts_with("bitloom ") || text.starts_with("bitloom:") ? "" : "bitloom: ")
              << text << "\n";
  } catch (const std::bad_alloc&) {
    std::cerr << "bitloom: expected more memory, found too little; end other programs, or take "
                 "smaller batches, images or models\n";
  } catch (const std::exception& error) {
    std::cerr << "bitloom: unexpected error: " << error.what() << "\n";
  }
  return bitloom::tools::kExitBadInput;
}
