#include "device_rows.h"

#include <algorithm>
#include <limits>
#include <map>

#include "bitloom/core/error.h"

namespace bitloom::tools {
namespace {

std::string device_name(const Json& row) {
  const double threads = row_number(row, "threads");
  return cat(row_word(row, "device"), ", ", row_word(row, "isa"), ", ", threads,
             threads == 1.0 ? " thread" : " threads", ", batch ", row_number(row, "batch"));
}

template <typename List, typename Is, typename Make>
auto& find_or_add(List& list, const Is& is, const Make& make) {
  const auto found = std::find_if(list.begin(), list.end(), is);
  return found != list.end() ? *found : list.emplace_back(make());
}

}  // namespace

double row_number(const Json& row, const char* key) {
  const auto found = row.find(key);
  const bool number = found != row.end() && found->is_number();
  return number ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::string row_word(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string contender_of(const Json& row) {
  const std::string contender = row_word(row, "contender");
  return contender.empty() ? row_word(row, "method") : contender;
}

const Json* NetworkRows::find(const std::string& contender) const {
  for (const Json* row : rows) {
    if (contender_of(*row) == contender) return row;
  }
  return nullptr;
}

double NetworkRows::speedup(const Json& row) const {
  // Beside peers the original is our own float network, which stands under its method too.
  const Json* base = find("float");
  if (base == nullptr) base = find("bitloom-float");
  if (base == nullptr) return std::numeric_limits<double>::quiet_NaN();
  return row_number(*base, "latency_ms_p50") / row_number(row, "latency_ms_p50");
}

std::vector<DeviceRows> by_device(const std::vector<Json>& rows) {
  std::vector<DeviceRows> devices;
  for (const Json& row : rows) {
    const std::string name = device_name(row);
    const std::string network = row_word(row, "network");
    DeviceRows& device = find_or_add(
        devices, [&](const DeviceRows& each) { return each.name == name; },
        [&] { return DeviceRows{.name = name, .isa = row_word(row, "isa"), .networks = {}}; });
    NetworkRows& rows_of = find_or_add(
        device.networks, [&](const NetworkRows& each) { return each.network == network; },
        [&] { return NetworkRows{.network = network, .rows = {}}; });
    rows_of.rows.push_back(&row);
  }
  return devices;
}

std::vector<std::string> contenders_of(const DeviceRows& device) {
  std::vector<std::string> names;
  for (const NetworkRows& network : device.networks) {
    for (const Json* row : network.rows) {
      const std::string name = contender_of(*row);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

std::string chart_kind(const std::string& kind) {
  const std::string base = kind.substr(0, kind.find(" + sum"));
  static const std::map<std::string, std::string> joined = {
      {"max_pool", "pooling"}, {"avg_pool", "pooling"}, {"global_avg_pool", "pooling"}};
  if (const auto found = joined.find(base); found != joined.end()) return found->second;
  const std::size_t cross = base.find('x');
  const bool window = cross != std::string::npos && cross > 0 && base[0] >= '0' && base[0] <= '9';
  if (!window || base == "1x1" || base == "3x3") return base;
  return base.substr(0, cross) == base.substr(cross + 1) ? "wide window" : "long window";
}

std::vector<std::pair<std::string, double>> kind_times(const Json& row) {
  std::map<std::string, double> sums;
  if (row.contains("layers")) {
    for (const Json& layer : row.at("layers")) {
      sums[chart_kind(row_word(layer, "kind"))] += row_number(layer, "ms");
    }
  }
  std::vector<std::pair<std::string, double>> times(sums.begin(), sums.end());
  std::stable_sort(times.begin(), times.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return times;
}

}  // namespace bitloom::tools
