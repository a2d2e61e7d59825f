#include "bitloom/datasets/dataset.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/core/words.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

/// One word of `data.reader`.
struct Reader {
  std::string word;
  DatasetReader read;
};

std::vector<Reader>& readers() {
  static std::vector<Reader> table = {{"idx", read_idx},
                                      {"cifar10", read_cifar10},
                                      {"hdf5", read_hdf5},
                                      {"folder", read_image_folder},
                                      {"synthetic", make_synthetic}};
  return table;
}

const Reader& find_reader(const std::string& word) {
  for (const Reader& reader : readers()) {
    if (reader.word == word) return reader;
  }
  std::string known;
  for (const std::string& name : known_readers()) known += (known.empty() ? "" : ", ") + name;
  throw ConfigError({.place = "data.reader",
                     .expected = "one of " + known,
                     .found = "'" + word + "'",
                     .remedy = ""});
}

/// Words of register_dataset; they name data sets that need no folder.
std::vector<std::string>& registered_words() {
  static std::vector<std::string> words;
  return words;
}

/// What a registered reader gave, with its count of classes set.
/// @throws FormatError unless it is a set of labelled u8 images.
ImageSet checked(ImageSet set, const std::string& word, const DataOptions& options, Split split) {
  const auto fail = [&](const std::string& expected, const std::string& found) {
    throw FormatError({.place = cat("data set '", word, "', ", to_word(split)),
                       .expected = expected,
                       .found = found,
                       .remedy = "mend the function given to register_dataset"});
  };
  const Shape& shape = set.images.shape();
  if (set.images.empty() || set.images.dtype() != DType::kU8 || shape.rank() != 4 ||
      set.images.elements() == 0) {
    fail("u8 images [N, C, H, W], at least one",
         set.images.empty() ? "none" : cat(to_word(set.images.dtype()), " ", to_string(shape)));
  }
  if (shape.n() != set.size()) fail(cat(shape.n(), " labels, one an image"), cat(set.size()));
  for (const std::int32_t label : set.labels) {
    if (label < 0 || label >= options.classes) {
      fail(cat("labels of 0 .. ", options.classes - 1, " (data.classes)"), cat(label));
    }
  }
  set.classes = options.classes;
  return set;
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
  const auto& own = registered_words();
  if (options.reader == "synthetic" ||
      std::find(own.begin(), own.end(), options.reader) != own.end())
    return options.reader;
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
  for (const Reader& reader : readers()) words.push_back(reader.word);
  return words;
}

void register_dataset(const std::string& word, DatasetReader read) {
  require_new_word("register_dataset", word, known_readers());
  readers().push_back(
      {word, [word, read = std::move(read)](const DataOptions& options, Split split) {
         return checked(read(options, split), word, options, split);
       }});
  registered_words().push_back(word);
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
