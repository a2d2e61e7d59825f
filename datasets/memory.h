// Whether a data set fits into memory, asked before it is read. Private to datasets.
#pragma once

#include <cstdint>
#include <string>

namespace bitloom::datasets {

/// Bytes that images may take: half of what is available, as splitting copies them once.
std::int64_t image_memory_bytes();

/// @throws FormatError with `place` unless `bytes` of images are at most `most`.
void require_memory(const std::string& place, std::int64_t bytes, std::int64_t most);

}  // namespace bitloom::datasets
