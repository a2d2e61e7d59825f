// A file that appears whole or not at all. Private to io.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "bitloom/core/error.h"

namespace bitloom::io {

/// Writes all of `content`. @throws FormatError about `path` if it cannot.
void write_all(int descriptor, std::string_view content, const std::filesystem::path& path);

/// FormatError about `path` with the reason of the last failed system call.
FormatError system_error(const std::filesystem::path& path, const std::string& action, int code);

/// Owns the temporary file beside `target` while commit() fills it; removes what is left of it.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Removes temporary files of `target` whose writers were killed, fills its own, fsyncs it,
  /// renames it and fsyncs the directory.
  /// @throws FormatError if a step fails; then nothing has changed.
  void commit(std::string_view content);

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace bitloom::io
