#include "builder.h"

#include "bitloom/core/error.h"

namespace bitloom::models {
namespace {

using Attributes = std::vector<std::pair<std::string, std::string>>;

// Attributes that equal a layer's default stay out of the text.
Attributes window_attributes(const BlockWindow& window, std::int64_t default_stride) {
  Attributes out;
  if (window.stride != default_stride) out.emplace_back("stride", std::to_string(window.stride));
  if (window.pad != 0) out.emplace_back("pad", std::to_string(window.pad));
  return out;
}

}  // namespace

GraphBuilder::GraphBuilder(const NetworkShape& shape)
    : at_{"input", shape.channels, shape.height, shape.width} {
  if (shape.channels < 1 || shape.height < 1 || shape.width < 1 || shape.classes < 1) {
    throw ConfigError(
        {.place = "network shape",
         .expected = "channels, height, width and classes of at least 1",
         .found = cat(shape.channels, ", ", shape.height, ", ", shape.width, ", ", shape.classes),
         .remedy = "set data.reader to a data set of images"});
  }
  graph_.add({"input",
              "input",
              {},
              {{"shape", cat(shape.channels, "x", shape.height, "x", shape.width)}}});
}

void GraphBuilder::conv2d(const std::string& name, std::int64_t channels,
                          const BlockWindow& window) {
  const std::string weight = name + ".weight";
  const Shape shape{channels, at_.channels, window.kernel, window.kernel};
  graph_.add({weight, "parameter", {}, {{"shape", layers::shape_text(shape, false)}}});
  graph_.add({name, "conv2d", {at_.node, weight}, window_attributes(window, 1)});
  slide(name, window);
  at_.channels = channels;
}

void GraphBuilder::max_pool(const std::string& name, const BlockWindow& window) {
  Attributes attributes{{"kernel", std::to_string(window.kernel)}};
  for (auto& attribute : window_attributes(window, window.kernel)) attributes.push_back(attribute);
  graph_.add({name, "max_pool", {at_.node}, attributes});
  slide(name, window);
}

void GraphBuilder::global_avg_pool(const std::string& name) {
  unary(name, "global_avg_pool");
  at_.height = 1;
  at_.width = 1;
}

void GraphBuilder::flatten(const std::string& name) {
  unary(name, "flatten");
  at_.channels *= at_.height * at_.width;
  at_.height = 1;
  at_.width = 1;
}

void GraphBuilder::linear(const std::string& name, std::int64_t outputs) {
  const std::string weight = name + ".weight";
  graph_.add({weight, "parameter", {}, {{"shape", cat(outputs, "x", at_.channels)}}});
  graph_.add({name, "linear", {at_.node, weight}, {{"bias", "1"}}});
  at_.node = name;
  at_.channels = outputs;
}

void GraphBuilder::add(const std::string& name, const std::string& shortcut) {
  graph_.add({name, "add", {at_.node, shortcut}, {}});
  at_.node = name;
}

void GraphBuilder::unary(const std::string& name, const std::string& op) {
  graph_.add({name, op, {at_.node}, {}});
  at_.node = name;
}

void GraphBuilder::slide(const std::string& name, const BlockWindow& window) {
  const auto steps = [&](std::int64_t size) {
    const std::int64_t room = size + 2 * window.pad - window.kernel;
    if (room < 0) {
      throw ConfigError({.place = name,
                         .expected = cat("an image that leaves at least ", window.kernel,
                                         " pixels here, padding included"),
                         .found = cat(at_.height, "x", at_.width),
                         .remedy = "use larger images"});
    }
    return room / window.stride + 1;
  };
  at_ = {name, at_.channels, steps(at_.height), steps(at_.width)};
}

}  // namespace bitloom::models
