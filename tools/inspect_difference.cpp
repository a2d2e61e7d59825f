// inspect FILE OTHER: two checkpoints, or two exported models, side by side.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"
#include "global_options.h"
#include "inspect.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;

/// How far apart two f32 tensors of one shape are.
struct Distance {
  double largest = 0.0;
  double differ_percent = 0.0;
  double sqnr_db = 0.0;  ///< of the second against the first; infinite where they are equal
};

Distance distance(const Tensor& a, const Tensor& b) {
  Distance found;
  std::int64_t differ = 0;
  const float* first = a.data<float>();
  const float* second = b.data<float>();
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    const double apart = std::abs(static_cast<double>(first[i]) - second[i]);
    found.largest = std::max(found.largest, apart);
    differ += apart == 0.0 ? 0 : 1;
  }
  const std::int64_t count = std::max<std::int64_t>(a.elements(), 1);
  found.differ_percent = 100.0 * static_cast<double>(differ) / static_cast<double>(count);
  found.sqnr_db = train::sqnr_db(a, b);
  return found;
}

/// One line of the table: what both have, or why they cannot be compared.
struct Line {
  std::string name;
  std::string first;   ///< "[64, 32, 5, 5]", "static w4"
  std::string second;  ///< "" where it is as `first`
  bool comparable = false;
  Distance distance;
};

Line line_of(const std::string& name, std::string first, std::string second, const Tensor* a,
             const Tensor* b) {
  Line line{.name = name, .first = std::move(first), .second = std::move(second)};
  if (line.second == line.first) line.second.clear();
  line.comparable = a != nullptr && b != nullptr && a->dtype() == DType::kF32 &&
                    b->dtype() == DType::kF32 && a->shape() == b->shape() && a->elements() > 0;
  if (line.comparable) line.distance = distance(*a, *b);
  return line;
}

/// The layer's weights in reals: codes times their channel's scale.
Tensor real_weight(const integer::Layer& layer) {
  if (layer.weight.empty() || layer.weight.dtype() == DType::kF32) return layer.weight.clone();
  Tensor reals(DType::kF32, layer.weight.shape());
  const std::int64_t channels = layer.weight_scale.elements();
  if (channels == 0 || layer.weight.elements() % channels != 0) return {};
  const std::int64_t of_one = layer.weight.elements() / channels;
  for (std::int64_t i = 0; i < reals.elements(); ++i) {
    reals.data<float>()[i] = layer.weight_scale.data<float>()[i / of_one] *
                             static_cast<float>(layer.weight.data<std::int8_t>()[i]);
  }
  return reals;
}

std::vector<Line> model_lines(const integer::Model& a, const integer::Model& b) {
  const auto text = [](const integer::Layer* layer) {
    if (layer == nullptr) return std::string("absent");
    return cat(to_word(layer->mode), layer->weight.empty() ? "" : cat(" w", layer->weight_bits));
  };
  std::map<std::string, const integer::Layer*> others;
  for (const integer::Layer& layer : b.layers) others[layer.name] = &layer;
  std::vector<Line> lines;
  const auto add = [&](const std::string& name, const integer::Layer* x, const integer::Layer* y) {
    const Tensor wx = x == nullptr ? Tensor() : real_weight(*x);
    const Tensor wy = y == nullptr ? Tensor() : real_weight(*y);
    const bool both = !wx.empty() && !wy.empty();
    lines.push_back(line_of(name, text(x), text(y), both ? &wx : nullptr, both ? &wy : nullptr));
  };
  for (const integer::Layer& layer : a.layers) {
    const auto other = others.find(layer.name);
    add(layer.name, &layer, other == others.end() ? nullptr : other->second);
    if (other != others.end()) others.erase(other);
  }
  for (const auto& [name, layer] : others) add(name, nullptr, layer);
  return lines;
}

std::vector<Line> checkpoint_lines(const Archive& a, const Archive& b) {
  std::set<std::string> paths;
  for (const Archive* archive : {&a, &b}) {
    for (const auto& [path, entry] : archive->tensors()) {
      if (path.starts_with("parameters/")) paths.insert(path);
    }
  }
  std::vector<Line> lines;
  for (const std::string& path : paths) {
    const Tensor* x = a.has(path) ? &a.tensor(path) : nullptr;
    const Tensor* y = b.has(path) ? &b.tensor(path) : nullptr;
    const auto text = [](const Tensor* t) {
      return t == nullptr ? "absent" : to_string(t->shape());
    };
    lines.push_back(line_of(path.substr(path.find('/') + 1), text(x), text(y), x, y));
  }
  return lines;
}

