#include "bitloom/kernels/precision.h"
#include "bitloom/train/optimizer.h"
#include "bitloom/train/schedule.h"
#include "config_key_kinds.h"

namespace bitloom::trainers {

void declare_train(Keys& keys) {
  keys.push_back(integer_key(
      "train.epochs", "passes over the training images", 0, 10'000,
      [](auto& c) -> auto& { return c.train.epochs; }));
  keys.push_back(integer_key(
      "train.batch", "images in a step", 1, 65'536,
      [](auto& c) -> auto& { return c.train.batch; }));
  keys.push_back(word_key(
      "train.optimizer", "how gradients change weights", train::optimizer_words(), false,
      [](auto& c) -> auto& { return c.train.optimizer; }));
  keys.push_back(real_key(
      "train.lr", "highest learning rate", {0.0, 1000.0, true},
      [](auto& c) -> auto& { return c.train.lr; }));
  keys.push_back(word_key(
      "train.schedule", "how the learning rate goes", train::schedule_words(), false,
      [](auto& c) -> auto& { return c.train.schedule; }));
  keys.push_back(real_key(
      "train.lr_final_ratio", "cosine, one-cycle: last learning rate / train.lr", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.lr_final_ratio; }));
  keys.push_back(real_key(
      "train.warmup_epochs", "linear warm-up; one-cycle has its own rise", {0.0, 10'000.0},
      [](auto& c) -> auto& { return c.train.warmup_epochs; }));
  keys.push_back(real_list_key(
      "train.step_epochs", "step: when the learning rate falls, rising", {0.0, 10'000.0, true},
      [](auto& c) -> auto& { return c.train.step_epochs; }));
  keys.push_back(real_key(
      "train.step_gamma", "step: to which share of itself", {0.0, 1.0, true},
      [](auto& c) -> auto& { return c.train.step_gamma; }));
  keys.push_back(real_key(
      "train.cycle_rise", "one-cycle: share of the steps in which the rate rises", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.cycle_rise; }));
  keys.push_back(real_key(
      "train.cycle_start_ratio", "one-cycle: first learning rate / train.lr", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.cycle_start_ratio; }));
  keys.push_back(real_key(
      "train.cycle_low_momentum", "one-cycle: momentum at the highest learning rate", {0.0, 0.9999},
      [](auto& c) -> auto& { return c.train.cycle_low_momentum; }));
  keys.push_back(real_key(
      "train.momentum", "of sgd; beta1 of adam and adamw", {0.0, 0.9999},
      [](auto& c) -> auto& { return c.train.momentum; }));
  keys.push_back(flag_key(
      "train.nesterov", "sgd: look ahead along the momentum",
      [](auto& c) -> auto& { return c.train.nesterov; }));
  keys.push_back(real_key(
      "train.beta2", "adam, adamw: share of the old squares", {0.0, 0.999999},
      [](auto& c) -> auto& { return c.train.beta2; }));
  keys.push_back(real_key(
      "train.adam_epsilon", "adam, adamw: least denominator", {0.0, 1.0, true},
      [](auto& c) -> auto& { return c.train.adam_epsilon; }));
  keys.push_back(real_key(
      "train.weight_decay", "spares biases, batch norm and scales", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.weight_decay; }));
  keys.push_back(real_key(
      "train.scale_lr_ratio", "learning rate of quantizer scales / train.lr", {0.0, 100.0},
      [](auto& c) -> auto& { return c.train.scale_lr_ratio; }));
  keys.push_back(real_key(
      "train.clip_norm", "greatest norm of all gradients together; 0: any", {0.0, 1e9},
      [](auto& c) -> auto& { return c.train.clip_norm; }));
  keys.push_back(real_key(
      "train.label_smoothing", "share of the target spread over all classes", {0.0, 0.9},
      [](auto& c) -> auto& { return c.train.label_smoothing; }));
  keys.push_back(word_key(
      "train.precision", "products of the float and backward passes: f32, or bf16 with f32 sums",
      kernels::precision_words(), false, [](auto& c) -> auto& { return c.train.precision; }));
  keys.push_back(real_key(
      "train.ema_decay", "validate and export a moving average of weights; 0: the last ones",
      {0.0, 0.999999}, [](auto& c) -> auto& { return c.train.ema_decay; }));
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
