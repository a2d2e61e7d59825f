// What the charts of report_charts.h share: the frame of a chart, places on an axis.
#pragma once

#include <string>
#include <vector>

#include "report_charts.h"

namespace bitloom::tools {

/// Opens <section class="chart ...">, with heading and hint.
std::string chart_begin(const ChartHead& head, const std::string& more_classes = "");

/// Round numbers within [low, high], about `count` of them. @pre low < high.
std::vector<double> round_ticks(double low, double high, int count);

/// "0.5", "12", "1e-05": as few digits as tell it.
std::string tick_text(double value);

}  // namespace bitloom::tools
