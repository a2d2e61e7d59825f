// Noise and widths of a float checkpoint as commands: `bitloom sqnr`, `bitloom sensitivity`,
// `bitloom allocate`.
// Comes from: quant/sqnr.h, quant/choose_bits.h. Goes to: tools.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// What is looked at.
struct NoiseRequest {
  std::filesystem::path checkpoint;  ///< a float checkpoint
  Config config;                     ///< [quant] and profile; network and data are the checkpoint's
  std::int64_t images = 256;         ///< of the validation split, at most
};

/// SQNR of one place (the end of a quantization step, or the output) with all steps at one width.
struct SqnrPoint {
  int bits = 0;
  double plain_db = 0.0;     ///< predicted: harmonic sum over what comes before
  double refined_db = 0.0;   ///< predicted with measured gains
  double measured_db = 0.0;  ///< one float and one quantized pass
};

/// One quantization step.
struct StepSqnr {
  std::string node;
  std::string layer;
  bool is_weight = false;
  std::int64_t elements = 0;   ///< weights, or activations of one image
  std::vector<double> own_db;  ///< rounding alone, others left real, at each of SqnrReport::widths
  std::vector<SqnrPoint> points;  ///< activations: what has come together here
  double kappa_db_per_bit = 0.0;  ///< slope of own_db from 4 to 8 bits
  std::string density;            ///< the one nearest to its values' kappa; quant/step_size.h
  double predicted_kappa_db_per_bit = 0.0;  ///< of that density
};

struct SqnrReport {
  std::string network;
  std::int64_t images = 0;
  std::vector<int> widths;
  std::vector<StepSqnr> steps;
  std::vector<SqnrPoint> output;
};

/// Uniform widths 4 .. 10 in every step, end layers included.
SqnrReport measure_sqnr(const NoiseRequest& request);

/// SQNR of the logits with one step at a width and all others real.
struct SensitivityRow {
  std::string node;
  std::string layer;
  bool is_weight = false;
  std::vector<double> output_db;  ///< widths 2 .. 8
};
struct SensitivityReport {
  std::string network;
  std::int64_t images = 0;
  std::vector<SensitivityRow> steps;
  double seconds = 0.0;  ///< of the sweep
};
SensitivityReport measure_sensitivity(const NoiseRequest& request);

/// One width that was chosen.
struct AllocatedWidth {
  std::string layer;
  bool is_weight = false;
  std::int64_t elements = 0;
  int equal_bits = 0;      ///< what the options give without bits = auto
  double real_bits = 0.0;  ///< closed form
  int bits = 0;
};

/// A way to choose widths, and what it gives.
struct AllocationSummary {
  std::string method;  ///< "equal", "closed-form", "greedy"
  quant::LayerBitsTable layer_bits;
  double average_weight_bits = 0.0;
  double average_activation_bits = 0.0;
  double size_ratio = 0.0;            ///< weights / their float size
  double bit_operations_ratio = 0.0;  ///< share of those of w8a8
  double predicted_db = 0.0;
  double measured_db = 0.0;
  double seconds = 0.0;  ///< measuring what the method needs, and solving
};

struct AllocationReport {
  std::string network;
  std::int64_t images = 0;
  Config config;  ///< with the chosen quant.layer_bits and quant.bits = equal
  std::vector<AllocatedWidth> widths;
  std::vector<AllocationSummary> methods;  ///< equal widths, closed form, greedy
};

/// Widths by the targets of config.quant (quant/choose_bits.h). `greedy`: also by the sensitivity
/// of each step at each width, which takes seven times as long to measure.
AllocationReport allocate_bits(const NoiseRequest& request, bool greedy);

}  // namespace bitloom::trainers
