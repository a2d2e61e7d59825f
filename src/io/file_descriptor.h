// A POSIX file descriptor that closes itself. Private to io.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

namespace bitloom::io {

class FileDescriptor {
 public:
  /// open(2) with O_CLOEXEC; `get()` is negative and errno set if it fails.
  FileDescriptor(const std::filesystem::path& path, int flags)
      : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace bitloom::io
