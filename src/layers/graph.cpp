#include "bitloom/layers/graph.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "bitloom/core/error.h"

namespace bitloom::layers {
namespace {

constexpr std::string_view kHeader = "bitloom-graph";
constexpr std::int64_t kVersion = 1;
constexpr std::size_t kMostNodes = 10000;  // ten times the largest built-in network

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_name_char);
}

// Attribute values are numbers, words and shapes; these characters would end them when parsed.
bool is_value(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c != '\x7f' && std::string_view("(),=#").find(c) == std::string_view::npos;
  });
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string quoted(std::string_view text) { return cat("'", text, "'"); }

template <typename T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

[[noreturn]] void bad_attribute(const Node& node, std::string_view key, const char* expected,
                                std::string_view found) {
  throw ConfigError({.place = cat(node.name, ": attribute ", key),
                     .expected = expected,
                     .found = found.empty() ? "none" : quoted(found),
                     .remedy = ""});
}

const std::string* value_of(const Node& node, std::string_view key) {
  for (const auto& [name, value] : node.attributes) {
    if (name == key) return &value;
  }
  return nullptr;
}

// One line of text; remembers where it is for messages.
class LineParser {
 public:
  LineParser(const std::string& source, int line) : source_(source), line_(line) {}

  [[noreturn]] void fail(std::string expected, std::string found, std::string remedy = "") const {
    throw FormatError({.place = cat(source_, ":", line_),
                       .expected = std::move(expected),
                       .found = std::move(found),
                       .remedy = std::move(remedy)});
  }

  void header(std::string_view text) const {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    const std::string_view version =
        space == std::string_view::npos ? std::string_view() : trimmed(text.substr(space));
    if (word != kHeader) fail(cat("'", kHeader, " ", kVersion, "' as first line"), quoted(text));
    const auto number = whole_number<std::int64_t>(version);
    if (!number) fail("a version number after " + quoted(kHeader), quoted(version));
    if (*number > kVersion || *number < 1) {
      fail(cat("graph version 1 to ", kVersion), std::string(version),
           "update bitloom to read newer graphs");
    }
  }

  Node node(std::string_view text) const {
    const std::size_t equals = text.find('=');
    const std::size_t open = text.find('(');
    if (equals == std::string_view::npos || open == std::string_view::npos || open < equals) {
      fail("'name = op(inputs..., attribute=value...)'", quoted(text));
    }
    if (text.back() != ')') fail("')' at the end of the line", quoted(text));
    Node result;
    result.name = name_in(text.substr(0, equals), "a node name");
    result.op = name_in(text.substr(equals + 1, open - equals - 1), "an operation");
    const std::string_view list = trimmed(text.substr(open + 1, text.size() - open - 2));
    for (std::size_t at = 0; !list.empty() && at <= list.size();) {
      const std::size_t comma = std::min(list.find(',', at), list.size());
      argument(trimmed(list.substr(at, comma - at)), result);
      at = comma + 1;
    }
    return result;
  }

 private:
  std::string name_in(std::string_view text, const char* what) const {
    const std::string_view name = trimmed(text);
    if (!is_name(name)) {
      fail(cat(what, " of letters, digits, '_' and '.'"), quoted(name));
    }
    return std::string(name);
  }

  void argument(std::string_view text, Node& node) const {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) {
      if (!node.attributes.empty()) fail("inputs before attributes", quoted(text));
      node.inputs.push_back(name_in(text, "an input name"));
      return;
    }
    const std::string key = name_in(text.substr(0, equals), "an attribute name");
    const std::string_view value = trimmed(text.substr(equals + 1));
    if (!is_value(value)) fail(cat("a value for attribute ", key), quoted(value));
    if (node.has(key)) fail(cat("attribute ", key, " once"), "it twice");
    node.attributes.emplace_back(key, value);
  }

  const std::string& source_;
  int line_;
};

}  // namespace

std::int64_t Node::integer(std::string_view key, std::int64_t fallback) const {
  const std::string* text = value_of(*this, key);
  if (text == nullptr) return fallback;
  const auto value = whole_number<std::int64_t>(*text);
  if (!value) bad_attribute(*this, key, "a whole number", *text);
  return *value;
}

double Node::real(std::string_view key, double fallback) const {
  const std::string* text = value_of(*this, key);
  if (text == nullptr) return fallback;
  const auto value = whole_number<double>(*text);
  if (!value || !std::isfinite(*value)) bad_attribute(*this, key, "a finite number", *text);
  return *value;
}

std::string Node::word(std::string_view key, std::string_view fallback) const {
  const std::string* text = value_of(*this, key);
  return text != nullptr ? *text : std::string(fallback);
}

