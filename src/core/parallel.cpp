#include "bitloom/core/parallel.h"

#include <omp.h>

#include <atomic>
#include <string>

#include "bitloom/core/error.h"

namespace bitloom {
namespace {

constexpr int kMaxThreads = 256;

// 0 until set: then OpenMP's own default (OMP_NUM_THREADS, or all cores) holds.
std::atomic<int>& thread_count() {
  static std::atomic<int> count{0};
  return count;
}

}  // namespace

void set_threads(int count) {
  if (count < 0 || count > kMaxThreads) {
    throw ConfigError({.place = "threads",
                       .expected = cat("0 (all cores) to ", kMaxThreads),
                       .found = std::to_string(count),
                       .remedy = ""});
  }
  const int used = count == 0 ? std::min(omp_get_num_procs(), kMaxThreads) : count;
  omp_set_dynamic(0);  // a team of another size would change the order of sums
  omp_set_num_threads(used);
  thread_count() = used;
}

int threads() {
  const int count = thread_count();
  return count > 0 ? count : std::clamp(omp_get_max_threads(), 1, kMaxThreads);
}

}  // namespace bitloom
