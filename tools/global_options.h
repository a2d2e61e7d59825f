// What every command takes, and what follows from it.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "bitloom/trainers/config.h"
#include "command.h"

namespace bitloom::tools {

/// --help, --quiet, --json FILE.
const std::vector<OptionSpec>& global_options();

/// @throws ConfigError that names every required option of `command` that is missing.
void require_options(const Command& command, const Arguments& arguments);

/// Sets threads, their cores and the ISA cap; must come before the first kernel.
void prepare_machine(const trainers::Config& config);
/// The same from those keys on the command line alone, for commands that read no configuration.
void prepare_machine(const Arguments& arguments);

/// --json FILE: the rows, one JSON object a line; nothing without the option.
void write_json_option(const Arguments& arguments, const std::vector<nlohmann::json>& rows);

/// Prints to stdout, or to stderr where --json - takes stdout; nothing with --quiet.
void say(const Arguments& arguments, const std::string& text);

/// Splits "a,b"; a file whose own name holds a comma stays whole.
std::vector<std::string> split_files(const std::vector<std::string>& values);

/// After this Ctrl-C asks the running training to save and stop; a second Ctrl-C kills.
void catch_interrupts();
/// True once Ctrl-C was pressed.
bool interrupted();

}  // namespace bitloom::tools
