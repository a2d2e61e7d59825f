#include "html.h"

#include <algorithm>

#include "bitloom/core/error.h"

namespace bitloom::tools {

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

std::string html_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows, bool sortable) {
  std::string text = sortable ? "<table class=\"sortable\"><thead><tr>" : "<table><thead><tr>";
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

}  // namespace bitloom::tools
