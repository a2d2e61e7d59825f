// A program run as a child process: commands run clean copies of `bitloom` for memory, for
// instruction caps (oneDNN reads its cap once a process) and for side-by-side latency.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace bitloom::tools {

/// How a child ended.
struct ChildEnd {
  int exit_code = 0;   ///< valid where signal is 0
  int signal = 0;      ///< that killed it; 0 if it exited by itself
  std::string output;  ///< its stdout (and stderr where asked for)
};

struct ChildOptions {
  std::filesystem::path program;
  std::vector<std::string> arguments;  ///< without the program's name
  bool take_stderr = false;            ///< into `output` too; else the child writes to our stderr
};

/// A running child. Its stdout comes through a pipe that wait() empties.
class ChildProcess {
 public:
  /// @throws BackendError if it cannot be started.
  explicit ChildProcess(const ChildOptions& options);
  ~ChildProcess();  ///< kills and reaps a child that was not waited for
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void send(int signal) const;
  ChildEnd wait();

 private:
  pid_t pid_ = -1;
  int output_fd_ = -1;
};

/// Starts and waits.
ChildEnd run_child(const ChildOptions& options);

/// The running program's own file.
std::filesystem::path own_program();

}  // namespace bitloom::tools
