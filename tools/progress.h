// What a user sees of a running training.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bitloom/trainers/commands.h"

namespace bitloom::tools {

/// "epoch 2/4 [=====>    ] 45 %  loss 0.412  top-1 85.1 %  4100 images/s  ETA 1:23", cut to
/// `width`.
std::string progress_line(const trainers::StepReport& report, double eta_seconds,
                          std::size_t width);
/// "epoch 2/4: loss 0.412, training top-1 85.12 %, validation top-1 88.20 %, 4100 images/s, 0:13".
std::string epoch_line(const trainers::StepReport& report, double seconds);

/// Watches one training: a bar on a terminal, redrawn ten times a second at most; elsewhere one
/// plain line an epoch. Writes to stderr; silent where `quiet`.
class Progress {
 public:
  Progress(std::string title, bool quiet);
  void watch(const trainers::StepReport& report);

 private:
  using Clock = std::chrono::steady_clock;
  double seconds_since(Clock::time_point begin) const;

  std::string title_;
  bool quiet_ = false;
  bool terminal_ = false;
  Clock::time_point began_;
  Clock::time_point epoch_began_;
  Clock::time_point drawn_;
  std::int64_t first_step_ = -1;  ///< where this process took over; a resumed run starts later
};

}  // namespace bitloom::tools
