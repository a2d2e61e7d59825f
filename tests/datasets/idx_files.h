// Small IDX files for the tests of datasets.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bitloom/io/whole_file.h"

namespace bitloom::datasets {

/// An IDX file of bytes: 00 00 08 RANK, sizes big-endian, values.
inline std::string idx_bytes(const std::vector<std::uint32_t>& dims, const std::string& values) {
  std::string out{0, 0, 8, static_cast<char>(dims.size())};
  for (const std::uint32_t dim : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(dim >> shift);
  }
  return out + values;
}

/// `count` values 0, 1, 2, ... modulo `modulus`.
inline std::string counted_bytes(std::size_t count, int modulus = 256) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    out += static_cast<char>(static_cast<int>(i) % modulus);
  }
  return out;
}

/// One gzip member.
inline std::string gzipped(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// A whole data set in `folder`: 20 training and 10 test images of 2 x 3, labels 0 .. 9 in turn.
inline void write_idx_set(const std::filesystem::path& folder) {
  io::write_whole_file(folder / "train-images-idx3-ubyte",
                       idx_bytes({20, 2, 3}, counted_bytes(120)));
  io::write_whole_file(folder / "train-labels-idx1-ubyte", idx_bytes({20}, counted_bytes(20, 10)));
  io::write_whole_file(folder / "t10k-images-idx3-ubyte", idx_bytes({10, 2, 3}, counted_bytes(60)));
  io::write_whole_file(folder / "t10k-labels-idx1-ubyte", idx_bytes({10}, counted_bytes(10, 10)));
}

}  // namespace bitloom::datasets
