// Knowledge distillation: the student also learns from the teacher's answers.
// Comes from: a teacher's logits. Goes to: step.h.
#pragma once

#include "bitloom/core/tensor.h"
#include "bitloom/layers/network.h"
#include "bitloom/train/checkpoint.h"

namespace bitloom::train {

/// How much and how softly the teacher speaks.
struct DistillationOptions {
  double weight = 0.0;       ///< w, 0 .. 1: share of the teacher's term in the loss
  double temperature = 4.0;  ///< T > 0, of both softmaxes
};

/// Blends the teacher's term into a cross-entropy loss and its gradient.
///   p = softmax(teacher / T), q = softmax(logits / T), a row each
///   returns   (1 - w) * loss + w * T^2 * 1/N sum_n KL(p[n] || q[n])
///   gradient  (1 - w) * gradient + w * T * (q - p) / N
/// Rows in float, the mean over rows in double, in row order.
/// Shapes: logits, teacher, gradient f32 [N, classes].
/// Source: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
/// Golden: tests/golden/qat.h5, made by tools/golden/qat.py.
/// @throws ShapeError if shapes differ.
double distill(ConstTensorView logits, ConstTensorView teacher, const DistillationOptions& options,
               double loss, TensorView gradient);

/// A checkpoint that only answers: its network in evaluation, as it stands (a quantized one
/// simulates in float). Costs one forward pass a step, with products of the given precision, and
/// its parameters and activations of one layer at a time in memory.
class Teacher {
 public:
  Teacher(Checkpoint checkpoint, std::int64_t batch,
          kernels::Precision precision = kernels::Precision::kF32);
  Teacher(const Teacher&) = delete;  // its network points into its parameters
  Teacher& operator=(const Teacher&) = delete;
  /// Logits of a batch, valid until the next call.
  ConstTensorView answer(ConstTensorView images);

 private:
  Checkpoint checkpoint_;
  layers::Network network_;
};

}  // namespace bitloom::train
