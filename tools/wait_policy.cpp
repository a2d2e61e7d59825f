#include "wait_policy.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <system_error>

namespace bitloom::tools {

void settle_wait_policy(char** argv) {
  for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) {
    if (std::getenv(name) != nullptr) return;
  }
  // By its real name: lists of processes would show "exe" otherwise.
  std::error_code failed;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (failed || ::setenv("GOMP_SPINCOUNT", kSpins, 0) != 0) return;
  ::execv(self.c_str(), argv);
}

}  // namespace bitloom::tools
