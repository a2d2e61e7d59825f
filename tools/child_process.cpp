#include "child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/core/pin_threads.h"

namespace bitloom::tools {

ChildProcess::ChildProcess(const ChildOptions& options) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw BackendError({"child process", "a pipe", std::strerror(errno), "close open files"});
  }
  std::string name = options.program.string();
  std::vector<std::string> words = options.arguments;
  std::vector<char*> argv{name.data()};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  if (options.take_stderr) posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  const int error = [&] {
    const Unpinned as_we_began;  // a child that pins threads looks for cores of its own
    return posix_spawn(&pid_, name.c_str(), &actions, nullptr, argv.data(), environ);
  }();
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    throw BackendError({name, "a program that starts", std::strerror(error), ""});
  }
  output_fd_ = ends[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  wait();
}

void ChildProcess::send(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

ChildEnd ChildProcess::wait() {
  ChildEnd end;
  std::array<char, 4096> part{};
  for (;;) {
    const ssize_t count = read(output_fd_, part.data(), part.size());
    if (count > 0) {
      end.output.append(part.data(), static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      break;
    }
  }
  close(output_fd_);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFSIGNALED(status)) {
    end.signal = WTERMSIG(status);
  } else {
    end.exit_code = WEXITSTATUS(status);
  }
  return end;
}

ChildEnd run_child(const ChildOptions& options) { return ChildProcess(options).wait(); }

std::filesystem::path own_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

}  // namespace bitloom::tools
