// What a command of the program is, and the one table of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bitloom::tools {

constexpr int kExitDone = 0;
constexpr int kExitCheckFailed = 1;
constexpr int kExitBadInput = 2;
constexpr int kExitInterrupted = 130;

/// One --name of a command. `value` is what help calls its value; "" makes it a flag.
struct OptionSpec {
  std::string name;
  std::string value;
  std::string help;
  bool required = false;
  std::vector<std::string> words = {};  ///< values that completion offers; none: files
};

/// A command line, taken apart.
class Arguments {
 public:
  std::map<std::string, std::vector<std::string>> options;  ///< a flag has an empty list
  std::vector<std::string> positionals;                     ///< words without --, in order
  std::vector<std::string> overrides;  ///< "train.epochs=3", in the order given

  bool has(const std::string& name) const { return options.contains(name); }
  /// Last value given, or `fallback`.
  std::string value(const std::string& name, const std::string& fallback = "") const;
  /// @throws ConfigError unless the value is an integer in [low, high].
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high,
                       std::int64_t fallback) const;
  /// Value of an override, or "" if it was not given.
  std::string override_value(const std::string& key) const;
};

struct Command {
  std::string name;
  std::string usage;                    ///< behind the name
  std::string summary;                  ///< one line
  std::string details;                  ///< paragraphs of help, with an example
  std::vector<OptionSpec> positionals;  ///< words without --, in order: "FILE"; "DIR...": many
  std::vector<OptionSpec> options;
  std::vector<std::string>
      sections;  ///< config sections that it reads; "" stands for unsectioned keys
  int (*run)(const Arguments&) = nullptr;  ///< exit code
};

const std::vector<Command>& command_table();

/// The command of that name, or nullptr.
const Command* find_command(const std::string& name);

/// True if the key would change what the command does.
bool reads_key(const Command& command, const std::string& key);

/// Takes `words` (behind the command's name) apart by the command's options and the global ones.
/// @throws ConfigError that names every unknown option with the nearest known one, every option
///         that lacks its value, and every key that the command does not read.
Arguments parse_arguments(const Command& command, const std::vector<std::string>& words);

/// Text of `bitloom --help` and of `bitloom COMMAND --help`.
std::string general_help();
std::string command_help(const Command& command);

/// The whole program behind its name. @throws Error. @return the exit code.
int run_program(const std::vector<std::string>& words);

int run_train(const Arguments& arguments);
int run_quantize(const Arguments& arguments);
int run_export(const Arguments& arguments);
int run_eval(const Arguments& arguments);
int run_bench(const Arguments& arguments);
int run_compare(const Arguments& arguments);
int run_report(const Arguments& arguments);
int run_inspect(const Arguments& arguments);
int run_diff(const Arguments& arguments);
int run_completion(const Arguments& arguments);
int run_help(const Arguments& arguments);
int run_sqnr(const Arguments& arguments);
int run_sensitivity(const Arguments& arguments);
int run_allocate(const Arguments& arguments);

}  // namespace bitloom::tools
