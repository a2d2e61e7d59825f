#include "child_rows.h"

#include <csignal>
#include <sstream>

#include "bitloom/core/error.h"
#include "child_process.h"
#include "command.h"

namespace bitloom::tools {

ChildRows run_for_rows(const std::filesystem::path& program, std::vector<std::string> words) {
  words.insert(words.end(), {"--quiet", "--json", "-"});
  const ChildEnd end = run_child({.program = program, .arguments = words});
  ChildRows result;
  result.exit_code = end.exit_code;
  result.interrupted = end.signal == SIGINT || end.exit_code == kExitInterrupted;
  if (result.interrupted) return result;
  std::istringstream lines(end.output);
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
    if (row.is_object()) result.rows.push_back(row);
  }
  const bool ended_well = end.signal == 0 && end.exit_code <= kExitCheckFailed;
  if (!ended_well || result.rows.empty()) {
    throw BackendError(
        {cat("child process `bitloom ", words.front(), "`"), "a result",
         end.signal != 0 ? cat("its end by signal ", end.signal) : cat("exit code ", end.exit_code),
         "its own message stands above"});
  }
  return result;
}

}  // namespace bitloom::tools
