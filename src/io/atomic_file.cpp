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

}  // namespace

FormatError system_error(const std::filesystem::path& path, const std::string& action, int code) {
  return FormatError({.place = path.string(),
                      .expected = "to " + action + " it",
                      .found = std::generic_category().message(code),
                      .remedy = ""});
}

void write_all(int descriptor, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw system_error(path, "write", errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
}

AtomicFile::AtomicFile(std::filesystem::path target)
    : target_(std::move(target)), temporary_(temporary_beside(target_)) {}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::commit(std::string_view content) {
  {
    const FileDescriptor file(temporary_, O_WRONLY | O_CREAT | O_EXCL);
    if (file.get() < 0) throw system_error(target_, "write", errno);
    write_all(file.get(), content, target_);
    if (::fsync(file.get()) != 0) throw system_error(target_, "write", errno);
  }
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    throw system_error(target_, "write", errno);
  }
  committed_ = true;
  const std::filesystem::path directory = directory_of(target_);
  const FileDescriptor opened(directory, O_RDONLY | O_DIRECTORY);
  if (opened.get() < 0 || ::fsync(opened.get()) != 0) throw system_error(directory, "sync", errno);
}

}  // namespace bitloom::io
