// The IDX format: a magic number 00 00 TYPE RANK, RANK big-endian sizes of 4 bytes, the values.
// Source: LeCun, "The MNIST database of handwritten digits".
#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "bitloom/core/error.h"
#include "gzip.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
constexpr std::uint8_t kTypeU8 = 0x08;
constexpr const char* kRemedy = "apt-get install dataset-fashion-mnist or set data.path";

/// An IDX file of bytes: its sizes and where its values start.
struct Idx {
  std::filesystem::path path;
  std::string bytes;
  std::array<std::int64_t, 3> dims{1, 1, 1};
  std::size_t begin = 0;

  const std::uint8_t* values() const {
    return reinterpret_cast<const std::uint8_t*>(bytes.data()) + begin;
  }
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

Idx read_file(const std::filesystem::path& path, std::uint8_t rank) {
  Idx idx{.path = path, .bytes = read_maybe_gzip(path, kMostBytes), .begin = 4 + 4U * rank};
  if (idx.bytes.size() < idx.begin) {
    fail(path, cat("an IDX header of ", idx.begin, " bytes"), cat(idx.bytes.size(), " bytes"));
  }
  const std::string magic{0, 0, static_cast<char>(kTypeU8), static_cast<char>(rank)};
  if (!idx.bytes.starts_with(magic)) {
    fail(path, cat("magic number ", hex_of(magic), " (IDX, u8, ", int{rank}, " dimensions)"),
         hex_of(idx.bytes), "check that the file is what its name says");
  }
  const auto held = static_cast<std::int64_t>(idx.bytes.size() - idx.begin);
  std::int64_t product = 1;
  bool fits = true;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    std::int64_t dim = 0;
    for (std::size_t i = 0; i < 4; ++i) dim = dim * 256 + byte_at(idx.bytes, 4 + 4 * axis + i);
    idx.dims[axis] = dim;
    // Each size is below 2^32 and the running product at most 2^30: no overflow.
    product *= dim;
    if (product > kMostBytes) fits = false, product = kMostBytes;
  }
  const auto& d = idx.dims;
  const std::string sizes =
      rank == 1 ? cat("[", d[0], "]") : cat("[", d[0], ", ", d[1], ", ", d[2], "]");
  if (!fits) fail(path, cat("at most ", kMostBytes, " values"), "sizes " + sizes);
  if (held < product) {
    fail(path, cat(product, " values for sizes ", sizes), cat(held, ": the file is truncated"));
  }
  if (held > product) {
    fail(path, cat(product, " values for sizes ", sizes),
         cat(held - product, " trailing bytes after them"));
  }
  return idx;
}

std::vector<std::int32_t> labels_of(const Idx& file, std::int64_t classes) {
  std::vector<std::int32_t> labels(file.values(), file.values() + file.dims[0]);
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
  std::copy_n(images.values(), set.images.elements(), set.images.data<std::uint8_t>());
  return set;
}

}  // namespace bitloom::datasets
