// Stochastic gradient descent with momentum over a parameter store, and its learning rate.
// Comes from: layers/parameter.h. Goes to: train/loop.h, checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/train/options.h"

namespace bitloom::train {

/// Learning rate of step t (from 0) of `steps`, see TrainOptions.
double learning_rate(const TrainOptions& options, std::int64_t step, std::int64_t steps,
                     std::int64_t steps_per_epoch);

/// v = momentum * v + (g + decay * w);  w = w - lr * v, elementwise in f32.
/// Weights (Role::kWeight) are decayed, nothing else is; quantizer scales move with
/// lr * scale_lr_ratio, by at most a tenth of themselves in a step: an 8-bit scale is small beside
/// its gradient, and LSQ's plain step can jump below zero where a few weights begin to clip.
/// Source: Sutskever et al. 2013 in PyTorch's form (lr outside v); the bound on scales is ours.
class Sgd {
 public:
  /// Makes a zero momentum for every trainable parameter of the store.
  Sgd(layers::ParameterStore& store, const TrainOptions& options);

  void step(double lr);

  /// Momentum by parameter name; what a checkpoint keeps.
  std::map<std::string, Tensor>& slots() { return slots_; }
  const std::map<std::string, Tensor>& slots() const { return slots_; }
  /// Copies saved momenta. @throws FormatError if a parameter has none or another shape.
  void restore(const std::map<std::string, Tensor>& slots, const std::string& source);

 private:
  layers::ParameterStore& store_;
  TrainOptions options_;
  std::map<std::string, Tensor> slots_;
};

}  // namespace bitloom::train
