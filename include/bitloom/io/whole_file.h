// Whole files in one go: a reader sees the old content or the new one, never a part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace bitloom::io {

/// Writes a temporary file in the same directory, fsyncs it, renames it over `path` and fsyncs the
/// directory. @throws FormatError if any step fails; then the old file stays as it was.
void write_whole_file(const std::filesystem::path& path, std::string_view content);

/// @throws FormatError if the file is missing, not a regular file, unreadable or larger than
///         `most_bytes`.
std::string read_whole_file(const std::filesystem::path& path,
                            std::int64_t most_bytes = std::int64_t{64} << 20);

}  // namespace bitloom::io
