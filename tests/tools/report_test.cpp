#include "report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "html.h"
#include "report_columns.h"
#include "tools/rows.h"

namespace bitloom::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ReportTable, ComparesEveryRowWithFloat) {
  const ReportTable table = report_table(sample_rows());
  ASSERT_EQ(table.rows.size(), 5U);
  EXPECT_THAT(table.rows[0], ElementsAre("float", "91.25", "-", "0.400", "0.500", "-", "31.3 KiB",
                                         "32.0 MiB", "-", "-", "4.8e-07", "1.50"));
  EXPECT_THAT(table.rows[2],
              ElementsAre("ptq-static w4a4", "84.50", "-6.75", "0.250", "0.312", "1.60", "3.9 KiB",
                          "4.0 MiB", "14.0", "100.00", "0", "1.50"));
  EXPECT_EQ(table.rows[3][2], "+0.05");
  EXPECT_EQ(table.rows[3][5], "2.50");
}

TEST(ReportTable, LeavesComparisonsOutWithoutAFloatRow) {
  const ReportTable table = report_table({sample_row("qat", 8, 91.3, 0.16)});
  EXPECT_EQ(table.rows[0][2], "-");
  EXPECT_EQ(table.rows[0][5], "-");
}

TEST(ReportText, SaysWhatDynamicAndWeightOnlyRowsAre) {
  nlohmann::json dynamic = sample_row("ptq-dynamic", 4, 90.0, 0.3);
  dynamic["activation_bits"] = 8;
  dynamic["simulation_agreement"] = nullptr;
  nlohmann::json weight_only = sample_row("ptq-weight-only", 4, 90.5, 0.5);
  weight_only["activation_bits"] = 32;
  weight_only["profile"] = nullptr;
  weight_only["parity_identical"] = nullptr;
  weight_only["largest_difference"] = 2.5e-6;
  const std::vector<nlohmann::json> rows = {sample_row("float", 32, 91.25, 0.4), dynamic,
                                            weight_only};
  const ReportTable table = report_table(rows);
  EXPECT_EQ(table.rows[1][0], "ptq-dynamic w4a8");
  EXPECT_EQ(table.rows[1][9], "100.00");
  EXPECT_EQ(table.rows[2][0], "ptq-weight-only w4a32");
  EXPECT_EQ(table.rows[2][9], "-");
  EXPECT_EQ(table.rows[2][10], "2.5e-06");
  EXPECT_THAT(machine_line(rows), HasSubstr("profile int8"));  // not the last row's
  const std::string text = report_text(rows);
  EXPECT_THAT(text, HasSubstr("ptq-dynamic w4a8: mse, first and last layer 8 bits"));
  EXPECT_THAT(text, HasSubstr("ptq-weight-only w4a32: top-1 as the float simulation on 99.87 %"));
}

TEST(ReportTable, NamesAMissingKey) {
  nlohmann::json row = sample_row("float", 32, 91.25, 0.4);
  row.erase("sqnr_db");
  try {
    report_table({row});
    FAIL() << "took a row without sqnr_db";
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("sqnr_db"));
  }
}

TEST(ReportText, HoldsMachineAndEveryRow) {
  const std::string text = report_text(sample_rows());
  EXPECT_THAT(
      text,
      HasSubstr(
          "lenet5 on Test CPU, avx512_vnni, 2 threads, batch 1, backend onednn, profile int8"));
  for (const nlohmann::json& row : sample_rows()) EXPECT_THAT(text, HasSubstr(row_title(row)));
  EXPECT_THAT(text, HasSubstr("99.87 % of the images"));
}

/// Every <section class="chart"> of a page: its id and how many marks it has.
std::map<std::string, int> charts_of(const std::string& page) {
  std::map<std::string, int> charts;
  const std::string open = "<section class=\"chart";
  for (std::size_t at = page.find(open); at != std::string::npos;) {
    const std::size_t end = page.find("</section>", at);
    const std::string section = page.substr(at, end - at);
    const std::size_t id = section.find("id=\"") + 4;
    int marks = 0;
    for (std::size_t mark = section.find("class=\"mark"); mark != std::string::npos;
         mark = section.find("class=\"mark", mark + 1)) {
      ++marks;
    }
    charts[section.substr(id, section.find('"', id) - id)] = marks;
    at = page.find(open, end);
  }
  return charts;
}

