// Threads that stay on a core each.
#pragma once

#include <vector>

namespace bitloom {

/// Binds each of threads() to a core of its own, in the order of the cores that the process may
/// use; more threads than cores begin again at the first. For a process that has the machine to
/// itself: two that pin fewer threads than there are cores take the same cores.
/// Returns the cores used; 0 where the system refuses.
int pin_threads();

/// While it lives, the calling thread may run on every core that the process had before
/// pin_threads(): threads and child processes inherit the binding of the thread that starts them.
class Unpinned {
 public:
  Unpinned();
  ~Unpinned();
  Unpinned(const Unpinned&) = delete;
  Unpinned& operator=(const Unpinned&) = delete;

 private:
  std::vector<int> cores_;  // of this thread before
};

}  // namespace bitloom
