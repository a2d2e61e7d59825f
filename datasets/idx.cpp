// The IDX format: a magic number 00 00 TYPE RANK, RANK big-endian sizes of 4 bytes, the values.
// Source: LeCun, "The MNIST database of handwritten digits".
#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "bitloom/core/error.h"
#include "gzip.h"
#include "memory.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
constexpr std::uint8_t kTypeU8 = 0x08;
constexpr const char* kRemedy = "apt-get install dataset-fashion-mnist or set data.path";

/// An IDX file of bytes.
struct Idx {
  std::filesystem::path path;
  std::array<std::int64_t, 3> dims{1, 1, 1};
  std::string values;

  const std::uint8_t* data() const { return reinterpret_cast<const std::uint8_t*>(values.data()); }
};

[[noreturn]] void fail(const std::filesystem::path& path, std::string expected, std::string found,
                       std::string remedy = "take another copy of the file") {
  throw FormatError({.place = path.string(),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = std::move(remedy)});
}

/// `stem` in the two spellings that are in use, plain or gzip.
std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& stem,
                                const std::string& kind) {
  std::error_code ignored;
  for (const std::string& name : {stem + "-" + kind, stem + "." + kind}) {
    for (const char* ending : {"", ".gz"}) {
      const auto path = folder / (name + ending);
      if (std::filesystem::exists(path, ignored)) return path;
    }
  }
  const bool has_folder = std::filesystem::is_directory(folder, ignored);
  fail(folder, cat("the file ", stem, "-", kind, " or ", stem, "-", kind, ".gz"),
       has_folder ? "none" : "no such folder", kRemedy);
}

std::uint8_t byte_at(const std::string& bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}

std::string hex_of(const std::string& bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "0x";
  for (std::size_t i = 0; i < 4; ++i) {
    out += kHex[byte_at(bytes, i) >> 4];
    out += kHex[byte_at(bytes, i) & 15];
  }
  return out;
}

/// Sizes of the header `head` of `path`.
std::array<std::int64_t, 3> read_dims(const std::filesystem::path& path, const std::string& head,
                                      std::uint8_t rank) {
  const std::size_t header_bytes = 4 + 4U * rank;
  if (head.size() < header_bytes) {
    fail(path, cat("an IDX header of ", header_bytes, " bytes"), cat(head.size(), " bytes"));
  }
  const std::string magic{0, 0, static_cast<char>(kTypeU8), static_cast<char>(rank)};
  if (!head.starts_with(magic)) {
    fail(path, cat("magic number ", hex_of(magic), " (IDX, u8, ", int{rank}, " dimensions)"),
         hex_of(head), "check that the file is what its name says");
  }
  std::array<std::int64_t, 3> dims{1, 1, 1};
  for (std::size_t axis = 0; axis < rank; ++axis) {
    dims[axis] = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      dims[axis] = dims[axis] * 256 + byte_at(head, 4 + 4 * axis + i);
    }
  }
  return dims;
}

Idx read_file(const std::filesystem::path& path, std::uint8_t rank) {
  MaybeGzip file(path, kMostBytes);
  Idx idx{.path = path, .dims = read_dims(path, file.read(4 + 4 * rank), rank)};
  const auto& d = idx.dims;
  std::int64_t product = 1;
  for (const std::int64_t dim : d) {
    // Each size is below 2^32 and the running product at most 2^30: no overflow.
    product = std::min(product * dim, kMostBytes + 1);
  }
  const std::string sizes =
      rank == 1 ? cat("[", d[0], "]") : cat("[", d[0], ", ", d[1], ", ", d[2], "]");
  if (product > kMostBytes) fail(path, cat("at most ", kMostBytes, " values"), "sizes " + sizes);
  require_memory(path.string(), product, image_memory_bytes());
  idx.values = file.read(product);
  const auto held = static_cast<std::int64_t>(idx.values.size());
  if (held < product) {
    fail(path, cat(product, " values for sizes ", sizes), cat(held, ": the file is truncated"));
  }
  if (!file.read(1).empty()) {
    fail(path, cat(product, " values for sizes ", sizes), "more bytes after them");
  }
  return idx;
}

std::vector<std::int32_t> labels_of(const Idx& file, std::int64_t classes) {
  std::vector<std::int32_t> labels(file.data(), file.data() + file.dims[0]);
  const auto wrong = std::find_if(labels.begin(), labels.end(),
                                  [classes](std::int32_t label) { return label >= classes; });
  if (wrong != labels.end()) {
    fail(file.path, cat("labels 0 to ", classes - 1),
         cat(*wrong, " for image ", wrong - labels.begin()), "set data.classes");
  }
  return labels;
}

}  // namespace

ImageSet read_idx(const DataOptions& options, Split split) {
  const std::string stem = split == Split::kTest ? "t10k" : "train";
  const Idx images = read_file(find_file(options.path, stem + "-images", "idx3-ubyte"), 3);
  const Idx labels = read_file(find_file(options.path, stem + "-labels", "idx1-ubyte"), 1);
  const auto [count, height, width] = images.dims;
  if (count == 0 || height == 0 || width == 0) {
    fail(images.path, "at least one image", cat("sizes [", count, ", ", height, ", ", width, "]"));
  }
  if (labels.dims[0] != count) {
    fail(labels.path, cat(count, " labels, as many as images"), cat(labels.dims[0]));
  }
  ImageSet set{.images = Tensor(DType::kU8, {count, 1, height, width}),
               .labels = labels_of(labels, options.classes),
               .classes = options.classes};
  // One channel: the file's [N, H, W] is NHWC.
  std::copy_n(images.data(), set.images.elements(), set.images.data<std::uint8_t>());
  return set;
}

}  // namespace bitloom::datasets
