// What a comparison shows: a table for the terminal and one self-contained HTML page.
// Both read rows as rows.jsonl holds them; null means not measured or without meaning.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

/// What the page shows. Only rows are needed; charts without data are left out.
struct ReportSources {
  std::vector<nlohmann::json> rows = {};
  std::string config_ini = {};
  std::vector<nlohmann::json> epochs = {};  ///< rows of the runs' epochs.jsonl, each with its "run"
  std::vector<nlohmann::json> layers = {};  ///< rows of layers.jsonl: report_files.h
};

/// Table and notes for the terminal.
/// @throws FormatError if a row lacks one of the keys it shows.
std::string report_text(const std::vector<nlohmann::json>& rows);

/// A page that opens without a network: the same table, sortable; the charts of report_sections.h;
/// the plan of each model, the device, the configuration. Every text is escaped.
std::string report_html(const ReportSources& sources);

/// What stands above every page.
struct PageHead {
  std::string title;
  std::string machine;
  std::string provenance;
};
/// The page's frame (styles, script for sorting) around `body`, which is HTML.
std::string report_document(const PageHead& head, const std::string& body);

}  // namespace bitloom::tools
