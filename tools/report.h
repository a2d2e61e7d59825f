// What a comparison shows: a table for the terminal and one self-contained HTML page.
// Both read rows as rows.jsonl holds them; null means not measured or without meaning.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

/// Table and notes for the terminal.
/// @throws FormatError if a row lacks one of the keys it shows.
std::string report_text(const std::vector<nlohmann::json>& rows);

/// A page that opens without a network: the same table, bar charts of accuracy, latency, size and
/// memory, the plan of each model, the configuration. Every text is escaped.
std::string report_html(const std::vector<nlohmann::json>& rows, const std::string& config_ini);

/// Text with the five characters that HTML reads replaced.
std::string escape_html(const std::string& text);

/// `page` with every {{name}} replaced, in one pass: values are not searched again.
/// @throws FormatError for a placeholder without a value.
std::string fill_page(std::string_view page,
                      const std::vector<std::pair<std::string, std::string>>& values);

}  // namespace bitloom::tools
