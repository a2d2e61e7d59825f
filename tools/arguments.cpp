#include <algorithm>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <charconv>

#include "bitloom/core/error.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "global_options.h"

namespace bitloom::tools {
namespace {

namespace po = boost::program_options;

/// Everything the command line may hold, as Boost wants it told.
po::options_description describe(const Command& command) {
  po::options_description description;
  const auto add = [&](const std::string& name, bool takes_value) {
    if (takes_value) {
      description.add_options()(name.c_str(), po::value<std::string>());
    } else {
      description.add_options()(name.c_str(), "");
    }
  };
  for (const OptionSpec& option : command.options) add(option.name, !option.value.empty());
  for (const OptionSpec& option : global_options()) {
    const bool own = std::any_of(command.options.begin(), command.options.end(),
                                 [&](const OptionSpec& mine) { return mine.name == option.name; });
    if (!own) add(option.name, !option.value.empty());
  }
  for (const trainers::KeyHelp& key : trainers::config_keys()) {
    if (description.find_nothrow(key.name, false) == nullptr) add(key.name, true);
  }
  return description;
}

std::vector<std::string> known_names(const Command& command) {
  std::vector<std::string> names;
  for (const OptionSpec& option : command.options) names.push_back(option.name);
  for (const OptionSpec& option : global_options()) names.push_back(option.name);
  for (const trainers::KeyHelp& key : trainers::config_keys()) names.push_back(key.name);
  return names;
}

/// The command's own option, or nullptr.
const OptionSpec* own_option(const Command& command, const std::string& name) {
  for (const OptionSpec& option : command.options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

bool is_global_option(const std::string& name) {
  return std::any_of(global_options().begin(), global_options().end(),
                     [&](const OptionSpec& option) { return option.name == name; });
}

/// "options only", "no more than FILE OTHER".
std::string expected_words(const Command& command) {
  if (command.positionals.empty()) return "options only";
  std::string names;
  for (const OptionSpec& positional : command.positionals) names += " " + positional.name;
  return "no more than" + names;
}

/// True if `given` words without -- are all that the command takes.
bool is_one_too_many(const Command& command, std::size_t given) {
  const bool many =
      !command.positionals.empty() && command.positionals.back().name.ends_with("...");
  return !many && given >= command.positionals.size();
}

/// "--config --out DIR": Boost takes the next word for the value, whatever it is.
bool lacks_value(const po::option& option) {
  return option.position_key < 0 && option.original_tokens.size() == 2 && !option.value.empty() &&
         option.value.front().starts_with("--");
}

/// Joins what went wrong into one error. @throws ConfigError if there is anything.
void raise(const Command& command, const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  std::string text = cat("bitloom ", command.name, ": ");
  if (problems.size() > 1) text += cat(problems.size(), " errors:");
  for (const std::string& problem : problems) {
    text += (problems.size() > 1 ? "\n  " : "") + problem;
  }
  throw ConfigError(text);
}

}  // namespace

std::string Arguments::value(const std::string& name, const std::string& fallback) const {
  const auto found = options.find(name);
  return found == options.end() || found->second.empty() ? fallback : found->second.back();
}

std::int64_t Arguments::integer(const std::string& name, std::int64_t low, std::int64_t high,
                                std::int64_t fallback) const {
  if (!has(name)) return fallback;
  const std::string text = value(name);
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || rest != end || number < low || number > high) {
    throw ConfigError({"--" + name, cat(low, " .. ", high), cat("'", text, "'"), ""});
  }
  return number;
}

std::string Arguments::override_value(const std::string& key) const {
  std::string value;
  for (const std::string& text : overrides) {
    if (text.compare(0, key.size() + 1, key + "=") == 0) value = text.substr(key.size() + 1);
  }
  return value;
}

bool reads_key(const Command& command, const std::string& key) {
  const std::size_t dot = key.find('.');
  const std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
  return std::any_of(command.sections.begin(), command.sections.end(),
                     [&](const std::string& entry) { return entry == section || entry == key; });
}

Arguments parse_arguments(const Command& command, const std::vector<std::string>& words) {
  using Style = po::command_line_style::style_t;
  const po::options_description description = describe(command);
  std::vector<po::option> parsed;
  try {
    parsed = po::command_line_parser(words)
                 .options(description)
                 .style(Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next)
                 .allow_unregistered()
                 .run()
                 .options;
  } catch (const po::invalid_command_line_syntax& error) {
    throw ConfigError({cat("bitloom ", command.name), cat("a value behind ", error.tokens()),
                       "none", cat("usage: bitloom ", command.name, " ", command.usage)});
  } catch (const po::error& error) {
    throw ConfigError(cat("bitloom ", command.name, ": ", error.what()));
  }

  Arguments arguments;
  std::vector<std::string> problems;
  for (const po::option& option : parsed) {
    const std::string& name = option.string_key;
    const bool config_will_tell = own_option(command, "config") != nullptr &&
                                  name.find('.') != std::string::npos && reads_key(command, name) &&
                                  !option.value.empty();
    if (lacks_value(option)) {
      problems.push_back(to_string(
          {"", cat("a value behind --", name), cat("the option ", option.value.front()), ""}));
    } else if (option.unregistered && config_will_tell) {
      // A mistyped key of a section that is read: the config names it, with all other mistakes.
      arguments.overrides.push_back(name + "=" + option.value.front());
    } else if (option.unregistered) {
      const std::string near = trainers::nearest_word(name, known_names(command));
      problems.push_back(
          to_string({"", "a known option", cat("--", name),
                     near.empty() ? cat("bitloom ", command.name, " --help lists them")
                                  : cat("did you mean --", near, "?")}));
    } else if (option.position_key >= 0) {
      const std::string& word = option.value.front();
      if (is_one_too_many(command, arguments.positionals.size())) {
        problems.push_back(to_string({"", expected_words(command), cat("'", word, "' too"),
                                      cat("usage: bitloom ", command.name, " ", command.usage)}));
        continue;
      }
      arguments.positionals.push_back(word);
    } else if (own_option(command, name) != nullptr || is_global_option(name)) {
      auto& values = arguments.options[name];
      values.insert(values.end(), option.value.begin(), option.value.end());
    } else if (!reads_key(command, name)) {
      problems.push_back(to_string({"", "a key that this command reads", cat("--", name),
                                    "it would change nothing here: leave it out"}));
    } else {
      arguments.overrides.push_back(name + "=" + option.value.front());
    }
  }
  raise(command, problems);
  return arguments;
}

}  // namespace bitloom::tools
