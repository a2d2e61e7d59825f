// Charts of a page as HTML and inline SVG: no script, no library. Marks stretch with the page, text
// keeps its size, so one chart serves a phone and a desk.
// Goes to: report_sections.cpp, report_devices.cpp. Styles: report_page.html.
//
// Every chart is a <section class="chart" id=...> whose marks have class "mark"; values that are
// not finite are said ("not measured") or left out, and a chart without one finite value is "".
#pragma once

#include <limits>
#include <string>
#include <vector>

namespace bitloom::tools {

/// What stands above a chart. `id` is unique in a page: letters, digits and '-'.
struct ChartHead {
  std::string id;
  std::string title;
  std::string hint;  ///< unit, and which way is better
};

/// Colour of a method's family: "ptq-kl" has that of ptq.
std::string method_color(const std::string& method);
/// Colour of the series of this number; repeats after ten.
std::string series_color(std::size_t index);

struct Bar {
  std::string label;
  double value = 0.0;  ///< not negative; NaN: not measured
  std::string text;    ///< behind its end: "0.34 ms"
  std::string color;
};
/// Horizontal bars from 0, a line each.
std::string bar_chart(const ChartHead& head, const std::vector<Bar>& bars);

/// Bars under a common heading: label of the group once, the same labels in each.
struct BarGroup {
  std::string label;
  std::vector<Bar> bars;
};
std::string grouped_bar_chart(const ChartHead& head, const std::vector<BarGroup>& groups);

/// A bar of parts end to end; parts of one label have one colour, which the legend explains.
struct StackedBar {
  std::string label;
  std::vector<Bar> parts;  ///< text: shown while the pointer rests on the part
  std::string text;        ///< behind the end: the sum
};
std::string stacked_bar_chart(const ChartHead& head, const std::vector<StackedBar>& bars);

/// A table whose cells are coloured by their value.
struct HeatMap {
  std::vector<std::string> columns;
  struct Row {
    std::string label;
    std::vector<double> values;  ///< one a column; NaN: an empty cell
  };
  std::vector<Row> rows;
  double low = 0.0;   ///< value of the palest colour
  double high = 1.0;  ///< value of the darkest
  int decimals = 1;
};
std::string heat_map(const ChartHead& head, const HeatMap& map);

struct Point {
  double x = 0.0;
  double y = 0.0;
  std::string note = {};  ///< shown while the pointer rests on it
};
struct Series {
  std::string name;
  std::string color;
  std::vector<Point> points;
  bool joined = true;    ///< by straight lines, in order
  bool stepped = false;  ///< by steps: first along x, then along y
  bool dashed = false;
};
struct Axes {
  std::string x_label;
  std::string y_label;
  bool log_x = false;
  std::vector<double> x_ticks = {};                         ///< chosen where empty
  double y_low = std::numeric_limits<double>::quiet_NaN();  ///< lower values lie on the edge
};
/// Lines and points. Series with names have a legend whose entries switch them on and off.
std::string line_chart(const ChartHead& head, const Axes& axes, const std::vector<Series>& series);

/// Counts over [low, high] and the grid on which the values are rounded.
struct GridHistogram {
  std::string title;  ///< "conv1.weight"
  std::string text;   ///< under it
  std::vector<double> counts;
  double low = 0.0;           ///< left edge of the first bin
  double high = 1.0;          ///< right edge of the last
  std::vector<double> lines;  ///< places of the grid's levels; the outermost two are its ends
};
/// Small histograms side by side; heights are square roots, so that tails are seen.
std::string histograms(const ChartHead& head, const std::vector<GridHistogram>& all);

}  // namespace bitloom::tools
