#include "completion.h"

#include <iostream>

#include "bitloom/core/error.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "global_options.h"

namespace bitloom::tools {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

/// A command's own options, then the global ones.
std::vector<OptionSpec> all_options(const Command& command) {
  std::vector<OptionSpec> options = command.options;
  options.insert(options.end(), global_options().begin(), global_options().end());
  return options;
}

std::vector<trainers::KeyHelp> keys_of(const Command& command) {
  std::vector<trainers::KeyHelp> keys;
  for (const trainers::KeyHelp& key : trainers::config_keys()) {
    if (reads_key(command, key.name)) keys.push_back(key);
  }
  return keys;
}

/// 'text' for a shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
  return result + "'";
}

/// Branches of `case "$command:$name"`: flags take no value; words where there are some.
/// `give` makes a shell statement of the words.
template <typename Give>
std::string value_cases(const Give& give) {
  std::string flags;
  std::string cases;
  for (const Command& command : command_table()) {
    for (const OptionSpec& option : all_options(command)) {
      const std::string label = cat(command.name, ":--", option.name);
      if (option.value.empty()) {
        flags += cat(flags.empty() ? "" : " | ", label);
      } else if (!option.words.empty()) {
        cases += cat("    ", label, ") ", give(option.words), " ;;\n");
      }
    }
  }
  for (const trainers::KeyHelp& key : trainers::config_keys()) {
    if (!key.words.empty()) cases += cat("    *:--", key.name, ") ", give(key.words), " ;;\n");
  }
  return cat("    ", flags, ") name= ;;\n", cases);
}

constexpr const char* kBashHead = R"(# bash completion of bitloom; made by `bitloom completion bash`
_bitloom() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local command=${COMP_WORDS[1]} name= values= options= words=
  COMPREPLY=()
)";

constexpr const char* kBashName = R"(  # bash takes --name=value for three words.
  if [[ $current == = ]]; then
    name=$previous current=
  elif [[ $previous == = ]]; then
    name=${COMP_WORDS[COMP_CWORD-2]}
  elif [[ $previous == --* ]]; then
    name=$previous
  fi
)";

constexpr const char* kBashTail = R"(  if [[ -n $name ]]; then
    words=$values
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
  fi
  if [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -F _bitloom bitloom
)";

constexpr const char* kZshHead = R"(#compdef bitloom
# zsh completion of bitloom; made by `bitloom completion zsh`
_bitloom() {
  local -a commands options keys values
  local command=$words[2] name=
)";

constexpr const char* kZshName = R"(  if [[ $PREFIX == --*=* ]]; then
    name=${PREFIX%%=*}
    compset -P '*='
  elif [[ $words[CURRENT-1] == --* && $words[CURRENT-1] != *=* ]]; then
    name=$words[CURRENT-1]
  fi
)";

constexpr const char* kZshTail = R"(  if [[ -z $name && $PREFIX == -* ]]; then
    _describe -o option options
    _describe -o key keys -S =
  elif (( $#values )); then
    compadd -a values
  else
    _files
  fi
}
if [[ $funcstack[1] == _bitloom ]]; then _bitloom "$@"; else compdef _bitloom bitloom; fi
)";

}  // namespace

std::string bash_completion() {
  std::string names;
  std::string branches;
  for (const Command& command : command_table()) {
    names += command.name + " ";
    std::string options;
    for (const OptionSpec& option : all_options(command)) options += "--" + option.name + " ";
    for (const trainers::KeyHelp& key : keys_of(command)) options += cat("--", key.name, "= ");
    branches += cat("    ", command.name, ") options=", quoted(options));
    if (!command.positionals.empty() && !command.positionals.front().words.empty()) {
      branches += cat(" words=", quoted(joined(command.positionals.front().words)));
    }
    branches += " ;;\n";
  }
  const auto give = [](const std::vector<std::string>& words) {
    return "values=" + quoted(joined(words));
  };
  return cat(kBashHead, "  if ((COMP_CWORD == 1)); then\n    COMPREPLY=($(compgen -W '", names,
             "--help --version' -- \"$current\"))\n    return 0\n  fi\n", kBashName,
             "  case $command in\n", branches, "  esac\n  case $command:$name in\n",
             value_cases(give), "  esac\n", kBashTail);
}

std::string zsh_completion() {
  std::string names;
  std::string branches;
  for (const Command& command : command_table()) {
    names += cat("      ", quoted(cat(command.name, ":", command.summary)), "\n");
    std::string options;
    std::string keys;
    for (const OptionSpec& option : all_options(command)) {
      options += cat("        ", quoted(cat("--", option.name, ":", option.help)), "\n");
    }
    for (const trainers::KeyHelp& key : keys_of(command)) {
      keys += cat("        ", quoted(cat("--", key.name, ":", key.help)), "\n");
    }
    branches += cat("    ", command.name, ")\n      options=(\n", options,
                    "      )\n      keys=(\n", keys, "      )\n");
    if (!command.positionals.empty() && !command.positionals.front().words.empty()) {
      branches += cat("      values=(", joined(command.positionals.front().words), ")\n");
    }
    branches += "      ;;\n";
  }
  const auto give = [](const std::vector<std::string>& words) {
    return cat("values=(", joined(words), ")");
  };
  return cat(kZshHead, "  if ((CURRENT == 2)); then\n    commands=(\n", names,
             "    )\n    _describe -t commands command commands\n    return\n  fi\n", kZshName,
             "  case $command in\n", branches, "  esac\n  [[ -n $name ]] && values=()\n",
             "  case $command:$name in\n", value_cases(give), "  esac\n", kZshTail);
}

int run_completion(const Arguments& arguments) {
  const std::string shell = arguments.positionals.empty() ? "" : arguments.positionals.front();
  if (shell != "bash" && shell != "zsh") {
    throw ConfigError({"bitloom completion", "bash or zsh", cat("'", shell, "'"),
                       "bitloom completion --help shows examples"});
  }
  std::cout << (shell == "bash" ? bash_completion() : zsh_completion());
  return kExitDone;
}

}  // namespace bitloom::tools
