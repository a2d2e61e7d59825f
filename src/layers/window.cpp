#include "bitloom/layers/window.h"

#include "bitloom/core/error.h"

namespace bitloom::layers {
namespace {

integer::Window square_window(const Node& node, std::int64_t kernel, std::int64_t default_stride) {
  return {.kernel_h = kernel,
          .kernel_w = kernel,
          .stride = node.integer("stride", default_stride),
          .pad = node.integer("pad", 0),
          .groups = node.integer("groups", 1)};
}

}  // namespace

integer::Window conv_window(const Node& node) {
  integer::Window window = square_window(node, 1, 1);
  if (!node.has("pad_w")) return window;
  const std::int64_t columns = node.integer("pad_w", 0);
  if (columns < 0) {
    throw ConfigError({.place = cat(node.name, ": attribute pad_w"),
                       .expected = "at least 0",
                       .found = std::to_string(columns),
                       .remedy = ""});
  }
  if (columns != window.pad) window.column_pad = columns;
  return window;
}

integer::Window pool_window(const Node& node) {
  if (!node.has("kernel")) {
    throw ConfigError(
        {.place = node.name, .expected = "attribute kernel", .found = "none", .remedy = ""});
  }
  const std::int64_t kernel = node.integer("kernel", 1);
  integer::Window window = square_window(node, kernel, kernel);
  window.count_pad = flag(node, "count_pad", false);
  return window;
}

integer::Window box_window(const Node& node) {
  return square_window(node, node.integer("kernel", 1), 1);
}

bool flag(const Node& node, std::string_view key, bool fallback) {
  const std::int64_t value = node.integer(key, fallback ? 1 : 0);
  if (value == 0 || value == 1) return value == 1;
  throw ConfigError({.place = cat(node.name, ": attribute ", key),
                     .expected = "0 or 1",
                     .found = std::to_string(value),
                     .remedy = ""});
}

}  // namespace bitloom::layers
