#include "report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "embedded.h"
#include "report_columns.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;

std::string html_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows) {
  std::string text = "<table><thead><tr>";
  for (const std::string& cell : header)
    text += cat("<th scope=\"col\">", escape_html(cell), "</th>");
  text += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    text += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += i == 0 ? cat("<th scope=\"row\">", escape_html(row[i]), "</th>")
                     : cat("<td>", escape_html(row[i]), "</td>");
    }
    text += "</tr>\n";
  }
  return text + "</tbody></table>";
}

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
        "</summary><div class=\"scroll plan\">",
        html_table({"layer", "op", "mode", "W", "A", "implementation", "ISA", "declined"}, lines),
        "</div></details>\n");
  }
  return text;
}

/// JSON inside a <script>: no '<' may stand in it, or "</script" in a name would end the element.
std::string script_json(const Json& json) {
  std::string text;
  for (const char byte : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (byte == '<') {
      text += "\\u003c";
    } else {
      text += byte;
    }
  }
  return text;
}

Json chart_data(const std::vector<Json>& rows) {
  Json data = Json::array();
  for (const Json& row : rows) {
    data.push_back({{"title", row_title(row)},
                    {"method", row.at("method")},
                    {"top1", row.at("top1")},
                    {"p50", row.at("latency_ms_p50")},
                    {"size", row.at("size_bytes")},
                    {"memory", row.at("peak_memory_bytes")}});
  }
  return data;
}

std::string provenance(const std::vector<Json>& rows) {
  if (rows.empty()) return "";
  const Json& row = rows.front();
  return cat("bitloom ", version(), ", commit ", row.at("commit").get<std::string>(), ", seed ",
             row.at("seed").dump());
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string safe;
  for (const char byte : text) {
    switch (byte) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += byte;
    }
  }
  return safe;
}

std::string fill_page(std::string_view page,
                      const std::vector<std::pair<std::string, std::string>>& values) {
  std::string text;
  while (true) {
    const std::size_t begin = page.find("{{");
    text += page.substr(0, begin);
    if (begin == std::string_view::npos) return text;
    const std::size_t end = page.find("}}", begin);
    const std::string_view name =
        page.substr(begin + 2, end == std::string_view::npos ? end : end - begin - 2);
    const auto value = std::find_if(values.begin(), values.end(),
                                    [&](const auto& pair) { return pair.first == name; });
    if (end == std::string_view::npos || value == values.end()) {
      throw FormatError(
          {"report page", "a known placeholder", cat("'", name.substr(0, 40), "'"), ""});
    }
    text += value->second;
    page.remove_prefix(end + 2);
  }
}

std::string report_text(const std::vector<Json>& rows) {
  const ReportTable table = report_table(rows);
  std::string text =
      cat(machine_line(rows), "\n\n", format_table({table.header, table.rows}), "\n");
  for (const std::string& note : report_notes(rows)) text += note + "\n";
  return text;
}

std::string report_html(const std::vector<Json>& rows, const std::string& config_ini) {
  const ReportTable table = report_table(rows);
  std::string notes;
  for (const std::string& note : report_notes(rows))
    notes += cat("<li>", escape_html(note), "</li>\n");
  return fill_page(
      report_page(),
      {{"title", escape_html(rows.empty() ? "bitloom"
                                          : cat("bitloom: ",
                                                rows.front().at("network").get<std::string>()))},
       {"machine", escape_html(machine_line(rows))},
       {"provenance", escape_html(provenance(rows))},
       {"table", html_table(table.header, table.rows)},
       {"notes", notes},
       {"plans", plan_sections(rows)},
       {"config", escape_html(config_ini)},
       {"data", script_json(chart_data(rows))},
       {"chart_library", std::string(chart_library())}});
}

}  // namespace bitloom::tools
