// Config section [quant]: which numbers a network may use.
// Goes to: quant/insert.h (the pass that puts fake-quant nodes in), trainers/config.h.
#pragma once

#include <cstdint>
#include <string>

namespace bitloom::quant {

/// What `[quant]` says. The profile (which formats the device runs) stands beside it, unsectioned.
struct QuantOptions {
  std::string method = "float";   ///< "float", "qat", "ptq-static"
  std::string quantizer = "lsq";  ///< qat: "lsq" (learned scales) or "ema" (min-max)
  std::string observer = "mse";   ///< ptq-static: "minmax" or "mse", activations and weights
  int weight_bits = 8;            ///< 2 .. 8
  int activation_bits = 8;        ///< 2 .. 8
  int first_last_bits = 8;  ///< weights and input of the first and the last layer; 0: as the rest
  bool narrow_weights = false;      ///< symmetric range below 8 bits too
  bool asymmetric = false;          ///< u8 with a calibrated zero point for signed activations
  bool per_channel = true;          ///< one weight scale per output channel; else per tensor
  std::string forward = "integer";  ///< "integer" kernels or "float" simulation in training
  std::int64_t calibration_images = 1024;  ///< from the validation split
  double ema_decay = 0.99;  ///< quantizer = ema: range = decay * range + (1-decay) * batch
};

}  // namespace bitloom::quant
