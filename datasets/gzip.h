// Files that may be gzip, read from front to back. Private to datasets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace bitloom::datasets {

/// The content of a file, unpacked if it starts with gzip's magic. Several gzip members one after
/// the other are one content. Only what is asked for is unpacked: a megabyte may hold a gigabyte.
class MaybeGzip {
 public:
  /// @throws FormatError if the file is missing or larger than `most_packed_bytes`, below 2^32.
  MaybeGzip(std::filesystem::path path, std::int64_t most_packed_bytes);
  ~MaybeGzip();
  MaybeGzip(const MaybeGzip&) = delete;
  MaybeGzip& operator=(const MaybeGzip&) = delete;

  /// The next `bytes` of the content, or all that is left. Memory grows with what is there, not
  /// with what was asked for. @throws FormatError if the file is truncated or damaged, or has bytes
  /// after its last member.
  std::string read(std::int64_t bytes);

 private:
  class Inflater;

  std::filesystem::path path_;
  std::string packed_;
  std::size_t taken_ = 0;               ///< of a file that is not packed
  std::unique_ptr<Inflater> inflater_;  ///< of one that is
};

}  // namespace bitloom::datasets
