// CIFAR-10's binary files: records of a label byte and 3 planes of 32 x 32 bytes (R, G, B).
// Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
#include <filesystem>
#include <string>
#include <system_error>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

constexpr std::int64_t kSide = 32;
constexpr std::int64_t kPlane = kSide * kSide;
constexpr std::int64_t kRecord = 1 + 3 * kPlane;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 28;
constexpr int kTrainFiles = 5;

[[noreturn]] void fail(const std::filesystem::path& path, std::string expected, std::string found,
                       std::string remedy) {
  throw FormatError({.place = path.string(),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = std::move(remedy)});
}

std::vector<std::string> file_names(Split split) {
  if (split == Split::kTest) return {"test_batch.bin"};
  std::vector<std::string> names;
  for (int i = 1; i <= kTrainFiles; ++i) names.push_back(cat("data_batch_", i, ".bin"));
  return names;
}

std::string read_records(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    fail(path, "a file of CIFAR-10's binary version", "none",
         "unpack cifar-10-binary.tar.gz and set data.path to its folder");
  }
  std::string bytes = io::read_whole_file(path, kMostBytes);
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (size == 0 || size % kRecord != 0) {
    fail(path, cat("records of ", kRecord, " bytes"),
         cat(size, " bytes", size == 0 ? "" : cat(", ", size % kRecord, " too many")),
         "take another copy of the file");
  }
  return bytes;
}

// Planes [3, 32, 32] to pixels [32, 32, 3].
void interleave(const char* planes, std::uint8_t* pixels) {
  for (std::int64_t i = 0; i < kPlane; ++i) {
    for (std::int64_t c = 0; c < 3; ++c) {
      *pixels++ = static_cast<std::uint8_t>(planes[c * kPlane + i]);
    }
  }
}

}  // namespace

ImageSet read_cifar10(const DataOptions& options, Split split) {
  std::vector<std::string> contents;
  std::vector<std::filesystem::path> paths;
  std::int64_t count = 0;
  for (const std::string& name : file_names(split)) {
    paths.push_back(std::filesystem::path(options.path) / name);
    contents.push_back(read_records(paths.back()));
    count += static_cast<std::int64_t>(contents.back().size()) / kRecord;
  }
  ImageSet set{.images = Tensor(DType::kU8, {count, 3, kSide, kSide}),
               .labels = {},
               .classes = options.classes};
  set.labels.reserve(static_cast<std::size_t>(count));
  std::uint8_t* pixels = set.images.data<std::uint8_t>();
  for (std::size_t file = 0; file < contents.size(); ++file) {
    const std::string& bytes = contents[file];
    for (std::size_t at = 0; at < bytes.size(); at += static_cast<std::size_t>(kRecord)) {
      const auto label = static_cast<std::int32_t>(static_cast<std::uint8_t>(bytes[at]));
      if (label >= options.classes) {
        fail(paths[file], cat("labels 0 to ", options.classes - 1),
             cat(label, " in record ", at / static_cast<std::size_t>(kRecord)),
             "set data.classes, or take another copy of the file");
      }
      set.labels.push_back(label);
      interleave(bytes.data() + at + 1, pixels);
      pixels += 3 * kPlane;
    }
  }
  return set;
}

}  // namespace bitloom::datasets
