#include "config_key_kinds.h"

namespace bitloom::trainers {

void declare_quant(Keys& keys) {
  keys.push_back(word_key(
      "quant.method", "how the network meets its few bits", {"float", "qat", "ptq-static"}, false,
      [](auto& c) -> auto& { return c.quant.method; }));
  keys.push_back(word_key(
      "quant.quantizer", "qat: learned scales or moving averages of the range", {"lsq", "ema"},
      false, [](auto& c) -> auto& { return c.quant.quantizer; }));
  keys.push_back(word_key(
      "quant.observer", "ptq-static: full range or least squared error", {"minmax", "mse"}, false,
      [](auto& c) -> auto& { return c.quant.observer; }));
  keys.push_back(integer_key(
      "quant.weight_bits", "width of weights", 2, 8,
      [](auto& c) -> auto& { return c.quant.weight_bits; }));
  keys.push_back(integer_key(
      "quant.activation_bits", "width of activations", 2, 8,
      [](auto& c) -> auto& { return c.quant.activation_bits; }));
  Key ends = integer_key(
      "quant.first_last_bits", "width in the first and the last layer; 0: as the rest", 0, 8,
      [](auto& c) -> auto& { return c.quant.first_last_bits; });
  ends.range = "0 or 2 .. 8";
  ends.parse = [parse = ends.parse](Config& config, std::string_view text) {
    return parse_number<std::int64_t>(text) != 1 && parse(config, text);
  };
  keys.push_back(std::move(ends));
  keys.push_back(flag_key(
      "quant.narrow_weights", "symmetric weight codes below 8 bits too",
      [](auto& c) -> auto& { return c.quant.narrow_weights; }));
  keys.push_back(flag_key(
      "quant.asymmetric", "unsigned codes with a calibrated zero point for signed activations",
      [](auto& c) -> auto& { return c.quant.asymmetric; }));
  keys.push_back(flag_key(
      "quant.per_channel", "one weight scale per output channel",
      [](auto& c) -> auto& { return c.quant.per_channel; }));
  keys.push_back(word_key(
      "quant.forward", "qat: integer kernels or float simulation", {"integer", "float"}, false,
      [](auto& c) -> auto& { return c.quant.forward; }));
  keys.push_back(integer_key(
      "quant.calibration_images", "from the validation split", 1, 100'000'000,
      [](auto& c) -> auto& { return c.quant.calibration_images; }));
  keys.push_back(real_key(
      "quant.ema_decay", "quantizer = ema: share of the old range", {0.0, 0.999999},
      [](auto& c) -> auto& { return c.quant.ema_decay; }));
}

}  // namespace bitloom::trainers
