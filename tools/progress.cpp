#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

std::size_t terminal_width() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20;
  return known ? size.ws_col : 80;
}

std::string epoch_text(const trainers::StepReport& report) {
  return cat("epoch ", report.epoch + 1, "/", report.epochs);
}

}  // namespace

std::string progress_line(const trainers::StepReport& report, double eta_seconds,
                          std::size_t width) {
  constexpr std::size_t kBar = 20;
  const double share =
      report.steps > 0 ? static_cast<double>(report.step + 1) / static_cast<double>(report.steps)
                       : 1.0;
  const auto filled = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kBar);
  std::string bar(filled, '=');
  if (filled < kBar) bar += '>';
  bar.resize(kBar, ' ');
  const std::string line =
      cat(epoch_text(report), " [", bar, "] ", fixed(100.0 * share, 0), " %  loss ",
          fixed(report.loss, 3), "  top-1 ", fixed(report.train_top1, 1), " %  ",
          fixed(report.images_per_second, 0), " images/s  ETA ", clock_text(eta_seconds));
  return line.substr(0, width);
}

std::string epoch_line(const trainers::StepReport& report, double seconds) {
  return cat(epoch_text(report), ": loss ", fixed(report.loss, 4), ", training top-1 ",
             fixed(report.train_top1, 2), " %, validation top-1 ", fixed(report.validation_top1, 2),
             " %, ", fixed(report.images_per_second, 0), " images/s, ", clock_text(seconds));
}

Progress::Progress(std::string title, bool quiet)
    : title_(std::move(title)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      began_(Clock::now()),
      epoch_began_(began_),
      drawn_(began_) {}

double Progress::seconds_since(Clock::time_point begin) const {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void Progress::watch(const trainers::StepReport& report) {
  if (quiet_) return;
  const std::int64_t step = report.epoch * report.steps + report.step;
  if (first_step_ < 0) first_step_ = step;
  if (report.epoch_done) {
    std::cerr << (terminal_ ? "\r\033[K" : "") << title_ << " "
              << epoch_line(report, seconds_since(epoch_began_)) << "\n";
    epoch_began_ = Clock::now();
    return;
  }
  constexpr double kRedrawSeconds = 0.1;
  if (!terminal_ || seconds_since(drawn_) < kRedrawSeconds) return;
  drawn_ = Clock::now();
  const auto done = static_cast<double>(step - first_step_ + 1);
  const auto left = static_cast<double>(report.epochs * report.steps - step - 1);
  const double eta = seconds_since(began_) / done * left;
  std::cerr << "\r\033[K"
            << progress_line(report, eta,
                             terminal_width() - std::min(title_.size() + 2, terminal_width()))
                   .insert(0, title_ + " ")
            << std::flush;
}

}  // namespace bitloom::tools
