#include "config_key_kinds.h"

namespace bitloom::trainers {

void declare_schedule(Keys& keys) {
  constexpr std::int64_t kMostEpochs = 10'000;
  keys.push_back(word_key(
      "schedule.kind",
      "qat with quant.bits = auto: widths fall while it trains, as SQNR or validation loss allows",
      {"none", "sqnr", "loss"}, false, [](auto& c) -> auto& { return c.schedule.kind; }));
  keys.push_back(integer_key(
      "schedule.start_epoch", "epochs before widths fall", 0, kMostEpochs,
      [](auto& c) -> auto& { return c.schedule.start_epoch; }));
  keys.push_back(integer_key(
      "schedule.end_epoch",
      "epochs before the last widths; 0: one is left, or those of frozen ranges", 0, kMostEpochs,
      [](auto& c) -> auto& { return c.schedule.end_epoch; }));
  keys.push_back(integer_key(
      "schedule.every_epochs", "epochs from one choice of widths to the next", 1, kMostEpochs,
      [](auto& c) -> auto& { return c.schedule.every_epochs; }));
  keys.push_back(real_key(
      "schedule.loss_tolerance", "kind = loss: share by which validation loss may exceed its least",
      {0.0, 100.0}, [](auto& c) -> auto& { return c.schedule.loss_tolerance; }));
}

}  // namespace bitloom::trainers
