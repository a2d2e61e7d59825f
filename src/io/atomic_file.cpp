#include "atomic_file.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <vector>

#include "file_descriptor.h"

namespace bitloom::io {
namespace {

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

constexpr const char* kTemporarySuffix = ".tmp";

std::string temporary_prefix(const std::filesystem::path& target) {
  return cat(".", target.filename().string(), ".");
}

std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  static std::atomic<int> count{0};
  return directory_of(target) /
         cat(temporary_prefix(target), ::getpid(), "-", count++, kTemporarySuffix);
}

/// Removes what writers of `target` that were killed have left beside it. Failure is no harm.
void remove_leftovers(const std::filesystem::path& target) {
  const std::string prefix = temporary_prefix(target);
  std::error_code ignored;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory_of(target), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(kTemporarySuffix)) continue;
    const long writer = std::strtol(name.c_str() + prefix.size(), nullptr, 10);
    const bool gone = writer > 0 && ::kill(static_cast<pid_t>(writer), 0) != 0 && errno == ESRCH;
    if (gone) found.push_back(entry.path());
  }
  for (const std::filesystem::path& path : found) std::filesystem::remove(path, ignored);
}

}  // namespace

FormatError system_error(const std::filesystem::path& path, const std::string& action, int code) {
  return FormatError({.place = path.string(),
                      .expected = "to " + action + " it",
                      .found = std::generic_category().message(code),
                      .remedy = code == ENOENT ? "check the path" : ""});
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
  remove_leftovers(target_);
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
