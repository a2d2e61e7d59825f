// What a user sees of a command of a few long steps.
// Goes to: bench_suite.cpp.
#pragma once

#include <chrono>
#include <string>

namespace bitloom::tools {

/// "[=====>              ]  25 %  resnet50, avx2  1:20, about 4:00 left"; `left_seconds` below 0 is
/// not known.
std::string step_line(double share, const std::string& what, double spent_seconds,
                      double left_seconds);

/// A bar on a terminal, a line for each step elsewhere. Writes to stderr; silent where `quiet`.
class StepProgress {
 public:
  /// `total`: the sum of all steps' costs, in any unit.
  StepProgress(double total, bool quiet);
  /// The step before is done; `what` begins, which costs `cost`.
  void step(const std::string& what, double cost);
  /// The last step is done.
  void end();

 private:
  void draw(const std::string& what);

  double total_ = 0.0;
  double done_ = 0.0;
  double running_ = 0.0;  ///< cost of the step that runs
  bool quiet_ = false;
  bool terminal_ = false;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace bitloom::tools
