// sqnr, sensitivity, allocate: thin programs over bitloom/trainers/bits.h.
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "allocation_latency.h"
#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/quant/layer_bits.h"
#include "bitloom/trainers/bits.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "global_options.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

constexpr std::int64_t kMostImages = 1'000'000;
constexpr std::int64_t kUsualImages = 256;

trainers::NoiseRequest noise_request(const Arguments& arguments,
                                     const std::vector<std::string>& more = {}) {
  trainers::NoiseRequest request;
  request.checkpoint = arguments.value("checkpoint");
  request.images = arguments.integer("images", 1, kMostImages, kUsualImages);
  const trainers::Config stored = trainers::summarize_checkpoint(request.checkpoint).config;
  std::vector<std::string> overrides = arguments.overrides;
  // A float run's [quant] says nothing of how it is to be quantized.
  if (stored.quant.method == "float") {
    overrides.insert(overrides.begin(), "quant.method=ptq-static");
  }
  overrides.insert(overrides.end(), more.begin(), more.end());
  request.config = trainers::with_overrides(stored, overrides);
  prepare_machine(request.config);
  return request;
}

nlohmann::json named_row(const std::string& command, const std::string& network,
                         std::int64_t images) {
  nlohmann::json row = machine_row();
  row["command"] = command;
  row["network"] = network;
  row["images"] = images;
  return row;
}

nlohmann::json db_list(const std::vector<double>& values) {
  nlohmann::json list = nlohmann::json::array();
  for (const double value : values) list.push_back(number_or_null(value));
  return list;
}

nlohmann::json points_json(const std::vector<trainers::SqnrPoint>& points) {
  nlohmann::json list = nlohmann::json::array();
  for (const trainers::SqnrPoint& point : points) {
    list.push_back({{"bits", point.bits},
                    {"plain_db", number_or_null(point.plain_db)},
                    {"refined_db", number_or_null(point.refined_db)},
                    {"measured_db", number_or_null(point.measured_db)}});
  }
  return list;
}

const char* kind_of(bool is_weight) { return is_weight ? "weight" : "activation"; }

// Own SQNR of each step at every second width, and what the densities say of its slope.
std::string steps_text(const trainers::SqnrReport& report) {
  TextTable table{{"step", "kind", "4 bits", "6 bits", "8 bits", "kappa", "density", "predicted"},
                  {}};
  for (const trainers::StepSqnr& step : report.steps) {
    table.rows.push_back({step.node, kind_of(step.is_weight), fixed(step.own_db.at(0), 1),
                          fixed(step.own_db.at(2), 1), fixed(step.own_db.at(4), 1),
                          fixed(step.kappa_db_per_bit, 2), step.density,
                          fixed(step.predicted_kappa_db_per_bit, 2)});
  }
  return format_table(table);
}

std::vector<std::string> point_cells(const std::string& place, const trainers::SqnrPoint& point) {
  return {place, cat(point.bits), fixed(point.plain_db, 1), fixed(point.refined_db, 1),
          fixed(point.measured_db, 1)};
}

std::string layers_text(const trainers::SqnrReport& report) {
  TextTable table{{"layer", "bits", "plain dB", "refined dB", "measured dB"}, {}};
  for (const trainers::StepSqnr& step : report.steps) {
    for (const trainers::SqnrPoint& point : step.points) {
      if (point.bits == 6) table.rows.push_back(point_cells(step.node, point));
    }
  }
  for (const trainers::SqnrPoint& point : report.output) {
    table.rows.push_back(point_cells("output", point));
  }
  return format_table(table);
}

std::string methods_text(const trainers::AllocationReport& report) {
  TextTable table{
      {"widths", "avg W", "avg A", "size", "bit-ops", "predicted dB", "measured dB", "seconds"},
      {}};
  for (const trainers::AllocationSummary& row : report.methods) {
    table.rows.push_back({row.method, fixed(row.average_weight_bits, 3),
                          fixed(row.average_activation_bits, 3), fixed(row.size_ratio, 4),
                          fixed(row.bit_operations_ratio, 4), fixed(row.predicted_db, 2),
                          fixed(row.measured_db, 2), fixed(row.seconds, 2)});
  }
  return format_table(table);
}

