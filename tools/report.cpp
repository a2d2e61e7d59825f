#include "report.h"

#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "embedded.h"
#include "html.h"
#include "report_columns.h"
#include "report_sections.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;

/// One <details> per model: what ran each layer.
std::string plan_sections(const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) {
    if (!row.contains("plan")) continue;
    std::vector<std::vector<std::string>> lines;
    for (const Json& layer : row.at("plan")) {
      const auto word = [&](const char* key) { return layer.value(key, std::string()); };
      lines.push_back({word("layer"), word("op"), word("mode"), cat(layer.value("weight_bits", 0)),
                       cat(layer.value("activation_bits", 0)), word("implementation"), word("isa"),
                       word("declined")});
    }
    text += cat(
        "<details><summary>Plan of ", escape_html(row_title(row)),
        "</summary><div class=\"scroll plain\">",
        html_table({"layer", "op", "mode", "W", "A", "implementation", "ISA", "declined"}, lines),
        "</div></details>\n");
  }
  if (text.empty()) return "";
  return cat("<details class=\"group\"><summary>Plans: what runs each layer</summary>\n", text,
             "</details>\n");
}

std::string provenance(const std::vector<Json>& rows) {
  if (rows.empty()) return "";
  const Json& row = rows.front();
  return cat("bitloom ", version(), ", commit ", row.at("commit").get<std::string>(), ", seed ",
             row.at("seed").dump());
}

std::string text_of(const Json& value) {
  if (value.is_null()) return "-";
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// What the first row that multiplies integers says of its machine.
std::string device_section(const std::vector<Json>& rows) {
  if (rows.empty()) return "";
  std::vector<std::vector<std::string>> lines;
  for (const char* key : {"device", "isa", "threads", "batch", "backend", "profile", "runs",
                          "images", "commit", "seed", "onednn_version", "cpu_flags", "governor"}) {
    const Json& row = machine_row_of(rows);
    if (row.contains(key)) lines.push_back({key, text_of(row.at(key))});
  }
  return cat("<details><summary>Device</summary><div class=\"plain facts\">",
             html_table({"key", "value"}, lines), "</div></details>\n");
}

std::string notes_section(const std::vector<Json>& rows) {
  std::string text = "<section><h2>How to read this</h2><ul>\n";
  for (const std::string& note : report_notes(rows)) {
    text += cat("<li>", escape_html(note), "</li>\n");
  }
  return text + "</ul></section>\n";
}

}  // namespace

std::string report_text(const std::vector<Json>& rows) {
  const ReportTable table = report_table(rows);
  std::string text =
      cat(machine_line(rows), "\n\n", format_table({table.header, table.rows}), "\n");
  for (const std::string& note : report_notes(rows)) text += note + "\n";
  return text;
}

std::string report_document(const PageHead& head, const std::string& body) {
  return fill_page(report_page(), {{"title", escape_html(head.title)},
                                   {"machine", escape_html(head.machine)},
                                   {"provenance", escape_html(head.provenance)},
                                   {"body", body}});
}

std::string report_html(const ReportSources& sources) {
  const std::vector<Json>& rows = sources.rows;
  const ReportTable table = report_table(rows);
  const std::string title =
      rows.empty() ? "bitloom" : cat("bitloom: ", rows.front().at("network").get<std::string>());
  std::string body = cat("<section><h2>Comparison</h2><div class=\"scroll\">",
                         html_table(table.header, table.rows, true), "</div></section>\n");
  body += overview_charts(rows) + training_charts(sources.epochs) + layer_charts(sources.layers);
  body += notes_section(rows) + plan_sections(rows) + device_section(rows);
  body += cat("<details><summary>Configuration</summary><pre>", escape_html(sources.config_ini),
              "</pre></details>\n");
  return report_document({title, machine_line(rows), provenance(rows)}, body);
}

}  // namespace bitloom::tools
