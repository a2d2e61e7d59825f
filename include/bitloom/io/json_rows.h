// rows.jsonl: one JSON object a line, appended as a run goes on.
// Comes from: trainers, tools (bench, compare). Goes to: tools (report).
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitloom::io {

/// The rows, each a line. Text that is not UTF-8 gets replacement characters; NaN and infinities
/// become null, as JSON has none.
std::string json_lines(const std::vector<nlohmann::json>& rows);

/// Appends `row` as one line of json_lines() and fsyncs it; makes the file if there is none. What a
/// killed process left of its last line is cut off first. @throws FormatError if it cannot be
/// written.
void append_row(const std::filesystem::path& path, const nlohmann::json& row);

/// All rows in order; empty lines are skipped, and so is an unfinished last line.
/// @throws FormatError that names the line if the file is missing or a line is not a JSON object.
std::vector<nlohmann::json> read_rows(const std::filesystem::path& path);

}  // namespace bitloom::io
