// Whole files that may be gzip. Private to datasets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace bitloom::datasets {

/// Content of `path`, unpacked if it starts with gzip's magic. Several gzip members one after the
/// other are one content. @throws FormatError if the file is missing, truncated, damaged, has bytes
/// after its last member, or is larger than `most_bytes` before or after unpacking.
std::string read_maybe_gzip(const std::filesystem::path& path, std::int64_t most_bytes);

}  // namespace bitloom::datasets
