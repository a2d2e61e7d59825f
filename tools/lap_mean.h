// Several runs' laps of one clock, as one.
// Goes to: step_profile.cpp, session_profile.cpp.
#pragma once

#include <span>
#include <vector>

#include "bitloom/core/lap_clock.h"

namespace bitloom::tools {

/// Milliseconds [nodes + 1, kLaps], mean over the middle half of the runs by their time.
/// @pre at least one clock; all of the same nodes.
std::vector<double> mean_laps(std::span<const LapClock> runs);

}  // namespace bitloom::tools
