#include "global_options.h"

#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/pin_threads.h"
#include "bitloom/io/json_rows.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"

namespace bitloom::tools {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

extern "C" void on_interrupt(int /*signal*/) {
  interrupt_seen = 1;
  trainers::request_stop();
}

}  // namespace

const std::vector<OptionSpec>& global_options() {
  static const std::vector<OptionSpec> options = {
      {"help", "", "this text"},
      {"quiet", "", "warnings and errors only"},
      {"json", "FILE", "also write the result, one JSON object a line; - is stdout"}};
  return options;
}

void require_options(const Command& command, const Arguments& arguments) {
  std::string missing;
  for (const OptionSpec& option : command.options) {
    if (option.required && arguments.value(option.name).empty()) {
      missing += cat(missing.empty() ? "" : ", ", "--", option.name, " ", option.value);
    }
  }
  if (missing.empty()) return;
  throw ConfigError({cat("bitloom ", command.name), missing, "none",
                     cat("usage: bitloom ", command.name, " ", command.usage)});
}

void prepare_machine(const trainers::Config& config) {
  if (!config.isa.empty()) cap_isa(isa_from_word(config.isa));
  set_threads(config.threads);
  if (config.pin_threads && pin_threads() == 0) {
    throw ConfigError({"pin_threads", "a system that binds threads to cores", "one that refuses",
                       "leave pin_threads out"});
  }
}

void prepare_machine(const Arguments& arguments) {
  prepare_machine(trainers::with_overrides(trainers::Config(), arguments.overrides));
}

void write_json_option(const Arguments& arguments, const std::vector<nlohmann::json>& rows) {
  const std::string path = arguments.value("json");
  if (path.empty()) return;
  const std::string text = io::json_lines(rows);
  if (path == "-") {
    std::cout << text << std::flush;
  } else {
    io::write_whole_file(path, text);
  }
}

void say(const Arguments& arguments, const std::string& text) {
  if (arguments.has("quiet")) return;
  // Where the rows go to stdout, the words make room for them.
  (arguments.value("json") == "-" ? std::cerr : std::cout) << text << std::flush;
}

std::vector<std::string> split_files(const std::vector<std::string>& values) {
  std::vector<std::string> files;
  for (const std::string& value : values) {
    std::error_code too_long;
    if (std::filesystem::exists(value, too_long)) {
      files.push_back(value);
      continue;
    }
    for (std::size_t begin = 0; begin <= value.size();) {
      const std::size_t comma = std::min(value.find(',', begin), value.size());
      if (comma > begin) files.push_back(value.substr(begin, comma - begin));
      begin = comma + 1;
    }
  }
  return files;
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace bitloom::tools
