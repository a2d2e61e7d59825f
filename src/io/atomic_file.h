// A file that appears whole or not at all. Private to io.
#pragma once

#include <filesystem>
#include <string>

#include "bitloom/core/error.h"

namespace bitloom::io {

/// FormatError about `path` with the reason of the last failed system call.
FormatError system_error(const std::filesystem::path& path, const std::string& action, int code);

/// Owns the temporary file beside `target` until commit() renames it; else removes it.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }

  /// fsync, rename, fsync of the directory. @pre the file is written and closed.
  /// @throws FormatError if a step fails.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace bitloom::io
