#include "bitloom/quant/level_methods.h"

#include <algorithm>

namespace bitloom::quant {
namespace {

constexpr int kReal = 32;

std::string quantizer_is(const QuantOptions& options) {
  return cat("with quant.quantizer = ", options.quantizer);
}

void check_widths(const QuantOptions& options, const LevelMethod* method,
                  std::vector<ErrorText>& errors) {
  if (method != nullptr && options.weight_bits != method->weight_bits()) {
    errors.push_back({"quant.weight_bits", cat(method->weight_bits(), " ", quantizer_is(options)),
                      cat(options.weight_bits), cat("set it to ", method->weight_bits())});
  }
  if (method == nullptr && options.weight_bits == 1) {
    errors.push_back({"quant.weight_bits", cat("2 .. 8 ", quantizer_is(options)), "1",
                      "choose a quantizer of one bit: bnn, bwn, xnor, dorefa, bi-real"});
  }
  if (options.activation_bits == 1 && (method == nullptr || method->signs.empty())) {
    errors.push_back({"quant.activation_bits", cat("2 .. 8 or 32 ", quantizer_is(options)), "1",
                      "choose a quantizer that signs activations: bnn, xnor, bi-real, reactnet"});
  }
  if (options.first_last_bits == kReal && options.activation_bits != 1 &&
      options.activation_bits != kReal) {
    errors.push_back({"quant.first_last_bits", "0 or 2 .. 8 with activations of 2 to 8 bits", "32",
                      "real end layers need quant.activation_bits = 1 or 32"});
  }
  if (options.activation_bits == 1 && !options.layer_bits.empty()) {
    errors.push_back({"quant.layer_bits", "nothing with quant.activation_bits = 1",
                      "widths of single layers", "leave it out"});
  }
}

}  // namespace

const std::vector<LevelMethod>& level_methods() {
  using integer::Grid;
  static const std::vector<LevelMethod> methods = {
      {"binary-connect", "binary-connect", Grid::kBinary, "bnn", "lsq", true, true, false},
      {"binary-connect-stochastic", "binary-connect-stochastic", Grid::kBinary, "bnn", "lsq", true,
       true, false},
      {"bnn", "bnn", Grid::kBinary, "bnn", "lsq", true, true, false},
      {"bnn-stochastic", "bnn", Grid::kBinary, "bnn-stochastic", "lsq", true, true, false},
      {"bwn", "bwn", Grid::kBinary, "bnn", "lsq", false, false, false},
      {"xnor", "xnor", Grid::kBinary, "bnn", "lsq", false, true, true},
      {"dorefa", "dorefa", Grid::kBinary, "", "dorefa", true, false, false},
      {"bi-real", "bi-real", Grid::kBinary, "bi-real", "lsq", false, false, false},
      {"reactnet", "bi-real", Grid::kBinary, "rsign", "lsq", false, false, false},
      {"twn", "twn", Grid::kTernary, "bnn", "lsq", false, false, false},
      {"twn-exact", "twn-exact", Grid::kTernary, "bnn", "lsq", false, false, false},
      {"ttq", "ttq", Grid::kTernary, "bnn", "lsq", true, false, false}};
  return methods;
}

const LevelMethod* level_method(const QuantOptions& options) {
  if (options.method != "qat") return nullptr;
  if (options.quantizer == "dorefa" && options.weight_bits != 1) return nullptr;
  const auto found = std::ranges::find(level_methods(), options.quantizer, &LevelMethod::word);
  return found == level_methods().end() ? nullptr : &*found;
}

std::vector<ErrorText> contradictions(const QuantOptions& options) {
  std::vector<ErrorText> errors;
  if (options.method == "float") return errors;
  if (options.method != "qat") {
    if (options.weight_bits == 1) {
      errors.push_back({"quant.weight_bits", cat("2 .. 8 with quant.method = ", options.method),
                        "1", "binary weights are trained: set quant.method = qat"});
    }
    if (options.method == "ptq-static" &&
        (options.activation_bits == 1 || options.activation_bits == kReal)) {
      errors.push_back({"quant.activation_bits", "2 .. 8 with quant.method = ptq-static",
                        cat(options.activation_bits),
                        "activations of 1 or 32 bits are trained: set quant.method = qat"});
    }
    return errors;
  }
  const LevelMethod* method = level_method(options);
  check_widths(options, method, errors);
  if (method != nullptr && options.power_of_two) {
    errors.push_back({"quant.power_of_two", cat("false ", quantizer_is(options)), "true",
                      "its scales are means of weights, or learned"});
  }
  if (method != nullptr && (options.adaround || options.equalize)) {
    errors.push_back({options.adaround ? "quant.adaround" : "quant.equalize",
                      cat("false ", quantizer_is(options)), "true",
                      "codes of one and two bits are not rounded"});
  }
  if (options.shift_batch_norm &&
      (options.fold_batch_norm || options.freeze_batch_norm_epochs > 0)) {
    errors.push_back({"quant.shift_batch_norm",
                      "false with quant.fold_batch_norm or quant.freeze_batch_norm_epochs", "true",
                      "those are for the ordinary batch norm"});
  }
  return errors;
}

}  // namespace bitloom::quant
