#include "bitloom/core/pin_threads.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>

#include "bitloom/core/parallel.h"

namespace bitloom {
namespace {

std::vector<int> cores_of_this_thread() {
  cpu_set_t found;
  CPU_ZERO(&found);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(found), &found) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &found)) cores.push_back(core);
  }
  return cores;
}

bool bind_this_thread(const std::vector<int>& cores) {
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  for (const int core : cores) CPU_SET(core, &wanted);
  return sched_setaffinity(0, sizeof(wanted), &wanted) == 0;
}

// The cores that the process may use: what the first thread that binds or asks was free to use.
const std::vector<int>& allowed_cores() {
  static const std::vector<int> cores = cores_of_this_thread();
  return cores;
}

}  // namespace

int pin_threads() {
  const std::vector<int>& cores = allowed_cores();
  if (cores.empty()) return 0;
  std::atomic<int> refused{0};
#pragma omp parallel num_threads(threads())
  {
    const auto index = static_cast<std::size_t>(omp_get_thread_num());
    if (!bind_this_thread({cores[index % cores.size()]})) ++refused;
  }
  return refused == 0 ? std::min(threads(), static_cast<int>(cores.size())) : 0;
}

Unpinned::Unpinned() : cores_(cores_of_this_thread()) { bind_this_thread(allowed_cores()); }

Unpinned::~Unpinned() { bind_this_thread(cores_); }

}  // namespace bitloom
