#include "config_key_kinds.h"

namespace bitloom::trainers {

void declare_train(Keys& keys) {
  keys.push_back(integer_key(
      "train.epochs", "passes over the training images", 0, 10'000,
      [](auto& c) -> auto& { return c.train.epochs; }));
  keys.push_back(integer_key(
      "train.batch", "images in a step", 1, 65'536,
      [](auto& c) -> auto& { return c.train.batch; }));
  keys.push_back(real_key(
      "train.lr", "highest learning rate", {0.0, 1000.0, true},
      [](auto& c) -> auto& { return c.train.lr; }));
  keys.push_back(real_key(
      "train.lr_final_ratio", "last learning rate / train.lr", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.lr_final_ratio; }));
  keys.push_back(real_key(
      "train.warmup_epochs", "linear warm-up", {0.0, 10'000.0},
      [](auto& c) -> auto& { return c.train.warmup_epochs; }));
  keys.push_back(real_key(
      "train.momentum", "of SGD", {0.0, 0.9999},
      [](auto& c) -> auto& { return c.train.momentum; }));
  keys.push_back(real_key(
      "train.weight_decay", "spares biases, batch norm and scales", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.weight_decay; }));
  keys.push_back(real_key(
      "train.scale_lr_ratio", "learning rate of quantizer scales / train.lr", {0.0, 100.0},
      [](auto& c) -> auto& { return c.train.scale_lr_ratio; }));
  keys.push_back(integer_key(
      "train.checkpoint_steps", "also save every so many steps; 0: at epochs' ends", 0,
      1'000'000'000, [](auto& c) -> auto& { return c.train.checkpoint_steps; }));
  keys.push_back(integer_key(
      "train.qat_epochs", "epochs of a qat that starts from a checkpoint", 0, 10'000,
      [](auto& c) -> auto& { return c.train.qat_epochs; }));
  keys.push_back(real_key(
      "train.qat_lr", "highest learning rate of such a qat", {0.0, 1000.0, true},
      [](auto& c) -> auto& { return c.train.qat_lr; }));
}

}  // namespace bitloom::trainers
