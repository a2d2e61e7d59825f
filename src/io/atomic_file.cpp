#include "atomic_file.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "file_descriptor.h"

namespace bitloom::io {
namespace {

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  static std::atomic<int> count{0};
  const std::string name = cat(".", target.filename().string(), ".", ::getpid(), "-", count++);
  return directory_of(target) / (name + ".tmp");
}

void sync(const std::filesystem::path& path, int flags) {
  const FileDescriptor file(path, flags);
  if (file.get() < 0 || ::fsync(file.get()) != 0) throw system_error(path, "sync", errno);
}

}  // namespace

FormatError system_error(const std::filesystem::path& path, const std::string& action, int code) {
  return FormatError({.place = path.string(),
                      .expected = "to " + action + " it",
                      .found = std::generic_category().message(code),
                      .remedy = ""});
}

AtomicFile::AtomicFile(std::filesystem::path target)
    : target_(std::move(target)), temporary_(temporary_beside(target_)) {}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::commit() {
  sync(temporary_, O_RDONLY);
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    throw system_error(target_, "write", errno);
  }
  committed_ = true;
  sync(directory_of(target_), O_RDONLY | O_DIRECTORY);
}

}  // namespace bitloom::io