TEST(ReportHtml, HoldsTableAndPlanOfEveryRow) {
  const std::vector<nlohmann::json> rows = sample_rows();
  const std::string page = report_html({.rows = rows, .config_ini = "[train]\nepochs = 4\n"});
  const ReportTable table = report_table(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_THAT(
        page, HasSubstr("<th scope=\"row\">" + table.rows[i][0] + "</th><td>" + table.rows[i][1]));
    EXPECT_THAT(page, HasSubstr("Plan of " + table.rows[i][0]));
  }
  EXPECT_THAT(page, HasSubstr("epochs = 4"));
  EXPECT_THAT(page, HasSubstr("<td>Test CPU</td>"));
}

TEST(ReportHtml, EveryChartHasData) {
  const std::vector<nlohmann::json> rows = sample_rows();
  const std::string page =
      report_html({.rows = rows, .epochs = sample_epochs(), .layers = sample_layers()});
  const std::map<std::string, int> charts = charts_of(page);
  const int count = static_cast<int>(rows.size());
  const std::map<std::string, int> expected = {
      {"error", count},
      {"latency", count},
      {"size", count},
      {"memory", count},
      {"accuracy-bits", count + 3},  // and a line for each method
      {"accuracy-size", count + 3},  // and the two that are not beaten, with their line
      {"widths", 2 * 2},             // layers, patterns of w8 and w4
      {"validation", 2 * (3 + 1)},   // runs, epochs and a line
      {"loss", 2 * (3 + 1)},
      {"code-changes", 3 + 1},  // of the run that has few-bit weights
      {"sqnr", 4},              // runs, steps
      {"unique", 1},
      {"zeros", 1},
      {"weights-0", 1},
      {"activations-0", 1},
      {"weights-1", 1},
      {"activations-1", 1}};
  for (const auto& [id, marks] : expected) {
    ASSERT_TRUE(charts.contains(id)) << id;
    EXPECT_EQ(charts.at(id), marks) << id;
  }
  EXPECT_EQ(charts.size(), expected.size());
}

TEST(ReportHtml, LeavesChartsWithoutDataOut) {
  for (const auto& [id, marks] : charts_of(report_html({.rows = sample_rows()}))) {
    EXPECT_GT(marks, 0) << id;
  }
  EXPECT_TRUE(charts_of(report_html({})).empty());
}

TEST(ReportHtml, LoadsNothingFromElsewhere) {
  const std::string page = report_html({.rows = sample_rows(), .layers = sample_layers()});
  for (const char* word : {"src=", "<link", "@import", "url(", "fetch(", "http", "{{"}) {
    EXPECT_THAT(page, Not(HasSubstr(word))) << word;
  }
}

TEST(ReportHtml, EscapesWhatFilesSay) {
  const std::string evil = "</section><img id=evil>";
  std::vector<nlohmann::json> rows = sample_rows();
  for (nlohmann::json& row : rows) {
    row["network"] = evil;
    row["method"] = evil;
    row["device"] = evil;
    row["plan"][0]["declined"] = evil;
    row["plan"][0]["layer"] = evil;
  }
  std::vector<nlohmann::json> epochs = sample_epochs();
  for (nlohmann::json& epoch : epochs) epoch["run"] = evil;
  std::vector<nlohmann::json> layers = sample_layers();
  for (nlohmann::json& run : layers) {
    run["title"] = evil;
    run["steps"][0]["node"] = evil;
  }
  const std::string page =
      report_html({.rows = rows, .config_ini = evil, .epochs = epochs, .layers = layers});
  EXPECT_THAT(page, Not(HasSubstr("<img id=evil>")));
  EXPECT_THAT(page, HasSubstr("&lt;/section&gt;&lt;img id=evil&gt;"));
}

TEST(ReportHtml, TakesNullsAndSaysThem) {
  std::vector<nlohmann::json> rows = {sample_row("float", 32, 91.25, 0.4),
                                      sample_row("qat", 8, 91.3, 0.2)};
  rows[0]["top1"] = nullptr;
  rows[0]["peak_memory_bytes"] = nullptr;
  const std::string page = report_html({.rows = rows});
  EXPECT_THAT(page, HasSubstr("not measured"));
  EXPECT_EQ(charts_of(page).at("memory"), 1);
}

TEST(FillPage, ReplacesOnceAndNamesUnknownPlaceholders) {
  EXPECT_EQ(fill_page("a {{x}} b {{y}}", {{"x", "{{y}}"}, {"y", "2"}}), "a {{y}} b 2");
  EXPECT_THROW(fill_page("{{z}}", {{"x", "1"}}), FormatError);
  EXPECT_THROW(fill_page("{{x", {{"x", "1"}}), FormatError);
}

TEST(EscapeHtml, ReplacesTheFiveCharacters) {
  EXPECT_EQ(escape_html("<a href=\"x\">'&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
}

}  // namespace
}  // namespace bitloom::tools
