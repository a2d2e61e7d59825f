#include "backend_options.h"

#include <algorithm>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"

namespace bitloom::tools {

std::string backend_option(const Arguments& arguments) {
  const std::string backend = arguments.value("backend", "onednn");
  const std::vector<std::string> names = backends::backend_names();
  if (std::find(names.begin(), names.end(), backend) != names.end()) return backend;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  throw ConfigError({"--backend", "one of " + known, cat("'", backend, "'"), ""});
}

bool fallback_option(const Arguments& arguments) {
  const std::string word = arguments.value("fallback", "reference");
  if (word != "reference") throw ConfigError({"--fallback", "reference", cat("'", word, "'"), ""});
  return arguments.has("fallback");
}

}  // namespace bitloom::tools
