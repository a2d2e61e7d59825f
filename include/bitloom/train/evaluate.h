// Accuracy of what will run: logits of exported models and of networks over an image set.
// Goes to: train/loop.h (validation), tools (eval, compare).
#pragma once

#include <cstdint>
#include <span>

#include "bitloom/backends/session.h"
#include "bitloom/core/tensor.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/layers/network.h"

namespace bitloom::train {

/// f32 [images, classes], by a session planned for `batch` images at a time.
/// @throws ShapeError if the images do not fit the model.
Tensor model_logits(const integer::Model& model, const backends::SessionOptions& options,
                    const datasets::ImageSet& images);

/// The same by a float network in evaluation, planned for `batch` images.
Tensor network_logits(layers::Network& network, std::int64_t batch, ConstTensorView normalization,
                      const datasets::ImageSet& images);

/// Rows whose largest logit (lowest index on ties) is the label.
std::int64_t count_correct(ConstTensorView logits, std::span<const std::int32_t> labels) noexcept;
/// In percent.
double top1_percent(ConstTensorView logits, std::span<const std::int32_t> labels);
/// Share of rows whose bytes are equal in both.
double identical_share(ConstTensorView a, ConstTensorView b);
/// Share of rows whose largest logit is the same.
double agreement_share(ConstTensorView a, ConstTensorView b);
/// Signal-to-quantization-noise ratio, 10 log10(sum signal^2 / sum (signal - quantized)^2), dB.
double sqnr_db(ConstTensorView signal, ConstTensorView quantized);

}  // namespace bitloom::train