Shape Node::shape(std::string_view key) const {
  constexpr const char* kExpected = "a shape like 10, 10x512, 1x28x28 or 32x1x5x5";
  const std::string text = word(key, "");
  std::vector<std::int64_t> dims;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t cross = std::min(text.find('x', at), text.size());
    const auto dim = whole_number<std::int64_t>(std::string_view(text).substr(at, cross - at));
    if (!dim || *dim < 1) bad_attribute(*this, key, kExpected, text);
    dims.push_back(*dim);
    at = cross + 1;
  }
  switch (dims.size()) {
    case 1:
      return {dims[0]};
    case 2:
      return {dims[0], dims[1]};
    case 3:
      return {1, dims[0], dims[1], dims[2]};
    case 4:
      return {dims[0], dims[1], dims[2], dims[3]};
    default:
      bad_attribute(*this, key, kExpected, text);
  }
}

bool Node::has(std::string_view key) const { return value_of(*this, key) != nullptr; }

void Node::set(std::string_view key, std::string value) {
  for (auto& [attribute, old] : attributes) {
    if (attribute == key) {
      old = std::move(value);
      return;
    }
  }
  attributes.emplace_back(key, std::move(value));
}

Graph Graph::parse(std::string_view text, const std::string& source) {
  Graph graph;
  bool has_header = false;
  int line_number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    const LineParser parser(source, ++line_number);
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    if (!has_header) {
      parser.header(line);
      has_header = true;
      continue;
    }
    if (graph.nodes_.size() == kMostNodes) {  // names are looked for one by one
      throw FormatError({source, cat("at most ", kMostNodes, " nodes"), "more", ""});
    }
    Node node = parser.node(line);
    try {
      graph.add(std::move(node));
    } catch (const ConfigError& error) {
      throw FormatError(cat(source, ":", line_number, ": ", error.what()));
    }
  }
  if (graph.nodes_.empty()) {
    throw FormatError({.place = source,
                       .expected = cat("'", kHeader, " ", kVersion, "' and at least one node"),
                       .found = has_header ? "no node" : "an empty text",
                       .remedy = ""});
  }
  return graph;
}

std::string Graph::to_text() const {
  std::string out = cat(kHeader, " ", kVersion, "\n");
  for (const Node& node : nodes_) {
    out += cat(node.name, " = ", node.op, "(");
    const char* separator = "";
    for (const std::string& input : node.inputs) {
      out += separator;
      out += input;
      separator = ", ";
    }
    for (const auto& [key, value] : node.attributes) {
      out += separator;
      out += cat(key, "=", value);
      separator = ", ";
    }
    out += ")\n";
  }
  return out;
}

const Node* Graph::find(std::string_view name) const {
  const auto found = std::ranges::find(nodes_, name, &Node::name);
  return found == nodes_.end() ? nullptr : &*found;
}

Node* Graph::find(std::string_view name) {
  const auto found = std::ranges::find(nodes_, name, &Node::name);
  return found == nodes_.end() ? nullptr : &*found;
}

std::vector<std::string> Graph::readers(std::string_view name) const {
  std::vector<std::string> out;
  for (const Node& node : nodes_) {
    if (std::ranges::find(node.inputs, name) != node.inputs.end()) out.push_back(node.name);
  }
  return out;
}

Node& Graph::add(Node node) {
  if (!is_name(node.name) || !is_name(node.op)) {
    throw ConfigError({.place = "graph",
                       .expected = "names of letters, digits, '_' and '.'",
                       .found = cat("'", node.name, " = ", node.op, "'"),
                       .remedy = ""});
  }
  if (find(node.name) != nullptr) {
    throw ConfigError({.place = node.name,
                       .expected = "a name that no earlier node has",
                       .found = "a second node of this name",
                       .remedy = ""});
  }
  for (const std::string& input : node.inputs) {
    if (find(input) == nullptr) {
      throw ConfigError({.place = node.name,
                         .expected = "inputs that are defined before",
                         .found = quoted(input),
                         .remedy = ""});
    }
  }
  for (const auto& [key, value] : node.attributes) {
    if (!is_name(key) || !is_value(value)) {
      throw ConfigError({.place = node.name,
                         .expected = "attributes without blanks or any of \"(),=#\"",
                         .found = cat("'", key, "=", value, "'"),
                         .remedy = ""});
    }
  }
  return nodes_.emplace_back(std::move(node));
}

std::string shape_text(const Shape& shape, bool drop_batch) {
  std::string out;
  for (int axis = drop_batch ? 1 : 0; axis < shape.rank(); ++axis) {
    if (!out.empty()) out += 'x';
    out += std::to_string(shape[axis]);
  }
  return out;
}

}  // namespace bitloom::layers
