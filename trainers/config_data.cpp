#include "config_key_kinds.h"

namespace bitloom::trainers {

void declare_data(Keys& keys) {
  constexpr std::int64_t kMany = 100'000'000;
  keys.push_back(word_key(
      "data.reader", "kind of the data set", datasets::known_readers(), false,
      [](auto& c) -> auto& { return c.data.reader; }));
  keys.push_back(text_key(
      "data.path", "folder of the data set; synthetic needs none",
      [](auto& c) -> auto& { return c.data.path; }));
  keys.push_back(integer_key(
      "data.validation_images", "held out of the training split", 1, kMany,
      [](auto& c) -> auto& { return c.data.validation_images; }));
  keys.push_back(integer_key(
      "data.classes", "labels are 0 .. classes-1", 2, 65'536,
      [](auto& c) -> auto& { return c.data.classes; }));
  keys.push_back(seed_key(
      "data.split_seed", "which images are held out",
      [](auto& c) -> auto& { return c.data.split_seed; }));
  keys.push_back(integer_key(
      "data.augment_pad", "training images: random crop of the image padded by so many; 0: none", 0,
      1024, [](auto& c) -> auto& { return c.data.augment.pad; }));
  keys.push_back(flag_key(
      "data.augment_flip", "training images: mirror every second one",
      [](auto& c) -> auto& { return c.data.augment.flip; }));
  keys.push_back(real_list_key(
      "data.mean", "per channel, of pixel / 255; nothing: 0", {-1e6, 1e6},
      [](auto& c) -> auto& { return c.data.mean; }));
  keys.push_back(real_list_key(
      "data.stddev", "per channel, of pixel / 255; nothing: 1", {0.0, 1e6, true},
      [](auto& c) -> auto& { return c.data.stddev; }));
  keys.push_back(integer_key(
      "data.train_limit", "use the first so many; 0: all", 0, kMany,
      [](auto& c) -> auto& { return c.data.train_limit; }));
  keys.push_back(integer_key(
      "data.test_limit", "use the first so many; 0: all", 0, kMany,
      [](auto& c) -> auto& { return c.data.test_limit; }));
  keys.push_back(integer_key(
      "data.resize", "folder: shorter side of an image before the crop; 0: as it is", 0, 4096,
      [](auto& c) -> auto& { return c.data.resize; }));
  keys.push_back(integer_key(
      "data.image_size", "folder: side of the central crop; 0: none", 0, 4096,
      [](auto& c) -> auto& { return c.data.image_size; }));
  keys.push_back(flag_key(
      "data.gray", "folder: one channel instead of three",
      [](auto& c) -> auto& { return c.data.gray; }));
  keys.push_back(integer_key(
      "data.synthetic_images", "synthetic: training set, validation included", 1, 1'000'000,
      [](auto& c) -> auto& { return c.data.synthetic_images; }));
  keys.push_back(integer_key(
      "data.synthetic_test_images", "synthetic: test set", 1, 1'000'000,
      [](auto& c) -> auto& { return c.data.synthetic_test_images; }));
  keys.push_back(integer_key(
      "data.synthetic_height", "synthetic: rows of an image", 1, 1024,
      [](auto& c) -> auto& { return c.data.synthetic_height; }));
  keys.push_back(integer_key(
      "data.synthetic_width", "synthetic: columns of an image", 1, 1024,
      [](auto& c) -> auto& { return c.data.synthetic_width; }));
  keys.push_back(integer_key(
      "data.synthetic_channels", "synthetic: channels of an image", 1, 64,
      [](auto& c) -> auto& { return c.data.synthetic_channels; }));
  keys.push_back(seed_key(
      "data.synthetic_seed", "synthetic: which data set",
      [](auto& c) -> auto& { return c.data.synthetic_seed; }));
}

}  // namespace bitloom::trainers
