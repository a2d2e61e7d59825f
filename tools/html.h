// Small pieces of HTML. Everything that a file says goes through escape_html.
// Goes to: report*.cpp.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bitloom::tools {

/// Text with the five characters that HTML reads replaced.
std::string escape_html(const std::string& text);

/// `page` with every {{name}} replaced, in one pass: values are not searched again.
/// @throws FormatError for a placeholder without a value.
std::string fill_page(std::string_view page,
                      const std::vector<std::pair<std::string, std::string>>& values);

/// A table whose first column names its rows. Cells are escaped. The page's script sorts a table of
/// class "sortable" by the column whose head is clicked.
std::string html_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows, bool sortable = false);

}  // namespace bitloom::tools