std::string widths_text(const trainers::AllocationReport& report) {
  TextTable table{{"layer", "kind", "elements", "equal", "closed form", "bits"}, {}};
  for (const trainers::AllocatedWidth& width : report.widths) {
    table.rows.push_back({width.layer, kind_of(width.is_weight), cat(width.elements),
                          cat(width.equal_bits), fixed(width.real_bits, 2), cat(width.bits)});
  }
  return format_table(table);
}

nlohmann::json allocation_row(const trainers::AllocationReport& report) {
  nlohmann::json row = named_row("allocate", report.network, report.images);
  row["layer_bits"] = quant::to_text(report.config.quant.layer_bits);
  row["config_hash"] = trainers::config_hash(report.config);
  row["layers"] = nlohmann::json::array();
  for (const trainers::AllocatedWidth& width : report.widths) {
    row["layers"].push_back({{"layer", width.layer},
                             {"kind", kind_of(width.is_weight)},
                             {"elements", width.elements},
                             {"equal_bits", width.equal_bits},
                             {"real_bits", width.real_bits},
                             {"bits", width.bits}});
  }
  row["methods"] = nlohmann::json::array();
  for (const trainers::AllocationSummary& method : report.methods) {
    row["methods"].push_back({{"method", method.method},
                              {"layer_bits", quant::to_text(method.layer_bits)},
                              {"average_weight_bits", method.average_weight_bits},
                              {"average_activation_bits", method.average_activation_bits},
                              {"size_ratio", method.size_ratio},
                              {"bit_operations_ratio", method.bit_operations_ratio},
                              {"predicted_sqnr_db", number_or_null(method.predicted_db)},
                              {"measured_sqnr_db", number_or_null(method.measured_db)},
                              {"seconds", method.seconds}});
  }
  return row;
}

double positive(const Arguments& arguments, const std::string& option) {
  const std::string text = arguments.value(option);
  double number = 0.0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || rest != text.data() + text.size() || !(number > 0.0)) {
    throw ConfigError({cat("--", option), "a number above 0", cat("'", text, "'"), ""});
  }
  return number;
}

// Times equal and chosen widths, where asked to, and refuses a target that these do not meet. Codes
// of 2 to 8 bits lie in bytes while the int8 kernels run, so no choice among them is faster.
void add_latencies(const Arguments& arguments, const trainers::NoiseRequest& request,
                   const trainers::AllocationReport& report, nlohmann::json& row) {
  constexpr std::int64_t kRuns = 100;
  const bool has_target = arguments.has("target-latency-ms");
  if (!arguments.has("latency") && !has_target) return;
  const double target_ms = has_target ? positive(arguments, "target-latency-ms") : 0.0;
  trainers::Config equal = request.config;
  equal.quant.bits = "equal";
  const std::vector<Latency> latencies =
      latency_of_widths(request.checkpoint, {equal, report.config}, kRuns);
  for (std::size_t i = 0; i < latencies.size(); ++i) {
    row["methods"][i]["latency_ms_p50"] = latencies[i].p50_ms;
  }
  const double chosen_ms = latencies.back().p50_ms;
  say(arguments, cat("\nlatency: ", fixed(chosen_ms, 3), " ms, with equal widths ",
                     fixed(latencies.front().p50_ms, 3),
                     " ms: int8 kernels take as long for 2 bits as for 8\n"));
  if (!has_target || chosen_ms <= target_ms) return;
  throw ConfigError(ErrorText{
      "--target-latency-ms",
      cat("at least ", chosen_ms, ", as int8 kernels take as long for 2 bits as for 8"),
      cat(target_ms), "raise it, take a smaller network, or one-bit layers (quant.quantizer)"});
}

