#include "bitloom/train/options.h"

#include <algorithm>
#include <functional>

namespace bitloom::train {

std::vector<ErrorText> contradictions(const TrainOptions& options) {
  std::vector<ErrorText> found;
  const auto require = [&](bool ok, ErrorText text) {
    if (!ok) found.push_back(std::move(text));
  };
  const auto& steps = options.step_epochs;
  if (options.schedule == "step") {
    require(!steps.empty(), {"train.step_epochs", "at least one epoch for train.schedule = step",
                             "none", "set train.step_epochs = 30,45 or another schedule"});
  } else {
    require(steps.empty(), {"train.step_epochs", "nothing unless train.schedule = step",
                            cat("train.schedule = ", options.schedule), "leave one of them out"});
  }
  require(std::adjacent_find(steps.begin(), steps.end(), std::greater_equal<>()) == steps.end(),
          {"train.step_epochs", "rising numbers", "others", ""});
  if (options.nesterov) {
    require(options.optimizer == "sgd" && options.momentum > 0.0,
            {"train.nesterov", "train.optimizer = sgd with train.momentum above 0",
             cat(options.optimizer, " with ", options.momentum), "set train.nesterov = false"});
  }
  if (options.schedule == "one-cycle") {
    require(options.cycle_low_momentum <= options.momentum,
            {"train.cycle_low_momentum", cat("at most train.momentum = ", options.momentum),
             cat(options.cycle_low_momentum), "the momentum falls while the learning rate rises"});
  }
  return found;
}

}  // namespace bitloom::train