void print_lines(const Arguments& arguments, const std::vector<Line>& lines,
                 const std::string& what, nlohmann::json row) {
  TextTable table{{what, "first", "second", "differ %", "largest difference", "SQNR dB"}, {}};
  std::size_t equal = 0;
  row["differences"] = nlohmann::json::array();
  for (const Line& line : lines) {
    const Distance& apart = line.distance;
    if (line.second.empty() && (!line.comparable || apart.differ_percent == 0.0)) {
      ++equal;
      continue;
    }
    const auto number = [&](double value, int decimals) {
      return line.comparable && std::isfinite(value) ? fixed(value, decimals) : std::string("-");
    };
    table.rows.push_back({line.name, line.first, line.second.empty() ? "same" : line.second,
                          number(apart.differ_percent, 2),
                          line.comparable ? cat(static_cast<float>(apart.largest)) : "-",
                          number(apart.sqnr_db, 2)});
    const auto json = [&](double value) {
      return line.comparable ? number_or_null(value) : nlohmann::json(nullptr);
    };
    row["differences"].push_back({{"name", line.name},
                                  {"first", line.first},
                                  {"second", line.second.empty() ? line.first : line.second},
                                  {"differ_percent", json(apart.differ_percent)},
                                  {"largest_difference", json(apart.largest)},
                                  {"sqnr_db", json(apart.sqnr_db)}});
  }
  row["equal"] = equal;
  if (!table.rows.empty()) say(arguments, format_table(table));
  say(arguments, cat(equal, " of ", lines.size(), " ", what, "s are equal\n"));
  write_json_option(arguments, {row});
}

void print_config_differences(const Arguments& arguments, const trainers::Config& first,
                              const trainers::Config& second) {
  for (const std::string& text : trainers::config_differences(first, second)) {
    say(arguments, cat("  ", text, "\n"));
  }
}

void print_models(const Arguments& arguments, const fs::path& first, const fs::path& second) {
  const ModelFile a = load_model_file(first);
  const ModelFile b = load_model_file(second);
  nlohmann::json row = {{"kind", "model"}};
  for (const ModelFile* file : {&a, &b}) {
    say(arguments, cat(file->path.string(), ": exported model, ", file->model.network, ", ",
                       file->model.method, " ", file->model.weights_label, ", ",
                       bytes_text(file->size_bytes), "\n"));
    row[file == &a ? "first" : "second"] = model_row(*file, "");
  }
  print_config_differences(arguments, a.config, b.config);
  print_lines(arguments, model_lines(a.model, b.model), "layer", std::move(row));
}

void print_checkpoints(const Arguments& arguments, const Archive& a, const Archive& b) {
  const trainers::CheckpointSummary first = trainers::summarize_checkpoint(a.source());
  const trainers::CheckpointSummary second = trainers::summarize_checkpoint(b.source());
  for (const auto& [archive, summary] : {std::pair(&a, &first), std::pair(&b, &second)}) {
    say(arguments, cat(archive->source(), ": checkpoint, ", summary->network, ", ", summary->method,
                       ", epoch ", summary->epoch, ", step ", summary->step, "\n"));
  }
  print_config_differences(arguments, first.config, second.config);
  print_lines(arguments, checkpoint_lines(a, b), "parameter", {{"kind", "checkpoint"}});
}

}  // namespace

void print_difference(const Arguments& arguments, const fs::path& first, const fs::path& second) {
  const Archive a = io::load_archive(first);
  const Archive b = io::load_archive(second);
  if (a.schema_name() != b.schema_name()) {
    throw ConfigError({second.string(),
                       cat("a file of ", first.string(), "'s kind, ", a.schema_name()),
                       b.schema_name(), "export the checkpoint to compare it with a model"});
  }
  if (a.schema_name() == "bitloom.model") {
    print_models(arguments, first, second);
  } else {
    print_checkpoints(arguments, a, b);
  }
}

}  // namespace bitloom::tools
