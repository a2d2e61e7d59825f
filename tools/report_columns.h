// The columns that the terminal's table and the page's table share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

struct ReportTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// One line per row; compared columns stand against the row whose method is "float".
ReportTable report_table(const std::vector<nlohmann::json>& rows);

/// "qat w4a4", "float".
std::string row_title(const nlohmann::json& row);

/// The row that says most of the machine: one that multiplied integers, if there is one.
/// @pre rows is not empty.
const nlohmann::json& machine_row_of(const std::vector<nlohmann::json>& rows);

/// "lenet5 on AMD EPYC, avx512_vnni, 2 threads, batch 1, backend onednn, profile int8".
std::string machine_line(const std::vector<nlohmann::json>& rows);

/// What a reader must know to read the table rightly, one sentence each.
std::vector<std::string> report_notes(const std::vector<nlohmann::json>& rows);

}  // namespace bitloom::tools
