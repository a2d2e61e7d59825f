#include "device_explanations.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

bool is_product(const Json& layer) {
  const std::string op = row_word(layer, "op");
  return op == "conv2d" || op == "linear";
}

bool is_conversion(const Json& layer) {
  const std::string op = row_word(layer, "op");
  return op == "affine" || row_word(layer, "kind") == "input and logits";
}

std::string percent(double share) { return cat(fixed(100.0 * share, 0), " %"); }

std::string ms_text(double ms) { return cat(fixed(ms, ms < 10.0 ? 2 : 1), " ms"); }

/// The implementation that ran most of a kind's time.
std::string kernel_of(const Json& row, const std::string& kind) {
  std::map<std::string, double> times;
  for (const Json& layer : row.at("layers")) {
    if (chart_kind(row_word(layer, "kind")) != kind) continue;
    times[row_word(layer, "implementation")] += row_number(layer, "ms");
  }
  const auto most = std::max_element(
      times.begin(), times.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == times.end() || most->first.empty() ? "no kernel" : most->first;
}

/// A kind of layer in both rows.
struct KindGain {
  std::string kind;
  double before_ms = 0.0;
  double after_ms = 0.0;
  double ratio() const { return before_ms / after_ms; }
};

/// Kinds that take at least a twentieth of either row.
std::vector<KindGain> gains(const Json& before, const Json& after) {
  constexpr double kLeastShare = 0.05;
  const auto then = kind_times(before);
  const auto now = kind_times(after);
  const auto sum = [](const auto& times) {
    double total = 0.0;
    for (const auto& [kind, ms] : times) total += ms;
    return total;
  };
  std::vector<KindGain> found;
  for (const auto& [kind, ms] : now) {
    const std::string& name = kind;  // clang 14 captures no bindings
    const auto same = std::find_if(then.begin(), then.end(),
                                   [&](const auto& each) { return each.first == name; });
    if (same == then.end() || !(ms > 0.0)) continue;
    if (ms < kLeastShare * sum(now) && same->second < kLeastShare * sum(then)) continue;
    found.push_back({.kind = kind, .before_ms = same->second, .after_ms = ms});
  }
  std::sort(found.begin(), found.end(),
            [](const KindGain& a, const KindGain& b) { return a.ratio() > b.ratio(); });
  return found;
}

std::string gain_text(const KindGain& gain, const Json& before, const Json& after) {
  return cat(gain.kind, " ", fixed(gain.ratio(), 2), " times as fast (", ms_text(gain.before_ms),
             " by ", kernel_of(before, gain.kind), ", now ", ms_text(gain.after_ms), " by ",
             kernel_of(after, gain.kind), ")");
}

std::string shares_text(const TimeShares& shares) {
  std::string text =
      cat("Of its layers' time ", percent(shares.compute), " is bound by computing, ",
          percent(shares.memory), " by moving the operands of products, ", percent(shares.passing),
          " passes through pools, sums and concats, ", percent(shares.conversion),
          " converts between pixels, codes and reals");
  if (shares.float_products > 0.0) {
    text += cat("; ", percent(shares.float_products), " are products that stayed float");
  }
  return text + ".";
}

std::string verdict(double speedup) {
  if (speedup >= 1.05) return cat(fixed(speedup, 2), " times as fast as float");
  if (speedup > 0.95) return cat("as fast as float (", fixed(speedup, 2), " times)");
  return cat("slower than float (", fixed(speedup, 2), " times as fast)");
}

/// How far the row is from float, and by which kinds.
std::string explain(const NetworkRows& network, const Json& base, const Json& row) {
  const double speedup = network.speedup(row);
  std::string text = cat(network.network, ", ", contender_of(row), ": ", verdict(speedup), ", ",
                         ms_text(row_number(base, "latency_ms_p50")), " to ",
                         ms_text(row_number(row, "latency_ms_p50")), ".");
  if (!row.contains("layers") || !base.contains("layers")) return text;
  text += " " + shares_text(time_shares(row));
  const std::vector<KindGain> kinds = gains(base, row);
  if (kinds.empty()) return text;
  text += cat(" Gained most: ", gain_text(kinds.front(), base, row));
  if (kinds.size() > 1) text += cat("; least: ", gain_text(kinds.back(), base, row));
  return text + ".";
}

/// What the same integers cost more where their ranges are found while the model runs.
std::string dynamic_cost(const Json& fixed_row, const Json& dynamic) {
  const double extra =
      row_number(dynamic, "latency_ms_p50") - row_number(fixed_row, "latency_ms_p50");
  if (!std::isfinite(extra) || extra <= 0.0) return "";
  return cat(" Ranges found in each image, and reals between the layers, cost ", ms_text(extra),
             " above ptq-static: ", percent(extra / row_number(dynamic, "latency_ms_p50")),
             " of its time.");
}

}  // namespace

TimeShares time_shares(const Json& row) {
  TimeShares shares;
  for (const Json& layer : row.at("layers")) {
    const double ms = row_number(layer, "ms");
    if (!std::isfinite(ms)) continue;
    shares.total_ms += ms;
    if (is_conversion(layer)) {
      shares.conversion += ms;
    } else if (!is_product(layer)) {
      shares.passing += ms;
    } else {
      (row_word(layer, "limit") == "memory" ? shares.memory : shares.compute) += ms;
    }
    const std::string mode = row_word(layer, "mode");
    if (is_product(layer) && (mode == "float" || mode == "weight-only")) {
      shares.float_products += ms;
    }
  }
  if (shares.total_ms <= 0.0) return shares;
  for (double* part : {&shares.compute, &shares.memory, &shares.passing, &shares.conversion,
                       &shares.float_products}) {
    *part /= shares.total_ms;
  }
  return shares;
}

std::vector<std::string> explanations(const DeviceRows& device, const NetworkRows& network) {
  std::vector<std::string> texts;
  const Json* base = network.find("float");
  for (const Json* row : network.rows) {
    const std::string contender = contender_of(*row);
    const std::string reason = row_word(*row, "reason");
    if (!reason.empty()) {
      texts.push_back(cat(network.network, ", ", contender, ": not measured, ", reason, "."));
    } else if (!row_word(*row, "same_as").empty()) {
      texts.push_back(cat(network.network, ", ", contender, ": the integers of ",
                          row_word(*row, "same_as"), ", whose row this is."));
    } else if (base != nullptr && row != base && std::isfinite(network.speedup(*row))) {
      std::string text = explain(network, *base, *row);
      const Json* fixed_row = network.find("ptq-static");
      if (contender == "ptq-dynamic" && fixed_row != nullptr) {
        text += dynamic_cost(*fixed_row, *row);
      }
      if (row_word(*row, "profile") == "int8-reduced") {
        text += cat(" Weights have 7 bits: ", device.isa, " sums pairs of products in 16 bits.");
      }
      texts.push_back(text);
    }
  }
  return texts;
}

}  // namespace bitloom::tools
