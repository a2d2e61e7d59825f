// How learning rate and momentum change from step to step.
// Comes from: train/options.h. Goes to: train/loop.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitloom/train/options.h"

namespace bitloom::train {

/// What an optimizer needs to know of one step.
struct StepRates {
  double lr = 0.0;
  double momentum = 0.0;
  std::int64_t step = 0;  ///< of the whole run, from 0
};

/// Words that `train.schedule` takes.
std::vector<std::string> schedule_words();

/// Rates of step t (from 0) of T = `steps`.
///
/// "cosine", "step", "constant": momentum stays; lr(t) = lr * (t + 1) / W for t < W, with
///   W = round(warmup_epochs * steps_per_epoch); then
///   cosine:   lr * (r + (1 - r) * (1 + cos(pi * (t - W) / (T - W))) / 2),  r = lr_final_ratio
///   step:     lr * step_gamma ^ (how many of step_epochs are at most t / steps_per_epoch)
///   constant: lr
/// "one-cycle": with p = cycle_rise * T - 1, lr goes from cycle_start_ratio * lr at t = 0 to lr at
///   t = p and on to lr_final_ratio * lr at t = T - 1, momentum from `momentum` to
///   cycle_low_momentum and back, both along half a cosine; no warm-up.
/// Sources: Loshchilov and Hutter, arXiv:1608.03983 (cosine, without restarts); Smith and Topin,
///   arXiv:1708.07120 in the form of PyTorch's OneCycleLR (one-cycle).
/// Golden: tests/golden/optim.h5, made by tools/golden/optim.py.
/// @throws ConfigError for an unknown schedule.
StepRates rates_at(const TrainOptions& options, std::int64_t step, std::int64_t steps,
                   std::int64_t steps_per_epoch);

}  // namespace bitloom::train
