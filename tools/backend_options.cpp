#include "backend_options.h"

#include <algorithm>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"

namespace bitloom::tools {

std::string backend_option(const Arguments& arguments) {
  std::string backend = arguments.value("backend", "onednn");
  require_backend(backend);
  return backend;
}

void require_backend(const std::string& backend) {
  const std::vector<std::string> names = backends::backend_names();
  if (std::find(names.begin(), names.end(), backend) != names.end()) return;
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
