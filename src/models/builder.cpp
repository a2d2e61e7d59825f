#include "builder.h"

#include <algorithm>

#include "bitloom/core/error.h"

namespace bitloom::models {
namespace {

using Attributes = std::vector<std::pair<std::string, std::string>>;

// Attributes that equal a layer's default stay out of the text.
void add_unless_default(Attributes& attributes, const char* key, std::int64_t value,
                        std::int64_t default_value) {
  if (value != default_value) attributes.emplace_back(key, std::to_string(value));
}

}  // namespace

bool is_small(const NetworkShape& shape) {
  constexpr std::int64_t kSmall = 64;
  return std::min(shape.height, shape.width) < kSmall;
}

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
                          const ConvOptions& options) {
  const std::string weight = name + ".weight";
  const std::int64_t width = options.kernel_w > 0 ? options.kernel_w : options.kernel;
  const Shape shape{channels, at_.channels / options.groups, options.kernel, width};
  Attributes attributes;
  add_unless_default(attributes, "stride", options.stride, 1);
  add_unless_default(attributes, "pad", options.pad, 0);
  if (options.pad_w >= 0) add_unless_default(attributes, "pad_w", options.pad_w, options.pad);
  add_unless_default(attributes, "groups", options.groups, 1);
  add_unless_default(attributes, "bias", options.bias ? 1 : 0, 0);
  graph_.add({weight, "parameter", {}, {{"shape", layers::shape_text(shape, false)}}});
  graph_.add({name, "conv2d", {at_.node, weight}, std::move(attributes)});
  slide(name, options);
  at_.channels = channels;
}

void GraphBuilder::batch_norm(const std::string& name, const std::string& epsilon) {
  Attributes attributes;
  if (!epsilon.empty()) attributes.emplace_back("epsilon", epsilon);
  graph_.add({name, "batch_norm", {at_.node}, std::move(attributes)});
  at_.node = name;
}

void GraphBuilder::conv_bn(const std::string& name, std::int64_t channels,
                           const ConvOptions& options) {
  conv2d(name + ".conv", channels, options);
  batch_norm(name + ".bn");
}

void GraphBuilder::conv_bn_relu(const std::string& name, std::int64_t channels,
                                const ConvOptions& options) {
  conv_bn(name, channels, options);
  relu(name + ".relu");
}

void GraphBuilder::max_pool(const std::string& name, const PoolOptions& options) {
  pool(name, "max_pool", options);
}

void GraphBuilder::avg_pool(const std::string& name, const PoolOptions& options) {
  pool(name, "avg_pool", options);
}

void GraphBuilder::pool(const std::string& name, const std::string& op,
                        const PoolOptions& options) {
  Attributes attributes{{"kernel", std::to_string(options.kernel)}};
  add_unless_default(attributes, "stride", options.stride, options.kernel);
  add_unless_default(attributes, "pad", options.pad, 0);
  add_unless_default(attributes, "count_pad", options.count_pad ? 1 : 0, 0);
  graph_.add({name, op, {at_.node}, std::move(attributes)});
  slide(name, {.kernel = options.kernel, .stride = options.stride, .pad = options.pad});
}

void GraphBuilder::dropout(const std::string& name, const std::string& ratio) {
  graph_.add({name, "dropout", {at_.node}, {{"ratio", ratio}}});
  at_.node = name;
}

void GraphBuilder::concat(const std::string& name, const Position& first) {
  concat(name, {first, at_});
}

void GraphBuilder::concat(const std::string& name, const std::vector<Position>& inputs) {
  std::vector<std::string> nodes;
  Position joined{name, 0, inputs.front().height, inputs.front().width};
  for (const Position& input : inputs) {
    BITLOOM_ASSERT(input.height == joined.height && input.width == joined.width);
    nodes.push_back(input.node);
    joined.channels += input.channels;
  }
  graph_.add({name, "concat", std::move(nodes), {}});
  at_ = joined;
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

void GraphBuilder::linear(const std::string& name, std::int64_t outputs, bool bias) {
  const std::string weight = name + ".weight";
  graph_.add({weight, "parameter", {}, {{"shape", cat(outputs, "x", at_.channels)}}});
  Attributes attributes;
  add_unless_default(attributes, "bias", bias ? 1 : 0, 0);
  graph_.add({name, "linear", {at_.node, weight}, std::move(attributes)});
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

void GraphBuilder::slide(const std::string& name, const ConvOptions& window) {
  const auto steps = [&](std::int64_t size, std::int64_t kernel, std::int64_t pad) {
    const std::int64_t room = size + 2 * pad - kernel;
    if (room < 0) {
      throw ConfigError({.place = name,
                         .expected = cat("an image that leaves at least ", kernel,
                                         " pixels here, padding included"),
                         .found = cat(at_.height, "x", at_.width),
                         .remedy = "use larger images"});
    }
    return room / window.stride + 1;
  };
  at_ = {name, at_.channels, steps(at_.height, window.kernel, window.pad),
         steps(at_.width, window.kernel_w > 0 ? window.kernel_w : window.kernel,
               window.pad_w >= 0 ? window.pad_w : window.pad)};
}

}  // namespace bitloom::models
