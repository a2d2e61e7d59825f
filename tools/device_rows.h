// Rows of bench --suite, sorted by device and network, for tables, charts and explanations.
// Goes to: report_devices.cpp, device_explanations.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

using Json = nlohmann::json;

/// What a row says; NaN and "" where it is null or not there.
double row_number(const Json& row, const char* key);
std::string row_word(const Json& row, const char* key);

/// "ptq-static"; of a peer's row its own name: "openvino-int8".
std::string contender_of(const Json& row);

/// One network on one device.
struct NetworkRows {
  std::string network;
  std::vector<const Json*> rows;  ///< in the order they came

  /// The row of that contender, or nullptr.
  const Json* find(const std::string& contender) const;
  /// Median of float / that of `row`; NaN where one was not measured.
  double speedup(const Json& row) const;
};

struct DeviceRows {
  std::string name;  ///< "AMD EPYC, avx512_vnni, 2 threads, batch 1"
  std::string isa;
  std::vector<NetworkRows> networks;
};

/// In the order of first appearance. `rows` must outlive the result.
std::vector<DeviceRows> by_device(const std::vector<Json>& rows);

/// Contenders of all networks of a device, in the order of first appearance.
std::vector<std::string> contenders_of(const DeviceRows& device);

/// A layer's kind as charts have it: "3x3 + sum" is "3x3", "1x7" is "long window", pools are
/// "pooling".
std::string chart_kind(const std::string& kind);

/// Milliseconds of a row's layers by chart_kind(), the most costly first; empty without layers.
std::vector<std::pair<std::string, double>> kind_times(const Json& row);

}  // namespace bitloom::tools
