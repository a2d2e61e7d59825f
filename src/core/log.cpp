#include "bitloom/core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace bitloom {
namespace {

spdlog::logger& logger() {
  // Not in spdlog's registry: a program that links bitloom keeps its own default logger.
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>(
        "bitloom", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%H:%M:%S %^%l%$ %v");
    return made;
  }();
  return *instance;
}

}  // namespace

void log_info(const std::string& text) { logger().info("{}", text); }

void log_warning(const std::string& text) { logger().warn("{}", text); }

void set_quiet(bool quiet) {
  logger().set_level(quiet ? spdlog::level::warn : spdlog::level::info);
}

}  // namespace bitloom
