// A command of this program in a child process, its result as rows.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

struct ChildRows {
  int exit_code = 0;         ///< 0 or 1 (a check failed)
  bool interrupted = false;  ///< then there are no rows
  std::vector<nlohmann::json> rows;
};

/// Runs `program words... --quiet --json -`.
/// @throws BackendError if the child ends otherwise than by exit code 0, 1 or an interrupt, or
///         gives no row; what it had to say is on stderr.
ChildRows run_for_rows(const std::filesystem::path& program, std::vector<std::string> words);

}  // namespace bitloom::tools
