// A folder of pictures: path/train/CLASS/*.jpg and path/test (or val)/CLASS/*.jpg; .jpeg and .png
// too. Classes are numbered in the order of their folders' names.
#include <algorithm>
#include <cctype>
#include <exception>
#include <filesystem>
#include <system_error>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "memory.h"
#include "readers.h"
#include "resize.h"

namespace bitloom::datasets {
namespace {

namespace fs = std::filesystem;

struct Listed {
  fs::path file;
  std::int32_t label = 0;
};

[[noreturn]] void fail(const fs::path& place, std::string expected, std::string found,
                       std::string remedy) {
  throw FormatError({.place = place.string(),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = std::move(remedy)});
}

void require_options(const DataOptions& options) {
  if (options.resize == 0 || options.resize >= options.image_size) return;
  throw ConfigError({.place = "data.resize",
                     .expected = cat("0 or at least data.image_size = ", options.image_size),
                     .found = cat(options.resize),
                     .remedy = "the crop is cut out of the resized image"});
}

fs::path folder_of(const DataOptions& options, Split split) {
  std::error_code ignored;
  const fs::path root = options.path;
  if (split != Split::kTest) {
    if (fs::is_directory(root / "train", ignored)) return root / "train";
    fail(root / "train", "a folder with a folder of images for each class", "none",
         "set data.path to the folder that holds train and test");
  }
  for (const char* name : {"test", "val"}) {
    if (fs::is_directory(root / name, ignored)) return root / name;
  }
  fail(root / "test", "a folder with a folder of images for each class, or one named val", "none",
       "set data.path to the folder that holds train and test");
}

/// Sorted names of the entries that `take` accepts; hidden ones are left out.
template <typename Take>
std::vector<std::string> sorted_names(const fs::path& folder, const Take& take) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(".") && take(*entry)) names.push_back(name);
  }
  if (error) fail(folder, "a readable folder", error.message(), "");
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> class_names(const fs::path& folder) {
  return sorted_names(folder, [](const fs::directory_entry& entry) {
    std::error_code ignored;
    return entry.is_directory(ignored);
  });
}

bool is_picture(const fs::directory_entry& entry) {
  std::string ending = entry.path().extension().string();
  for (char& letter : ending) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

std::vector<std::string> require_classes(const DataOptions& options, const fs::path& folder) {
  std::vector<std::string> names = class_names(folder);
  if (static_cast<std::int64_t>(names.size()) != options.classes) {
    fail(folder, cat("data.classes = ", options.classes, " folders, one a class"),
         cat(names.size()), "set data.classes");
  }
  return names;
}

/// The test images' labels mean the training images' only if the names agree.
void require_same_classes(const DataOptions& options, const fs::path& folder,
                          const std::vector<std::string>& names) {
  std::error_code ignored;
  const fs::path train = fs::path(options.path) / "train";
  if (!fs::is_directory(train, ignored)) return;
  const std::vector<std::string> wanted = class_names(train);
  const auto [here, there] =
      std::mismatch(names.begin(), names.end(), wanted.begin(), wanted.end());
  if (here == names.end() && there == wanted.end()) return;
  fail(folder,
       cat("the classes of ", train.string(), ", among them '",
           there == wanted.end() ? "nothing more" : *there, "'"),
       here == names.end() ? "none of that name" : cat("'", *here, "'"),
       "both folders need the same class folders");
}

std::vector<Listed> list_images(const fs::path& folder, const std::vector<std::string>& classes) {
  std::vector<Listed> files;
  for (std::size_t label = 0; label < classes.size(); ++label) {
    const fs::path place = folder / classes[label];
    const std::vector<std::string> names = sorted_names(place, is_picture);
    if (names.empty()) fail(place, "at least one .jpg, .jpeg or .png", "none", "");
    for (const std::string& name : names) {
      files.push_back({place / name, static_cast<std::int32_t>(label)});
    }
  }
  return files;
}

Picture prepared(const fs::path& file, const DataOptions& options) {
  Picture picture = read_picture(file, options.gray);
  if (options.resize > 0) picture = resize_shorter_side(picture, options.resize);
  if (options.image_size == 0) return picture;
  if (std::min(picture.height, picture.width) < options.image_size) {
    fail(file, cat("at least data.image_size = ", options.image_size, " rows and columns"),
         cat(picture.height, " x ", picture.width), "set data.resize, which enlarges too");
  }
  return center_crop(picture, options.image_size);
}

/// Decodes files[begin, end) into their places.
void decode_range(const std::vector<Listed>& files, const DataOptions& options, std::int64_t begin,
                  std::int64_t end, Tensor& images) {
  const Shape& shape = images.shape();
  const std::int64_t bytes = shape.c() * shape.h() * shape.w();
  for (std::int64_t i = begin; i < end; ++i) {
    const fs::path& file = files[static_cast<std::size_t>(i)].file;
    const Picture picture = prepared(file, options);
    if (picture.height != shape.h() || picture.width != shape.w()) {
      fail(file, cat(shape.h(), " x ", shape.w(), " pixels, like ", files.front().file.string()),
           cat(picture.height, " x ", picture.width),
           "set data.image_size and data.resize to bring images to one size");
    }
    std::copy_n(picture.pixels.data(), bytes, images.data<std::uint8_t>() + i * bytes);
  }
}

/// In parallel; the error of the first broken file, whatever thread found it.
void decode_all(const std::vector<Listed>& files, const DataOptions& options, Tensor& images) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(threads()));
  parallel_for(static_cast<std::int64_t>(files.size()), 4,
               [&](std::int64_t begin, std::int64_t end, int piece) {
                 try {
                   decode_range(files, options, begin, end, images);
                 } catch (...) {
                   errors[static_cast<std::size_t>(piece)] = std::current_exception();
                 }
               });
  for (const std::exception_ptr& error : errors) {
    if (error != nullptr) std::rethrow_exception(error);
  }
}

}  // namespace

ImageSet read_image_folder(const DataOptions& options, Split split) {
  require_options(options);
  const fs::path folder = folder_of(options, split);
  const std::vector<std::string> classes = require_classes(options, folder);
  if (split == Split::kTest) require_same_classes(options, folder, classes);
  const std::vector<Listed> files = list_images(folder, classes);

  const Picture first = prepared(files.front().file, options);
  const auto count = static_cast<std::int64_t>(files.size());
  const std::int64_t one = first.height * first.width * first.channels;
  // Both factors are below 2^31.
  require_memory(folder.string(), count * one, image_memory_bytes());
  ImageSet set{.images = Tensor(DType::kU8, {count, first.channels, first.height, first.width}),
               .labels = {},
               .classes = options.classes};
  for (const Listed& file : files) set.labels.push_back(file.label);
  decode_all(files, options, set.images);
  return set;
}

}  // namespace bitloom::datasets
