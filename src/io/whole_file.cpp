#include "bitloom/io/whole_file.h"

#include <sys/stat.h>

#include <cerrno>

#include "atomic_file.h"
#include "bitloom/core/error.h"
#include "file_descriptor.h"

namespace bitloom::io {

void write_whole_file(const std::filesystem::path& path, std::string_view content) {
  AtomicFile(path).commit(content);
}

std::string read_whole_file(const std::filesystem::path& path, std::int64_t most_bytes) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const FileDescriptor in(path, O_RDONLY | O_NONBLOCK);
  if (in.get() < 0) throw system_error(path, "read", errno);
  struct stat status {};
  if (::fstat(in.get(), &status) != 0) throw system_error(path, "read", errno);
  if (!S_ISREG(status.st_mode)) {
    throw FormatError({.place = path.string(),
                       .expected = "a regular file",
                       .found = S_ISDIR(status.st_mode) ? "a folder" : "a device or pipe",
                       .remedy = S_ISDIR(status.st_mode) ? "name a file in it" : "check the path"});
  }
  if (status.st_size > most_bytes) {
    throw FormatError({.place = path.string(),
                       .expected = cat("at most ", most_bytes, " bytes"),
                       .found = cat(status.st_size),
                       .remedy = "check the path"});
  }
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t got = ::read(in.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(path, "read", errno);
    if (got == 0) break;  // it shrank meanwhile
    filled += static_cast<std::size_t>(got);
  }
  content.resize(filled);
  return content;
}

}  // namespace bitloom::io
