// The commands of `bitloom-run`, the program that runs exported models and links no training code.
// Goes to: main.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bitloom::runtime {

/// A command line, taken apart.
struct Words {
  std::vector<std::string> files;              ///< in order
  std::map<std::string, std::string> options;  ///< without their --

  /// @throws ConfigError unless the value is an integer in [low, high].
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high,
                       std::int64_t fallback) const;
  std::string word(const std::string& name, const std::string& fallback) const;
};

struct Option {
  std::string name;
  std::string value;  ///< what help calls it
  std::string help;
};

struct Command {
  std::string name;
  std::vector<std::string> files;  ///< what help calls them; all are needed
  std::string help;
  std::vector<Option> options;
  void (*run)(const Words& words) = nullptr;
};

const std::vector<Command>& commands();

/// The whole program behind its name. @throws Error. @return the exit code.
int run_program(const std::vector<std::string>& words);

}  // namespace bitloom::runtime