// The keys that --target-... stand for.
std::vector<std::string> target_overrides(const Arguments& arguments) {
  std::vector<std::string> overrides;
  for (const auto& [option, key] :
       {std::pair{"target-sqnr-db", "quant.target_sqnr_db"},
        std::pair{"target-size-ratio", "quant.target_size_ratio"},
        std::pair{"target-bit-operations", "quant.target_bit_operations"}}) {
    if (!arguments.has(option)) continue;
    positive(arguments, option);
    overrides.push_back(cat(key, "=", arguments.value(option)));
  }
  return overrides;
}

}  // namespace

int run_sqnr(const Arguments& arguments) {
  const trainers::SqnrReport report = trainers::measure_sqnr(noise_request(arguments));
  say(arguments, steps_text(report) + "\n" + layers_text(report));
  nlohmann::json row = named_row("sqnr", report.network, report.images);
  row["widths"] = report.widths;
  row["output"] = points_json(report.output);
  row["steps"] = nlohmann::json::array();
  for (const trainers::StepSqnr& step : report.steps) {
    row["steps"].push_back({{"step", step.node},
                            {"layer", step.layer},
                            {"kind", kind_of(step.is_weight)},
                            {"elements", step.elements},
                            {"own_db", db_list(step.own_db)},
                            {"points", points_json(step.points)},
                            {"kappa_db_per_bit", number_or_null(step.kappa_db_per_bit)},
                            {"density", step.density},
                            {"predicted_kappa_db_per_bit", step.predicted_kappa_db_per_bit}});
  }
  write_json_option(arguments, {row});
  return kExitDone;
}

int run_sensitivity(const Arguments& arguments) {
  const trainers::SensitivityReport report =
      trainers::measure_sensitivity(noise_request(arguments));
  TextTable table{{"step", "kind", "2", "3", "4", "5", "6", "7", "8"}, {}};
  nlohmann::json row = named_row("sensitivity", report.network, report.images);
  row["seconds"] = report.seconds;
  row["steps"] = nlohmann::json::array();
  for (const trainers::SensitivityRow& step : report.steps) {
    std::vector<std::string> cells{step.node, kind_of(step.is_weight)};
    for (const double db : step.output_db) cells.push_back(fixed(db, 1));
    table.rows.push_back(std::move(cells));
    row["steps"].push_back({{"step", step.node},
                            {"layer", step.layer},
                            {"kind", kind_of(step.is_weight)},
                            {"output_db", db_list(step.output_db)}});
  }
  say(arguments, format_table(table));
  say(arguments, cat("SQNR of the logits in dB, that step alone at 2 .. 8 bits; ",
                     fixed(report.seconds, 1), " seconds\n"));
  write_json_option(arguments, {row});
  return kExitDone;
}

int run_allocate(const Arguments& arguments) {
  const std::filesystem::path out = arguments.value("out");
  const trainers::NoiseRequest request = noise_request(arguments, target_overrides(arguments));
  const trainers::AllocationReport report =
      trainers::allocate_bits(request, arguments.has("greedy"));
  say(arguments, widths_text(report) + "\n" + methods_text(report));
  nlohmann::json row = allocation_row(report);
  add_latencies(arguments, request, report, row);
  const std::string table = quant::to_text(report.config.quant.layer_bits);
  say(arguments, cat("\n--quant.layer_bits=", table, "\n"));
  if (!out.empty()) {
    io::write_whole_file(out,
                         cat("# Widths of each layer, chosen by bitloom allocate --checkpoint ",
                             arguments.value("checkpoint"), "\n# Run:    bitloom compare --config ",
                             out.string(), " --out DIR\n", trainers::to_ini(report.config)));
    say(arguments, cat("wrote ", out.string(), "\n"));
  }
  write_json_option(arguments, {row});
  return kExitDone;
}

}  // namespace bitloom::tools
