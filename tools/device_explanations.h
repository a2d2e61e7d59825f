// Why quantization helped a network on a device, or did not: from the measured layers.
// Goes to: report_devices.cpp.
#pragma once

#include <string>
#include <vector>

#include "device_rows.h"

namespace bitloom::tools {

/// Where the time of one row goes, shares of the time of all its layers.
struct TimeShares {
  double compute = 0.0;         ///< layers whose least time the multiply-adds decide
  double memory = 0.0;          ///< products whose least time moving their tensors decides
  double passing = 0.0;         ///< pools, sums, concats: they compute nothing to speak of
  double conversion = 0.0;      ///< pixels to codes, logits to the caller, affine layers
  double float_products = 0.0;  ///< products of reals, whatever limits them (also counted above)
  double total_ms = 0.0;
};
/// @pre the row has layers.
TimeShares time_shares(const Json& row);

/// Sentences on one network: for each quantized row with layers, its speed-up over float, the
/// shares above, the kinds of layers that gained most and least with both times and the kernel that
/// ran them, and for ptq-dynamic what it takes above ptq-static. Every number is measured; rows
/// without layers give their speed-up alone.
std::vector<std::string> explanations(const DeviceRows& device, const NetworkRows& network);

}  // namespace bitloom::tools
