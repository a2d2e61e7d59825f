#include "bitloom/io/json_rows.h"

#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>

#include "atomic_file.h"
#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "file_descriptor.h"

namespace bitloom::io {
namespace {

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 28;
// Parsed JSON takes up to a hundred times its text: "[[[[" does.
constexpr std::size_t kMaxRowBytes = std::size_t{1} << 22;

bool is_row(std::string_view line) {
  const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  return parsed.is_object();
}

/// Leaves the file at the end of a line: a row without its newline gets one, a torn row is cut.
void mend_tail(const std::filesystem::path& path, int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw system_error(path, "append to", errno);
  char last = '\n';
  if (status.st_size == 0 || ::pread(descriptor, &last, 1, status.st_size - 1) != 1) return;
  if (last == '\n') return;
  const std::string content = read_whole_file(path, kMaxBytes);
  const std::size_t newline = content.rfind('\n');
  const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
  if (is_row(std::string_view(content).substr(begin))) {
    write_all(descriptor, "\n", path);
  } else if (::ftruncate(descriptor, static_cast<off_t>(begin)) != 0) {
    throw system_error(path, "append to", errno);
  }
}

}  // namespace

std::string json_lines(const std::vector<nlohmann::json>& rows) {
  std::string lines;
  for (const nlohmann::json& row : rows) {
    lines += row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return lines;
}

void append_row(const std::filesystem::path& path, const nlohmann::json& row) {
  const FileDescriptor file(path, O_RDWR | O_CREAT | O_APPEND);
  if (file.get() < 0) throw system_error(path, "append to", errno);
  mend_tail(path, file.get());
  write_all(file.get(), json_lines({row}), path);
  if (::fsync(file.get()) != 0) throw system_error(path, "sync", errno);
}

std::vector<nlohmann::json> read_rows(const std::filesystem::path& path) {
  const std::string content = read_whole_file(path, kMaxBytes);
  std::vector<nlohmann::json> rows;
  std::size_t begin = 0;
  for (int number = 1; begin < content.size(); ++number) {
    const std::size_t newline = content.find('\n', begin);
    const bool finished = newline != std::string::npos;
    const std::string_view line =
        std::string_view(content).substr(begin, finished ? newline - begin : std::string::npos);
    begin = finished ? newline + 1 : content.size();
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (line.size() > kMaxRowBytes) {
      throw FormatError({.place = cat(path.string(), ":", number),
                         .expected = cat("a row of at most ", kMaxRowBytes, " bytes"),
                         .found = cat(line.size()),
                         .remedy = "remove the line"});
    }
    auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (row.is_object()) {
      rows.push_back(std::move(row));
    } else if (finished) {
      throw FormatError({.place = cat(path.string(), ":", number),
                         .expected = "a JSON object",
                         .found = std::string(line.substr(0, 40)),
                         .remedy = "remove the line"});
    }
  }
  return rows;
}

}  // namespace bitloom::io
