#include "wait_policy.h"

#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

namespace bitloom::tools {

void settle_wait_policy(char** argv) {
  for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) {
    if (std::getenv(name) != nullptr) return;
  }
  if (::setenv("GOMP_SPINCOUNT", kSpins, 0) == 0) ::execv("/proc/self/exe", argv);
}

}  // namespace bitloom::tools
