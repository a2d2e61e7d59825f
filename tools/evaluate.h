// Accuracy of an exported model on a backend, and whether that backend gives the reference's bits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/core/tensor.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/integer/model.h"

namespace bitloom::tools {

struct EvaluateOptions {
  std::string backend = "onednn";
  std::int64_t batch = 100;
  bool parity = false;  ///< also run the reference executor and compare
  bool fallback_to_reference = false;
};

struct Evaluation {
  std::int64_t images = 0;
  double top1 = 0.0;             ///< percent
  Tensor logits;                 ///< f32 [images, classes]
  std::optional<double> parity;  ///< share of images whose logits equal the reference's bit for bit
  std::optional<double> largest_difference;  ///< largest |logit - the reference's| of any image
  std::vector<backends::PlanRow> plan;
};

/// Runs `set` in its order.
/// @throws ShapeError if images or labels do not fit the model; NumericError if a logit is NaN or
///         infinite, naming the image; BackendError from the planner.
Evaluation evaluate(const integer::Model& model, const datasets::ImageSet& set,
                    const EvaluateOptions& options);

/// Largest |left - right| of two f32 tensors of one shape; 0 for empty ones.
double largest_difference(ConstTensorView left, ConstTensorView right);

/// Rows of two f32 [N, classes] tensors that have the same bits, divided by N; 1 for no rows.
double identical_rows(ConstTensorView left, ConstTensorView right);

}  // namespace bitloom::tools
