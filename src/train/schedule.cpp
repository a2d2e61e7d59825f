#include "bitloom/train/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>

namespace bitloom::train {
namespace {

/// Where a run stands.
struct At {
  double step;
  double steps;
  double steps_per_epoch;
  double warmup;  ///< steps
};

/// From `from` at 0 to `to` at 1, along half a cosine.
double anneal(double from, double to, double progress) {
  return to + (from - to) * (1.0 + std::cos(std::numbers::pi * progress)) / 2.0;
}

StepRates cosine(const TrainOptions& options, const At& at) {
  const double progress = (at.step - at.warmup) / std::max(1.0, at.steps - at.warmup);
  const double half = (1.0 + std::cos(std::numbers::pi * progress)) / 2.0;
  return {.lr = options.lr * (options.lr_final_ratio + (1.0 - options.lr_final_ratio) * half),
          .momentum = options.momentum};
}

StepRates step_down(const TrainOptions& options, const At& at) {
  double lr = options.lr;
  for (const double epoch : options.step_epochs) {
    if (at.step >= std::round(epoch * at.steps_per_epoch)) lr *= options.step_gamma;
  }
  return {.lr = lr, .momentum = options.momentum};
}

StepRates constant(const TrainOptions& options, const At&) {
  return {.lr = options.lr, .momentum = options.momentum};
}

StepRates one_cycle(const TrainOptions& options, const At& at) {
  const double peak = options.cycle_rise * at.steps - 1.0;
  const double start = options.cycle_start_ratio * options.lr;
  if (at.step <= peak) {
    const double progress = peak > 0.0 ? at.step / peak : 1.0;
    return {.lr = anneal(start, options.lr, progress),
            .momentum = anneal(options.momentum, options.cycle_low_momentum, progress)};
  }
  const double progress = std::min(1.0, (at.step - peak) / std::max(1.0, at.steps - 1.0 - peak));
  return {.lr = anneal(options.lr, options.lr_final_ratio * options.lr, progress),
          .momentum = anneal(options.cycle_low_momentum, options.momentum, progress)};
}

struct Schedule {
  std::string_view word;
  StepRates (*rates)(const TrainOptions&, const At&);
  bool has_warmup;
};

constexpr std::array<Schedule, 4> kSchedules{{{"cosine", cosine, true},
                                              {"step", step_down, true},
                                              {"one-cycle", one_cycle, false},
                                              {"constant", constant, true}}};

const Schedule& schedule_of(const std::string& word) {
  for (const Schedule& schedule : kSchedules) {
    if (schedule.word == word) return schedule;
  }
  throw ConfigError(
      ErrorText{"train.schedule", "cosine, step, one-cycle or constant", cat("'", word, "'"), ""});
}

}  // namespace

std::vector<std::string> schedule_words() {
  std::vector<std::string> words;
  for (const Schedule& schedule : kSchedules) words.emplace_back(schedule.word);
  return words;
}

StepRates rates_at(const TrainOptions& options, std::int64_t step, std::int64_t steps,
                   std::int64_t steps_per_epoch) {
  const Schedule& schedule = schedule_of(options.schedule);
  At at{.step = static_cast<double>(step),
        .steps = static_cast<double>(steps),
        .steps_per_epoch = static_cast<double>(steps_per_epoch),
        .warmup = 0.0};
  if (schedule.has_warmup) {
    at.warmup = std::min(at.steps, std::round(options.warmup_epochs * at.steps_per_epoch));
  }
  StepRates rates = at.step < at.warmup ? StepRates{.lr = options.lr * (at.step + 1.0) / at.warmup,
                                                    .momentum = options.momentum}
                                        : schedule.rates(options, at);
  rates.step = step;
  return rates;
}

}  // namespace bitloom::train
