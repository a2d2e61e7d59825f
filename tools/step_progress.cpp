#include "step_progress.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {

std::string step_line(double share, const std::string& what, double spent_seconds,
                      double left_seconds) {
  constexpr std::size_t kBar = 20;
  const auto filled = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kBar);
  std::string bar(filled, '=');
  if (filled < kBar) bar += '>';
  bar.resize(kBar, ' ');
  return cat("[", bar, "] ", fixed(100.0 * share, 0), " %  ", what, "  ", clock_text(spent_seconds),
             left_seconds < 0.0 ? "" : cat(", about ", clock_text(left_seconds), " left"));
}

StepProgress::StepProgress(double total, bool quiet)
    : total_(total),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      began_(std::chrono::steady_clock::now()) {}

void StepProgress::step(const std::string& what, double cost) {
  done_ += running_;
  running_ = cost;
  draw(what);
}

void StepProgress::end() {
  done_ += running_;
  running_ = 0.0;
  draw("done");
  if (terminal_ && !quiet_) std::cerr << "\n";
}

void StepProgress::draw(const std::string& what) {
  if (quiet_) return;
  const double spent =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  const double share = total_ > 0.0 ? done_ / total_ : 1.0;
  const double left = share > 0.0 ? spent / share * (1.0 - share) : -1.0;
  std::cerr << (terminal_ ? "\r\033[K" : "") << step_line(share, what, spent, left)
            << (terminal_ ? "" : "\n") << std::flush;
}

}  // namespace bitloom::tools
