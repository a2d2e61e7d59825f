#include "report_columns.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;

/// Number of a key, NaN for null. @throws FormatError if it is absent.
double number(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end())
    throw FormatError({"rows.jsonl", cat("key ", key), "a row without it", "run compare again"});
  return found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

const Json* float_row(const std::vector<Json>& rows) {
  for (const Json& row : rows) {
    if (row.value("method", "") == "float") return &row;
  }
  return nullptr;
}

std::string signed_points(double value) {
  const std::string text = fixed(value, 2);
  return value > 0.0 ? "+" + text : text;
}

std::string bytes_cell(double value) {
  return value == value ? bytes_text(static_cast<std::int64_t>(value)) : "-";
}

std::string word(const Json& value) { return value.is_string() ? value.get<std::string>() : "-"; }

}  // namespace

std::string row_title(const Json& row) {
  const std::string method = row.value("method", "?");
  if (method.starts_with("float")) return method;
  return cat(method, " w", number(row, "weight_bits"), "a", number(row, "activation_bits"));
}

ReportTable report_table(const std::vector<Json>& rows) {
  const Json nothing = {{"top1", nullptr}, {"latency_ms_p50", nullptr}};
  const Json* base = float_row(rows);
  const Json& against = base != nullptr ? *base : nothing;
  ReportTable table;
  table.header = {"method", "top-1 %",     "vs float", "p50 ms",   "p90 ms",     "speed-up",
                  "size",   "peak memory", "SQNR dB",  "parity %", "difference", "minutes"};
  for (const Json& row : rows) {
    const bool is_base = &row == base;
    table.rows.push_back(
        {row_title(row), fixed(number(row, "top1"), 2),
         is_base ? "-" : signed_points(number(row, "top1") - number(against, "top1")),
         fixed(number(row, "latency_ms_p50"), 3), fixed(number(row, "latency_ms_p90"), 3),
         is_base ? "-"
                 : fixed(number(against, "latency_ms_p50") / number(row, "latency_ms_p50"), 2),
         bytes_cell(number(row, "size_bytes")), bytes_cell(number(row, "peak_memory_bytes")),
         fixed(number(row, "sqnr_db"), 1), fixed(100.0 * number(row, "parity_identical"), 2),
         scientific(number(row, "largest_difference")), fixed(number(row, "minutes"), 2)});
  }
  return table;
}

const Json& machine_row_of(const std::vector<Json>& rows) {
  const auto profiled = std::find_if(rows.begin(), rows.end(), [](const Json& each) {
    return each.at("profile").is_string();  // where integers are multiplied
  });
  return profiled != rows.end() ? *profiled : rows.front();
}

std::string machine_line(const std::vector<Json>& rows) {
  if (rows.empty()) return "no rows";
  const Json& row = machine_row_of(rows);
  return cat(word(row.at("network")), " on ", word(row.at("device")), ", ", word(row.at("isa")),
             ", ", number(row, "threads"), number(row, "threads") == 1.0 ? " thread" : " threads",
             ", batch ", number(row, "batch"), ", backend ", word(row.at("backend")), ", profile ",
             word(row.at("profile")));
}

std::vector<std::string> report_notes(const std::vector<Json>& rows) {
  std::vector<std::string> notes;
  const double runs = rows.empty() ? 0.0 : number(rows.front(), "runs");
  const double images = rows.empty() ? 0.0 : number(rows.front(), "images");
  notes.push_back(cat("top-1: exported model on ", fixed(images, 0),
                      " test images; validation images never among them."));
  notes.push_back(
      cat("Latency: ", fixed(runs, 0),
          " runs of each model, in turns in one process, so that all met the same machine."));
  notes.push_back(
      "Size: the exported file. Peak memory: highest use of a process that runs this one model, "
      "above its start-up.");
  notes.push_back(
      "SQNR: logits of PTQ against the float network's, of QAT against its own weights' with the "
      "quantizers off; - where tanh stands between weights and codes (pact, dorefa).");
  notes.push_back(
      "Parity: share of test images whose logits equal the reference executor's bit for bit; - "
      "where products are real (float, ptq-weight-only), whose sums have no one right order.");
  notes.push_back("Difference: largest |logit - the reference executor's| of any test image.");
  notes.push_back(
      "ptq-dynamic always has activations of 8 bits, on a grid of each image's own; "
      "ptq-weight-only computes with reals (a32), so it saves size, not time.");
  notes.push_back(
      "Minutes: of this step alone; PTQ and QAT start from the float checkpoint, whose minutes "
      "and epochs come on top: QAT has seen more training than the float row.");
  for (const Json& row : rows) {
    if (!row.at("quantizer").is_string()) continue;  // float
    const double agreement = number(row, "simulation_agreement");
    const std::string simulation =
        cat("top-1 as the float simulation on ", fixed(100.0 * agreement, 2), " % of the images; ");
    notes.push_back(cat(row_title(row), ": ", agreement == agreement ? simulation : "",
                        word(row.at("quantizer")), ", first and last layer ",
                        number(row, "first_last_bits") == 0.0
                            ? "as the rest"
                            : cat(number(row, "first_last_bits"), " bits"),
                        ", coarsest weights ", number(row, "levels"), " levels."));
  }
  return notes;
}

}  // namespace bitloom::tools
