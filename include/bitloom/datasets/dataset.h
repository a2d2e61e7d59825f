// Labelled images in memory, as the files hold them: u8, channels-last.
// Comes from: files (IDX, CIFAR-10, HDF5, JPEG, PNG), arithmetic (synthetic). Goes to: loader.h,
// train, deploy (calibration).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/datasets/augment.h"

namespace bitloom::datasets {

/// Config section [data].
struct DataOptions {
  /// "idx", "cifar10", "hdf5", "folder", "synthetic" or a registered word.
  std::string reader = "idx";
  std::string path = "/usr/share/datasets/fashion-mnist";  ///< folder; synthetic ignores it
  std::int64_t classes = 10;                               ///< labels are 0 .. classes-1
  std::int64_t validation_images = 5000;  ///< taken from the training set; calibrate and choose
  std::uint64_t split_seed = 1;           ///< which ones; apart from `seed`, so runs compare
  std::int64_t train_limit = 0;           ///< use so many training images; 0: all
  std::int64_t test_limit = 0;            ///< use the first so many test images; 0: all
  AugmentOptions augment;                 ///< of training images alone
  std::vector<float> mean;                ///< per channel, of pixel / 255; {}: 0
  std::vector<float> stddev;              ///< per channel, of pixel / 255, > 0; {}: 1
  std::int64_t resize = 256;              ///< folder: shorter side before the crop; 0: as it is
  std::int64_t image_size = 224;          ///< folder: side of the central crop; 0: none
  bool gray = false;                      ///< folder: one channel instead of three
  std::int64_t synthetic_images = 4000;   ///< training set, validation included
  std::int64_t synthetic_test_images = 1000;
  std::int64_t synthetic_height = 28;
  std::int64_t synthetic_width = 28;
  std::int64_t synthetic_channels = 1;
  std::uint64_t synthetic_seed = 1;
};

/// images u8, logical [N, C, H, W]; labels in 0 .. classes-1, one an image.
struct ImageSet {
  Tensor images;
  std::vector<std::int32_t> labels;
  std::int64_t classes = 0;

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  /// Images [begin, begin + count) as a view [count, C, H, W], without a copy.
  /// @pre 0 <= begin, 0 <= count, begin + count <= size().
  ConstTensorView view(std::int64_t begin, std::int64_t count) const;
};

/// `validation` and `train` share no image and together are the training files (but train_limit);
/// both keep the files' order.
struct Dataset {
  std::string name;   ///< of the folder, or "synthetic"
  Shape image_shape;  ///< [1, C, H, W]
  std::int64_t classes = 0;
  ImageSet train;
  ImageSet validation;
  ImageSet test;
};

enum class Split { kTrain, kValidation, kTest };

std::string_view to_word(Split split);  ///< "train", "validation", "test"
const ImageSet& images_of(const Dataset& dataset, Split split);

/// Reads with the reader that `options.reader` names.
/// @throws ConfigError for an unknown reader (listing the known ones) or a number out of its range;
///         FormatError if a file is missing, truncated, longer than its header says, of another
///         kind, holds a label outside 0 .. classes-1, images of several sizes, other classes than
///         data.classes, or more than memory has room for.
Dataset load_dataset(const DataOptions& options);

/// As above, but reads and holds only the test images; for `eval` and `bench`.
ImageSet load_test_set(const DataOptions& options);

/// All training images (validation included) or all test images: never asked for kValidation.
/// Splitting and limits come after it.
using DatasetReader = std::function<ImageSet(const DataOptions& options, Split split)>;

/// Adds a data set of the caller's, which `data.reader` then names. What `read` gives is checked:
/// u8 images, as many labels, all in 0 .. data.classes - 1. Call it before the first configuration
/// is read, from one thread: the words it may hold are fixed there.
/// @throws ConfigError if `word` is taken, empty, or holds anything but letters, digits, '_', '-'
///         and '.'.
void register_dataset(const std::string& word, DatasetReader read);

/// Words that `options.reader` takes: built-in ones, then the registered.
std::vector<std::string> known_readers();

}  // namespace bitloom::datasets
