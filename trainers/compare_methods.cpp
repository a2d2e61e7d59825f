#include "bitloom/trainers/compare_methods.h"

#include "bitloom/core/error.h"

namespace bitloom::trainers {

const std::vector<CompareMethod>& compare_methods() {
  static const std::vector<CompareMethod> methods = {
      {"float", {"quant.method=float"}, "the float network that the others start from"},
      {std::string(kFloatContinued),
       {"quant.method=float"},
       "float, trained on for train.qat_epochs at train.qat_lr: the baseline of qat"},
      {"ptq-static", {"quant.method=ptq-static"}, "calibrated ranges, by quant.observer"},
      {"ptq-minmax",
       {"quant.method=ptq-static", "quant.observer=minmax"},
       "ranges: least, greatest"},
      {"ptq-ema", {"quant.method=ptq-static", "quant.observer=ema"}, "ranges: moving averages"},
      {"ptq-percentile",
       {"quant.method=ptq-static", "quant.observer=percentile"},
       "ranges: quant.percentile of all values"},
      {"ptq-kl", {"quant.method=ptq-static", "quant.observer=kl"}, "ranges: least divergence"},
      {"ptq-asymmetric",
       {"quant.method=ptq-static", "quant.asymmetric=true"},
       "zero points where activations are signed"},
      {"ptq-power-of-two", {"quant.method=ptq-static", "quant.power_of_two=true"}, "scales 2^-n"},
      {"ptq-fixed-point",
       {"quant.method=ptq-static", "profile=fixed-point", "quant.power_of_two=true",
        "quant.per_channel=false", "quant.fold_batch_norm=true", "quant.asymmetric=false"},
       "integers alone: scales 2^-n, one a tensor, requantization by shifts"},
      {"ptq-per-tensor",
       {"quant.method=ptq-static", "quant.per_channel=false"},
       "one scale a weight tensor"},
      {"ptq-equalized",
       {"quant.method=ptq-static", "quant.per_channel=false", "quant.equalize=true"},
       "ptq-per-tensor after cross-layer equalization"},
      {"ptq-bias-corrected",
       {"quant.method=ptq-static", "quant.bias_correction=true"},
       "ptq-static, then bias correction"},
      {"ptq-adaround",
       {"quant.method=ptq-static", "quant.adaround=true"},
       "ptq-static with learned rounding of weights"},
      {"ptq-mixed",
       {"quant.method=ptq-static", "quant.bits=auto"},
       "ptq-static with a width for each layer, at the SQNR of equal ones"},
      {"ptq-dynamic",
       {"quant.method=ptq-dynamic", "quant.activation_bits=8", "quant.asymmetric=false"},
       "weights in codes, ranges of activations found in each image"},
      {"ptq-weight-only",
       {"quant.method=ptq-weight-only", "quant.activation_bits=8", "quant.asymmetric=false"},
       "weights in codes, real arithmetic"},
      {"qat", {"quant.method=qat"}, "quantization-aware training, by quant.quantizer"},
      {"qat-lsq", {"quant.method=qat", "quant.quantizer=lsq"}, "learned scales"},
      {"qat-lsq+", {"quant.method=qat", "quant.quantizer=lsq+"}, "learned scales and offsets"},
      {"qat-pact", {"quant.method=qat", "quant.quantizer=pact"}, "learned clips"},
      {"qat-dorefa", {"quant.method=qat", "quant.quantizer=dorefa"}, "DoReFa-Net's grids"},
      {"qat-ema", {"quant.method=qat", "quant.quantizer=ema"}, "moving averages of ranges"},
      {"qat-bnn",
       {"quant.method=qat", "quant.quantizer=bnn", "quant.weight_bits=1",
        "quant.activation_bits=1"},
       "signs of weights and activations (networks in binary block order)"},
      {"qat-xnor",
       {"quant.method=qat", "quant.quantizer=xnor", "quant.weight_bits=1",
        "quant.activation_bits=1"},
       "signs with scales of weights and a map of input magnitudes (the same networks)"},
      {"qat-bi-real",
       {"quant.method=qat", "quant.quantizer=bi-real", "quant.weight_bits=1",
        "quant.activation_bits=1"},
       "signs with Bi-Real's gradients (the same networks)"},
      {"qat-reactnet",
       {"quant.method=qat", "quant.quantizer=reactnet", "quant.weight_bits=1",
        "quant.activation_bits=1"},
       "signs around learned thresholds (the same networks)"},
      {"qat-bwn",
       {"quant.method=qat", "quant.quantizer=bwn", "quant.weight_bits=1",
        "quant.activation_bits=32"},
       "binary weights with a scale per channel, real activations"},
      {"qat-twn",
       {"quant.method=qat", "quant.quantizer=twn", "quant.weight_bits=2",
        "quant.activation_bits=32"},
       "ternary weights, real activations"},
      {"qat-ttq",
       {"quant.method=qat", "quant.quantizer=ttq", "quant.weight_bits=2",
        "quant.activation_bits=32"},
       "ternary weights with two learned scales, real activations"},
      {"qat-mixed",
       {"quant.method=qat", "quant.bits=auto"},
       "qat with a width for each layer, chosen on the float network"},
      {"qat-distilled",
       {"quant.method=qat", "quant.distill_weight=0.5"},
       "qat with a teacher: quant.distill_teacher, else the float network"},
      {std::string(kQatProgressive),
       {"quant.method=qat"},
       "qat from the next wider width of compare.bits, the widest from float"},
  };
  return methods;
}

const CompareMethod& compare_method(std::string_view word) {
  std::string known;
  for (const CompareMethod& method : compare_methods()) {
    if (method.word == word) return method;
    known += (known.empty() ? "" : ", ") + method.word;
  }
  throw ConfigError({.place = "compare.methods",
                     .expected = "words of " + known,
                     .found = cat("'", word, "'"),
                     .remedy = ""});
}

}  // namespace bitloom::trainers
