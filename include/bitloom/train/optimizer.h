// Gradient descent over a parameter store: how a gradient becomes a change of a parameter.
// Comes from: layers/parameter.h, schedule.h. Goes to: train/step.h, checkpoint.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/train/options.h"
#include "bitloom/train/schedule.h"

namespace bitloom::train {

/// Words that `train.optimizer` takes.
std::vector<std::string> optimizer_words();

/// A row of the table of rules, in optimizer.cpp.
struct OptimizerRule;

/// One rule for all trainable parameters, elementwise in f32, each parameter in one pass.
///
/// With g = c * gradient, c = min(1, clip_norm / (|all gradients| + 1e-6)) where clip_norm is set
/// (the norm is summed in double over all trainable parameters) and 1 elsewhere:
///   sgd:   g += decay * w;  v = momentum * v + g;
///          w -= lr * v, with nesterov w -= lr * (g + momentum * v)
///   adam:  g += decay * w;  a = a + (1 - beta1) * (g - a);  b = beta2 * b + (1 - beta2) * g * g;
///          w -= lr / (1 - beta1^(t+1)) * a / (sqrt(b) / sqrt(1 - beta2^(t+1)) + epsilon)
///   adamw: the same with w *= 1 - lr * decay in place of g += decay * w
///   adamax: g += decay * w;  a = a + (1 - beta1) * (g - a);  b = max(beta2 * b, |g| + epsilon);
///          w -= lr / (1 - beta1^(t+1)) * a / b
///   shift-adamax: the same with powers of two for factors and no epsilon:
///          w -= AP2(lr / (1 - beta1^(t+1))) * a * AP2(1 / b), nothing where b is 0;
///          AP2: kernels/power_of_two.h
/// beta1 is the momentum, t the step of the whole run.
/// Weights (Role::kWeight) are decayed, nothing else is; quantizer scales and offsets move with
/// lr * scale_lr_ratio, scales by at most 1 % of themselves in a step whatever the rule: an 8-bit
/// scale is small beside its gradient, LSQ's plain step can jump below zero where a few weights
/// begin to clip, and behind a batch norm (the loss does not see a filter's length) the gradient
/// grows as 1 / scale while the scale falls. With 10 % a channel's scale fell to 1e-12 in 500
/// steps. A parameter's lr_ratio multiplies its learning rate (sgd: its square does), and a finite
/// bound holds its values in [-bound, bound] after the step (layers/parameter.h). Sources:
/// Sutskever et al. 2013 in PyTorch's form (lr outside v); Kingma and Ba, arXiv:1412.6980;
///   AdaMax: its section 7.1 in PyTorch's form; shift-adamax: Hubara et al., arXiv:1602.02830,
///   algorithm 4; Loshchilov and Hutter, arXiv:1711.05101; Pascanu et al., arXiv:1211.5063
///   (clipping). The bound on scales is ours.
/// Golden: tests/golden/optim.h5, made by tools/golden/optim.py.
class Optimizer {
 public:
  /// Makes zero slots for every trainable parameter of the store.
  /// @throws ConfigError for an unknown options.optimizer.
  Optimizer(layers::ParameterStore& store, const TrainOptions& options);

  void step(const StepRates& rates);

  /// What a checkpoint keeps: sgd's v under a parameter's name, adam's a and b under
  /// "first_moment/NAME" and "second_moment/NAME", adamax's b under "largest/NAME".
  const std::map<std::string, Tensor>& slots() const { return slots_; }
  /// Copies saved slots. @throws FormatError if one is missing or has another shape.
  void restore(const std::map<std::string, Tensor>& slots, const std::string& source);

 private:
  /// A parameter and the memory of its slots; both stay where they are.
  struct Target {
    layers::Parameter* parameter = nullptr;
    std::array<float*, 2> slots{};
  };

  layers::ParameterStore& store_;
  TrainOptions options_;
  const OptimizerRule& rule_;
  std::map<std::string, Tensor> slots_;
  std::vector<Target> targets_;
};

}  // namespace bitloom::train
