// Rows as `compare` writes them, for tests of the report.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

/// One row with every key; numbers differ from row to row so that a mix-up shows.
inline nlohmann::json sample_row(const std::string& method, int bits, double top1, double p50_ms) {
  const bool is_float = method == "float";
  const nlohmann::json null = nullptr;
  return {{"network", "lenet5"},
          {"method", method},
          {"quantizer", is_float ? null : nlohmann::json(method == "qat" ? "lsq" : "mse")},
          {"weight_bits", bits},
          {"activation_bits", bits},
          {"first_last_bits", is_float ? 32 : 8},
          {"levels", is_float ? null : nlohmann::json((1 << bits) - 1)},
          {"profile", is_float ? null : nlohmann::json("int8")},
          {"backend", "onednn"},
          {"isa", "avx512_vnni"},
          {"forward", "float"},
          {"threads", 2},
          {"batch", 1},
          {"runs", 200},
          {"images", 10000},
          {"epochs", 4},
          {"top1", top1},
          {"latency_ms_p50", p50_ms},
          {"latency_ms_p90", p50_ms * 1.25},
          {"size_bytes", 1000 * bits + 7},
          {"peak_memory_bytes", 1048576 * bits},
          {"sqnr_db", is_float ? null : nlohmann::json(10.0 + bits)},
          {"simulation_agreement", is_float ? null : nlohmann::json(0.9987)},
          {"parity_identical", is_float ? null : nlohmann::json(1.0)},
          {"largest_difference", is_float ? 4.76e-7 : 0.0},
          {"minutes", 1.5},
          {"seed", 1},
          {"commit", "0123456789ab"},
          {"config_hash", "ba9876543210"},
          {"device", "Test CPU"},
          {"plan", nlohmann::json::array({{{"layer", "conv1"},
                                           {"op", "conv2d"},
                                           {"mode", is_float ? "float" : "static"},
                                           {"weight_bits", bits},
                                           {"activation_bits", bits},
                                           {"implementation", "brgconv"},
                                           {"isa", "avx512_vnni"},
                                           {"declined", "-"}},
                                          {{"layer", "fc1"},
                                           {"op", "linear"},
                                           {"mode", is_float ? "float" : "static"},
                                           {"weight_bits", is_float ? 32 : 2},
                                           {"activation_bits", bits},
                                           {"implementation", "brgconv"},
                                           {"isa", "avx512_vnni"},
                                           {"declined", "-"}}})}};
}

inline std::vector<nlohmann::json> sample_rows() {
  return {sample_row("float", 32, 91.25, 0.4), sample_row("ptq-static", 8, 91.10, 0.2),
          sample_row("ptq-static", 4, 84.5, 0.25), sample_row("qat", 8, 91.30, 0.16),
          sample_row("qat", 4, 90.75, 0.2)};
}

/// Three epochs of two runs; the second has weights of few bits.
inline std::vector<nlohmann::json> sample_epochs() {
  std::vector<nlohmann::json> epochs;
  for (const char* run : {"float", "qat_w2a4"}) {
    for (int epoch = 1; epoch <= 3; ++epoch) {
      nlohmann::json row = {
          {"run", run}, {"epoch", epoch}, {"loss", 1.0 / epoch}, {"validation_top1", 80.0 + epoch}};
      if (std::string(run) != "float") row["code_changes"] = 0.1 / epoch;
      epochs.push_back(row);
    }
  }
  return epochs;
}

inline nlohmann::json sample_step(const std::string& node, bool is_weight, int qmin, int qmax) {
  return {{"node", node},        {"is_weight", is_weight}, {"quantizer", "lsq"},
          {"bits", 4},           {"qmin", qmin},           {"qmax", qmax},
          {"zero_point", 0.0},   {"scale_low", 0.01},      {"scale_high", 0.02},
          {"sqnr_db", 21.5},     {"low", qmin - 1.0},      {"high", qmax + 1.0},
          {"counts", {1, 5, 2}}, {"outside_percent", 0.25}};
}

/// Two runs with a weight and an activation each; the second has ternary weights besides.
inline std::vector<nlohmann::json> sample_layers() {
  std::vector<nlohmann::json> layers;
  for (const char* title : {"ptq-static w4a4", "qat w2a4"}) {
    layers.push_back(
        {{"run", title},
         {"title", title},
         {"images", 256},
         {"steps",
          {sample_step("conv1.weight.q", true, -8, 7), sample_step("relu1.q", false, 0, 15)}},
         {"codes", nlohmann::json::array()}});
  }
  layers[1]["codes"] = {{{"name", "conv2.weight"},
                         {"weights", 90},
                         {"filters", 10},
                         {"unique_filters", 4},
                         {"zero_percent", 30.0}}};
  return layers;
}

}  // namespace bitloom::tools
