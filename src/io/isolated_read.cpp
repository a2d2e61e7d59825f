#include "isolated_read.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "bitloom/core/error.h"

#if defined(BITLOOM_COVERAGE)
extern "C" void __gcov_dump(void);  // of libgcov: _exit would lose the child's counts
#endif

namespace bitloom::io {
namespace {

constexpr std::size_t kMostText = 4096;

/// What goes through the pipe ahead of the bytes: those of a tensor, or of an error's text.
struct Header {
  bool is_tensor = false;
  DType dtype = DType::kU8;
  Shape shape;
  std::size_t text_bytes = 0;
};

bool write_all(int pipe, const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(pipe, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    next += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

bool read_all(int pipe, void* data, std::size_t size) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::read(pipe, next, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    next += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

void send_text(int pipe, const char* text) {
  const std::string cut = std::string(text).substr(0, kMostText);
  const Header header{.text_bytes = cut.size()};
  write_all(pipe, &header, sizeof header);
  write_all(pipe, cut.data(), cut.size());
}

ErrorText no_memory(const std::filesystem::path& file, const char* why) {
  return {file.string(), "content that fits into memory", why,
          "end other programs, or take a smaller file"};
}

void limit_cpu(const std::filesystem::path& file) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(file, error);
  const rlim_t seconds = 60 + (error ? 0 : static_cast<rlim_t>(bytes >> 20));
  const rlimit limit{seconds, seconds};
  ::setrlimit(RLIMIT_CPU, &limit);
}

/// The child's whole life; _exit leaves the parent's buffers and clean-up alone.
[[noreturn]] void live_as_child(int pipe, const std::filesystem::path& file,
                                const std::function<Tensor()>& read) {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    std::signal(signal, SIG_DFL);
  }
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  limit_cpu(file);
  try {
    const Tensor tensor = read();
    const Header header{.is_tensor = true, .dtype = tensor.dtype(), .shape = tensor.shape()};
    if (write_all(pipe, &header, sizeof header)) write_all(pipe, tensor.raw(), tensor.bytes());
  } catch (const FormatError& error) {
    send_text(pipe, error.what());
  } catch (const Error& error) {
    send_text(pipe, cat(file.string(), ": ", error.what()).c_str());
  } catch (const std::exception& error) {
    send_text(pipe, to_string(no_memory(file, error.what())).c_str());
  }
#if defined(BITLOOM_COVERAGE)
  __gcov_dump();
#endif
  ::_exit(0);
}

/// The child's answer; an empty tensor and text if there was none.
struct Answer {
  bool is_tensor = false;
  Tensor tensor;
  std::string text;
};

Answer receive(int pipe) {
  Answer answer;
  Header header;
  if (!read_all(pipe, &header, sizeof header)) return answer;
  if (header.is_tensor) {
    answer.tensor = Tensor(header.dtype, header.shape);
    answer.is_tensor = read_all(pipe, answer.tensor.raw(), answer.tensor.bytes());
  } else {
    answer.text.resize(std::min(header.text_bytes, kMostText));
    if (!read_all(pipe, answer.text.data(), answer.text.size())) answer.text.clear();
  }
  return answer;
}

}  // namespace

Tensor read_isolated(const std::filesystem::path& file, const std::function<Tensor()>& read) {
  const auto fail = [&](std::string expected, std::string found, std::string remedy) {
    throw FormatError({file.string(), std::move(expected), std::move(found), std::move(remedy)});
  };
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) fail("a pipe to read it through", "none", "close other programs");
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe[0]);
    live_as_child(pipe[1], file, read);
  }
  ::close(pipe[1]);
  Answer answer;
  if (child > 0) {
    try {
      answer = receive(pipe[0]);
    } catch (const std::exception& error) {
      answer.text = to_string(no_memory(file, error.what()));
    }
  }
  ::close(pipe[0]);
  if (child < 0) fail("a process to read it in", "none", "close other programs");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answer.text.empty()) throw FormatError(answer.text);
  if (!answer.is_tensor) {
    fail("readable content",
         WIFSIGNALED(status)
             ? cat("a damaged file, on which HDF5 ended with signal ", WTERMSIG(status))
             : std::string("a damaged file"),
         "take another copy of the file");
  }
  return std::move(answer.tensor);
}

}  // namespace bitloom::io
