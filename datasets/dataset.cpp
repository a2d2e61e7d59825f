#include "bitloom/datasets/dataset.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

constexpr std::array<Reader, 5> kReaders{{{"idx", read_idx},
                                          {"cifar10", read_cifar10},
                                          {"hdf5", read_hdf5},
                                          {"folder", read_image_folder},
                                          {"synthetic", make_synthetic}}};

const Reader& find_reader(const std::string& word) {
  for (const Reader& reader : kReaders) {
    if (reader.word == word) return reader;
  }
  std::string known;
  for (const std::string& name : known_readers()) known += (known.empty() ? "" : ", ") + name;
  throw ConfigError({.place = "data.reader",
                     .expected = "one of " + known,
                     .found = "'" + word + "'",
                     .remedy = ""});
}

void require(bool ok, const char* key, const std::string& expected, std::int64_t found) {
  if (ok) return;
  throw ConfigError(
      {.place = key, .expected = expected, .found = std::to_string(found), .remedy = ""});
}

void require_valid(const DataOptions& options) {
  require(options.classes >= 2 && options.classes <= 100000, "data.classes", "2 to 100000",
          options.classes);
  require(options.validation_images >= 0, "data.validation_images", "0 or more",
          options.validation_images);
  require(options.train_limit >= 0, "data.train_limit", "0 (all) or more", options.train_limit);
  require(options.test_limit >= 0, "data.test_limit", "0 (all) or more", options.test_limit);
}

/// The images of `indices`, in that order.
ImageSet gather(const ImageSet& set, std::span<const std::uint32_t> indices) {
  const Shape shape = set.images.shape().with_batch(static_cast<std::int64_t>(indices.size()));
  ImageSet out{.images = Tensor(DType::kU8, shape), .labels = {}, .classes = set.classes};
  const std::int64_t bytes = set.images.elements() / set.size();
  std::uint8_t* dst = out.images.data<std::uint8_t>();
  out.labels.reserve(indices.size());
  for (const std::uint32_t index : indices) {
    dst = std::copy_n(set.images.data<std::uint8_t>() + index * bytes, bytes, dst);
    out.labels.push_back(set.labels[index]);
  }
  return out;
}

ImageSet first_images(ImageSet set, std::int64_t limit) {
  if (limit == 0 || limit >= set.size()) return set;
  std::vector<std::uint32_t> indices(static_cast<std::size_t>(limit));
  std::iota(indices.begin(), indices.end(), 0U);
  return gather(set, indices);
}

std::string name_of(const DataOptions& options) {
  if (options.reader == "synthetic") return options.reader;
  std::filesystem::path path = std::filesystem::path(options.path).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.filename().string();
}

}  // namespace

ConstTensorView ImageSet::view(std::int64_t begin, std::int64_t count) const {
  BITLOOM_ASSERT(begin >= 0 && count >= 0 && begin + count <= size());
  const Shape shape = images.shape().with_batch(count);
  const std::int64_t bytes = shape.c() * shape.h() * shape.w();
  return {DType::kU8, shape, images.data<std::uint8_t>() + begin * bytes};
}

std::string_view to_word(Split split) {
  switch (split) {
    case Split::kTrain:
      return "train";
    case Split::kValidation:
      return "validation";
    case Split::kTest:
      return "test";
  }
  return "";
}

const ImageSet& images_of(const Dataset& dataset, Split split) {
  switch (split) {
    case Split::kTrain:
      return dataset.train;
    case Split::kValidation:
      return dataset.validation;
    case Split::kTest:
      break;
  }
  return dataset.test;
}

std::vector<std::string> known_readers() {
  std::vector<std::string> words;
  for (const Reader& reader : kReaders) words.emplace_back(reader.word);
  return words;
}

Dataset load_dataset(const DataOptions& options) {
  Dataset dataset;
  dataset.test = load_test_set(options);
  const ImageSet all = find_reader(options.reader).read(options, Split::kTrain);
  const Shape one = all.images.shape().with_batch(1);
  if (dataset.test.images.shape().with_batch(1) != one) {
    throw FormatError({.place = "data: the test images",
                       .expected = "the size of the training images, " + to_string(one),
                       .found = to_string(dataset.test.images.shape().with_batch(1)),
                       .remedy = "set data.path"});
  }
  require(options.validation_images < all.size(), "data.validation_images",
          cat("fewer than the ", all.size(), " training images"), options.validation_images);

  // The head of a seeded permutation is held out; train_limit takes from what follows it, so that
  // a limited set is still a fair sample.
  const auto order = permutation(RandomStream(options.split_seed, "validation split"),
                                 static_cast<std::uint32_t>(all.size()));
  const std::int64_t rest = all.size() - options.validation_images;
  const std::int64_t used = options.train_limit == 0 ? rest : std::min(rest, options.train_limit);
  const auto middle = order.begin() + options.validation_images;
  std::vector<std::uint32_t> held(order.begin(), middle);
  std::vector<std::uint32_t> kept(middle, middle + used);
  std::sort(held.begin(), held.end());
  std::sort(kept.begin(), kept.end());
  dataset.name = name_of(options);
  dataset.image_shape = one;
  dataset.classes = options.classes;
  dataset.validation = gather(all, held);
  dataset.train = gather(all, kept);
  return dataset;
}

ImageSet load_test_set(const DataOptions& options) {
  require_valid(options);
  return first_images(find_reader(options.reader).read(options, Split::kTest), options.test_limit);
}

}  // namespace bitloom::datasets
