// HDF5 files train.h5 and test.h5: /images u8 [N, H, W, C] and /labels, integers [N].
#include <filesystem>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_array.h"
#include "memory.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

constexpr const char* kImages = "images";
constexpr const char* kLabels = "labels";
constexpr std::int64_t kMostImages = std::int64_t{1} << 31;
constexpr std::int64_t kMostChannels = 64;

[[noreturn]] void fail(const std::filesystem::path& path, const char* name, std::string expected,
                       std::string found, std::string remedy) {
  throw FormatError({.place = cat(path.string(), ": ", name),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = std::move(remedy)});
}

void require_images(const std::filesystem::path& path, const Shape& shape) {
  if (shape.rank() != 4) {
    fail(path, kImages, "4 dimensions [N, H, W, C]", cat(shape.rank()),
         "gray images have C = 1, a dimension of its own");
  }
  if (shape.elements() == 0 || shape.n() >= kMostImages || shape.c() > kMostChannels) {
    fail(path, kImages, cat("at least one image, of 1 to ", kMostChannels, " channels"),
         cat("[", shape.n(), ", ", shape.h(), ", ", shape.w(), ", ", shape.c(), "]"),
         "the order is [N, H, W, C]");
  }
}

}  // namespace

ImageSet read_hdf5(const DataOptions& options, Split split) {
  const auto path =
      std::filesystem::path(options.path) / (split == Split::kTest ? "test.h5" : "train.h5");
  ImageSet set{.images = io::read_hdf5_array(path, kImages, DType::kU8, image_memory_bytes()),
               .labels = {},
               .classes = options.classes};
  const Shape& shape = set.images.shape();
  require_images(path, shape);
  const Tensor labels = io::read_hdf5_array(path, kLabels, DType::kS64, image_memory_bytes());
  if (labels.shape() != Shape{shape.n()}) {
    fail(path, kLabels, cat("shape [", shape.n(), "], a label an image"), to_string(labels.shape()),
         "");
  }
  set.labels.reserve(static_cast<std::size_t>(shape.n()));
  for (const std::int64_t label : labels.span<std::int64_t>()) {
    if (label < 0 || label >= options.classes) {
      fail(path, kLabels, cat("labels 0 to ", options.classes - 1),
           cat(label, " for image ", set.labels.size()), "set data.classes");
    }
    set.labels.push_back(static_cast<std::int32_t>(label));
  }
  return set;
}

}  // namespace bitloom::datasets
