#include "manual.h"

#include <sstream>

#include "bitloom/core/error.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "embedded.h"
#include "global_options.h"

namespace bitloom::tools {
namespace {

/// Text that roff prints as it is: backslashes and hyphens escaped, no line that begins a request.
std::string roff(const std::string& text) {
  std::string escaped;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) escaped += "\\&";
    line_begins = c == '\n';
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

/// A term in bold, its value in italics, and what it means.
std::string entry(const std::string& term, const std::string& value, const std::string& meaning) {
  return cat(".TP\n\\fB", roff(term), "\\fR",
             value.empty() ? "" : cat(" \\fI", roff(value), "\\fR"), "\n", roff(meaning), "\n");
}

std::string options_text(const std::vector<OptionSpec>& options) {
  std::string text;
  for (const OptionSpec& option : options) {
    text += entry("--" + option.name, option.value,
                  cat(option.help, option.required ? " (required)" : "", "."));
  }
  return text;
}

/// "Reads the keys of [data], [quant] and those without a section."
std::string keys_text(const Command& command) {
  std::string names;
  for (const std::string& section : command.sections) {
    if (section.empty()) continue;
    const bool whole =
        section.find('.') == std::string::npos && section.find('_') == std::string::npos;
    names += cat(names.empty() ? "" : ", ", whole ? "[" : "", section, whole ? "]" : "");
  }
  if (command.sections.empty()) return "";
  return cat(".PP\nReads the configuration keys without a section",
             names.empty() ? "" : roff(" and " + names), ".\n");
}

std::string command_text(const Command& command) {
  std::string text =
      cat(".SS ", command.name, "\n\\fBbitloom ", command.name, "\\fR ", roff(command.usage),
          "\n.PP\n", roff(command.summary), ".\n.PP\n.nf\n", roff(command.details), ".fi\n");
  for (const OptionSpec& positional : command.positionals) {
    text += entry(positional.name, "", positional.help + ".");
  }
  return text + options_text(command.options) + keys_text(command);
}

}  // namespace

std::string man_page() {
  std::string text =
      cat(".TH BITLOOM 1 \"\" \"bitloom ", version(),
          "\" \"User Commands\"\n"
          ".SH NAME\nbitloom \\- trains convolutional networks for few bits and runs "
          "them as integer models\n"
          ".SH SYNOPSIS\n\\fBbitloom\\fR \\fICOMMAND\\fR [\\fB\\-\\-option\\fR "
          "\\fIVALUE\\fR]... [\\fB\\-\\-section.key=\\fR\\fIVALUE\\fR]...\n"
          ".SH COMMANDS\n");
  for (const Command& command : command_table()) text += command_text(command);
  text += ".SH OPTIONS OF EVERY COMMAND\n" + options_text(global_options());
  text += entry("--version", "", "instead of a command: versions, CPU and default profile.");
  text +=
      ".SH CONFIGURATION KEYS\nIn a file as \\(dqkey = value\\(dq below \\(dq[section]\\(dq, or as "
      "an "
      "option.\nThe command line beats the file, the file beats the default.\n";
  for (const trainers::KeyHelp& key : trainers::config_keys()) {
    text +=
        entry(cat("--", key.name, "="), key.range,
              cat(key.help, ". Default: ", key.fallback.empty() ? "nothing" : key.fallback, "."));
  }
  text +=
      ".SH EXIT STATUS\n0 done, 1 a check failed, 2 bad input, 130 interrupted.\n"
      ".SH OUTPUT\nResults go to stdout; progress, warnings and errors to stderr. "
      "\\fB\\-\\-json \\-\\fR leaves stdout to the rows.\n";
  return text;
}

}  // namespace bitloom::tools
