// Config section [quant]: which numbers a network may use.
// Goes to: quant/insert.h (the pass that puts fake-quant nodes in), trainers/config.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bitloom/quant/layer_bits.h"

namespace bitloom::quant {

/// What `[quant]` says. The profile (which formats the device runs) stands beside it, unsectioned.
struct QuantOptions {
  std::string method = "float";  ///< "float", "qat", "ptq-static", "ptq-dynamic", "ptq-weight-only"
  /// qat: "lsq", "lsq+", "pact", "dorefa", "ema" (quantizer.h), and level_methods.h's
  std::string quantizer = "lsq";
  std::string observer = "mse";  ///< first (QAT) or only (PTQ) ranges: quant/observer.h's words
  std::string weight_observer;   ///< "minmax", "percentile", "mse", "sqnr"; "": as observer
  double percentile = 99.99;     ///< observer = percentile: per cent of |x| that do not clip
  double observer_decay = 0.9;   ///< observer = ema: range = decay * range + (1-decay) * batch
  bool power_of_two = false;     ///< scales 2^-n, for weights and activations
  bool equalize = false;         ///< PTQ step before calibration: quant/equalize.h
  bool adaround = false;         ///< PTQ step after calibration: quant/adaround.h
  int adaround_steps = 1000;     ///< of Adam, in each layer
  bool bias_correction = false;  ///< last PTQ step: quant/bias_correction.h
  int weight_bits = 8;           ///< 1 .. 8
  int activation_bits = 8;       ///< 1 .. 8; 32: they stay real
  /// weights and input of the first and the last layer; 0: as the rest, 32: they stay real
  int first_last_bits = 8;
  LayerBitsTable layer_bits;  ///< layers with widths of their own, end layers included
  /// "equal" widths, or "auto": quant/choose_bits.h finds layer_bits before anything else runs
  std::string bits = "equal";
  int min_bits = 2;                ///< bits = auto: limits of every width
  int max_bits = 8;                ///< likewise
  double target_sqnr_db = 0.0;     ///< bits = auto: of the logits; 0: as equal widths have
  double target_size_ratio = 0.0;  ///< bits = auto: weights / their float size; 0: no such target
  /// bits = auto: weights / their size at equal widths; 0: no such target
  double target_size_of_equal = 0.0;
  double target_bit_operations = 0.0;  ///< bits = auto: share of those of w8a8; 0: no such target
  /// bits = auto: "plain" (harmonic), "refined" (gains), "measured" (quant/refine_bits.h)
  std::string noise_rule = "refined";
  bool narrow_weights = false;      ///< symmetric range below 8 bits too
  bool asymmetric = false;          ///< u8 with a calibrated zero point for signed activations
  bool per_channel = true;          ///< one weight scale per output channel; else per tensor
  std::string lr_scaling = "none";  ///< of one- and two-bit weights: "none", "glorot" (levels.h)
  bool shift_batch_norm = false;    ///< qat: batch norm by shifts: kernels/shift_batch_norm.h
  std::string forward = "integer";  ///< "integer" kernels or "float" simulation in training
  std::int64_t calibration_images = 1024;  ///< from the validation split
  double ema_decay = 0.99;   ///< quantizer = ema: range = decay * range + (1-decay) * batch
  double pact_decay = 2e-4;  ///< quantizer = pact: L2 decay of the learned clips
  /// qat: epochs of float training first; the quantizers are calibrated when they come in.
  std::int64_t delay_epochs = 0;
  std::int64_t freeze_range_epochs = 0;  ///< qat: last epochs, in which scales keep still
  /// qat: last epochs, in which batch norm normalizes by its running statistics, which keep still.
  std::int64_t freeze_batch_norm_epochs = 0;
  bool fold_batch_norm = false;  ///< into weights and biases before quantization: quant/fold.h
  double distill_weight = 0.0;   ///< qat: share of the teacher in the loss: train/distillation.h
  double distill_temperature = 4.0;  ///< of both softmaxes
  std::string distill_teacher;       ///< checkpoint of any network of the data; "": the run's start
};

/// True where activations have grids that calibration or training sets. With ptq-dynamic they get
/// one while the model runs (integer/dynamic.h), with ptq-weight-only and float they stay real.
inline bool has_activation_grids(std::string_view method) {
  return method == "qat" || method == "ptq-static";
}

/// The same of all options: none with activations of 32 bits.
inline bool has_activation_grids(const QuantOptions& options) {
  return has_activation_grids(options.method) && options.activation_bits != 32;
}

/// True where quant.bits = auto aims at a size of the weights.
inline bool has_size_target(const QuantOptions& options) {
  return options.target_size_ratio > 0.0 || options.target_size_of_equal > 0.0;
}

/// True where training puts tanh between weights and their codes (quant/dorefa.h).
inline bool squashes_weights(const QuantOptions& options) {
  return options.method == "qat" && options.weight_bits != 1 &&
         (options.quantizer == "dorefa" || options.quantizer == "pact");
}

/// Width of activations as the exported layers compute, whatever activation_bits asks for: always
/// 8 with ptq-dynamic, 32 where they stay real.
inline int computed_activation_bits(const QuantOptions& options) {
  if (has_activation_grids(options.method)) return options.activation_bits;
  return options.method == "ptq-dynamic" ? 8 : 32;
}

}  // namespace bitloom::quant
