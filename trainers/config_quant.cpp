#include "bitloom/quant/level_methods.h"
#include "config_key_kinds.h"

namespace bitloom::trainers {
namespace {

constexpr std::int64_t kMostEpochs = 10'000;

Words quantizer_words() {
  Words words = {"lsq", "lsq+", "pact", "dorefa", "ema"};
  for (const quant::LevelMethod& method : quant::level_methods()) {
    const std::string word(method.word);
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return words;
}

// `key` with 32 besides: a tensor that stays real.
template <typename Access>
Key or_real(Key key, Access access) {
  key.range += " or 32";
  key.parse = [parse = key.parse, access](Config& config, std::string_view text) {
    if (text != "32") return parse(config, text);
    access(config) = 32;
    return true;
  };
  return key;
}

// What quantization-aware training adds to the recipe of [train].
void declare_qat_schedule(Keys& keys) {
  keys.push_back(real_key(
      "quant.pact_decay", "quantizer = pact: L2 decay of the learned clips", {0.0, 1.0},
      [](auto& c) -> auto& { return c.quant.pact_decay; }));
  keys.push_back(integer_key(
      "quant.delay_epochs", "qat: epochs of float training before the quantizers come in", 0,
      kMostEpochs, [](auto& c) -> auto& { return c.quant.delay_epochs; }));
  keys.push_back(integer_key(
      "quant.freeze_range_epochs", "qat: last epochs, in which scales keep still", 0, kMostEpochs,
      [](auto& c) -> auto& { return c.quant.freeze_range_epochs; }));
  keys.push_back(integer_key(
      "quant.freeze_batch_norm_epochs",
      "qat: last epochs, in which batch norm uses its running statistics", 0, kMostEpochs,
      [](auto& c) -> auto& { return c.quant.freeze_batch_norm_epochs; }));
  keys.push_back(flag_key(
      "quant.fold_batch_norm", "fold batch norm into weights before quantization",
      [](auto& c) -> auto& { return c.quant.fold_batch_norm; }));
  keys.push_back(real_key(
      "quant.distill_weight", "qat: share of a teacher's answers in the loss", {0.0, 1.0},
      [](auto& c) -> auto& { return c.quant.distill_weight; }));
  keys.push_back(real_key(
      "quant.distill_temperature", "temperature of both softmaxes in distillation",
      {.low = 0.0, .high = 1000.0, .open_low = true},
      [](auto& c) -> auto& { return c.quant.distill_temperature; }));
  keys.push_back(text_key(
      "quant.distill_teacher", "checkpoint of the teacher; nothing: the network of --init",
      [](auto& c) -> auto& { return c.quant.distill_teacher; }));
}

// quant.bits = auto and what it aims at.
void declare_auto_bits(Keys& keys) {
  keys.push_back(word_key(
      "quant.bits", "equal widths, or auto: chosen for every layer by its noise", {"equal", "auto"},
      false, [](auto& c) -> auto& { return c.quant.bits; }));
  keys.push_back(integer_key(
      "quant.min_bits", "bits = auto: least width", 2, 8,
      [](auto& c) -> auto& { return c.quant.min_bits; }));
  keys.push_back(integer_key(
      "quant.max_bits", "bits = auto: greatest width", 2, 8,
      [](auto& c) -> auto& { return c.quant.max_bits; }));
  keys.push_back(real_key(
      "quant.target_sqnr_db", "bits = auto: SQNR of the logits; 0: what equal widths give",
      {0.0, 200.0}, [](auto& c) -> auto& { return c.quant.target_sqnr_db; }));
  keys.push_back(real_key(
      "quant.target_size_ratio", "bits = auto: size of the weights / their float size; 0: any",
      {0.0, 1.0}, [](auto& c) -> auto& { return c.quant.target_size_ratio; }));
  keys.push_back(real_key(
      "quant.target_size_of_equal",
      "bits = auto: size of the weights / their size at equal widths; 0: any", {0.0, 1.0},
      [](auto& c) -> auto& { return c.quant.target_size_of_equal; }));
  keys.push_back(real_key(
      "quant.target_bit_operations", "bits = auto: share of those of w8a8; 0: any", {0.0, 1.0},
      [](auto& c) -> auto& { return c.quant.target_bit_operations; }));
  keys.push_back(word_key(
      "quant.noise_rule",
      "bits = auto: by measured gains, the harmonic rule, or changes measured in company",
      {"refined", "plain", "measured"}, false,
      [](auto& c) -> auto& { return c.quant.noise_rule; }));
}

}  // namespace

void declare_quant(Keys& keys) {
  keys.push_back(word_key(
      "quant.method", "how the network meets its few bits",
      {"float", "qat", "ptq-static", "ptq-dynamic", "ptq-weight-only"}, false,
      [](auto& c) -> auto& { return c.quant.method; }));
  keys.push_back(word_key(
      "quant.quantizer", "qat: how codes follow the network", quantizer_words(), false,
      [](auto& c) -> auto& { return c.quant.quantizer; }));
  keys.push_back(word_key(
      "quant.observer", "how calibration chooses ranges",
      {"minmax", "ema", "percentile", "kl", "mse", "sqnr"}, false,
      [](auto& c) -> auto& { return c.quant.observer; }));
  keys.push_back(word_key(
      "quant.weight_observer", "the same for weights; nothing: as quant.observer",
      {"minmax", "percentile", "mse", "sqnr"}, true,
      [](auto& c) -> auto& { return c.quant.weight_observer; }));
  keys.push_back(real_key(
      "quant.percentile", "observer = percentile: per cent of |x| that do not clip",
      {.low = 0.0, .high = 100.0, .open_low = true},
      [](auto& c) -> auto& { return c.quant.percentile; }));
  keys.push_back(real_key(
      "quant.observer_decay", "observer = ema: share of the old range", {0.0, 0.999999},
      [](auto& c) -> auto& { return c.quant.observer_decay; }));
  keys.push_back(flag_key(
      "quant.power_of_two", "scales 2^-n, for weights and activations",
      [](auto& c) -> auto& { return c.quant.power_of_two; }));
  keys.push_back(flag_key(
      "quant.equalize", "equalize channels across layers before calibration",
      [](auto& c) -> auto& { return c.quant.equalize; }));
  keys.push_back(flag_key(
      "quant.adaround", "learn how weights round, after calibration",
      [](auto& c) -> auto& { return c.quant.adaround; }));
  keys.push_back(integer_key(
      "quant.adaround_steps", "steps of AdaRound in each layer", 1, 1'000'000,
      [](auto& c) -> auto& { return c.quant.adaround_steps; }));
  keys.push_back(flag_key(
      "quant.bias_correction", "correct each layer's mean output, last",
      [](auto& c) -> auto& { return c.quant.bias_correction; }));
  keys.push_back(integer_key(
      "quant.weight_bits", "width of weights; 1 and 2 by the quantizer's own rule", 1, 8,
      [](auto& c) -> auto& { return c.quant.weight_bits; }));
  keys.push_back(
      or_real(integer_key(
                  "quant.activation_bits", "width of activations; 1: signs, 32: they stay real", 1,
                  8, [](auto& c) -> auto& { return c.quant.activation_bits; }),
              [](Config& c) -> int& { return c.quant.activation_bits; }));
  Key ends =
      or_real(integer_key(
                  "quant.first_last_bits",
                  "width in the first and the last layer; 0: as the rest, 32: they stay real", 0, 8,
                  [](auto& c) -> auto& { return c.quant.first_last_bits; }),
              [](Config& c) -> int& { return c.quant.first_last_bits; });
  ends.range = "0, 2 .. 8 or 32";
  ends.parse = [parse = ends.parse](Config& config, std::string_view text) {
    return parse_number<std::int64_t>(text) != 1 && parse(config, text);
  };
  keys.push_back(std::move(ends));
  declare_auto_bits(keys);
  keys.push_back({"quant.layer_bits",
                  "widths of single layers, weights/activations: what allocate writes",
                  "entries like conv1=8/4 or fc=4/-, widths 2 .. 8, by commas; nothing: none",
                  [](Config& config, std::string_view text) {
                    const auto table = quant::parse_layer_bits(text);
                    if (table) config.quant.layer_bits = *table;
                    return table.has_value();
                  },
                  [](const Config& config) { return quant::to_text(config.quant.layer_bits); }});
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
      "quant.lr_scaling", "learning rate of weights of one and two bits", {"none", "glorot"}, false,
      [](auto& c) -> auto& { return c.quant.lr_scaling; }));
  keys.push_back(flag_key(
      "quant.shift_batch_norm", "qat: batch norm by shifts, as BNN's",
      [](auto& c) -> auto& { return c.quant.shift_batch_norm; }));
  keys.push_back(word_key(
      "quant.forward", "qat: integer kernels or float simulation", {"integer", "float"}, false,
      [](auto& c) -> auto& { return c.quant.forward; }));
  keys.push_back(integer_key(
      "quant.calibration_images", "from the validation split", 1, 100'000'000,
      [](auto& c) -> auto& { return c.quant.calibration_images; }));
  keys.push_back(real_key(
      "quant.ema_decay", "quantizer = ema: share of the old range", {0.0, 0.999999},
      [](auto& c) -> auto& { return c.quant.ema_decay; }));
  declare_qat_schedule(keys);
}

}  // namespace bitloom::trainers
