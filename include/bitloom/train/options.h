// Config section [train]: the recipe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitloom/core/error.h"

namespace bitloom::train {

/// Formulas: optimizer.h for `optimizer`, schedule.h for `schedule`, average.h for `ema_decay`.
struct TrainOptions {
  std::int64_t epochs = 4;
  std::int64_t batch = 128;
  std::string optimizer = "sgd";  ///< "sgd", "adam", "adamw", "adamax", "shift-adamax"
  double lr = 0.05;
  std::string schedule = "cosine";    ///< "cosine", "step", "one-cycle" or "constant"
  double lr_final_ratio = 0.0;        ///< last learning rate / lr; cosine and one-cycle
  double warmup_epochs = 0.2;         ///< linear rise; one-cycle has its own
  std::vector<double> step_epochs;    ///< step: after so many epochs lr falls, rising numbers
  double step_gamma = 0.1;            ///< step: to this share of itself
  double cycle_rise = 0.3;            ///< one-cycle: share of the steps in which lr rises
  double cycle_start_ratio = 0.04;    ///< one-cycle: first learning rate / lr
  double cycle_low_momentum = 0.85;   ///< one-cycle: momentum where lr is highest
  double momentum = 0.9;              ///< of sgd; beta1 of adam and adamw
  bool nesterov = false;              ///< sgd: look ahead along the momentum
  double beta2 = 0.999;               ///< adam, adamw: share of the old squares
  double adam_epsilon = 1e-8;         ///< adam, adamw: least denominator
  double weight_decay = 1e-4;         ///< spares biases, batch norm and quantizer scales
  double scale_lr_ratio = 0.1;        ///< learning rate of quantizer scales / lr
  double clip_norm = 0.0;             ///< greatest norm of all gradients together; 0: any
  double label_smoothing = 0.0;       ///< share of the target spread over all classes
  std::string precision = "f32";      ///< of the products: kernels/precision.h
  double ema_decay = 0.0;             ///< share of the old average of weights; 0: no average
  std::int64_t checkpoint_steps = 0;  ///< also save every so many steps; 0: at each epoch's end
  /// QAT that starts from a float checkpoint uses these instead of epochs and lr.
  std::int64_t qat_epochs = 2;
  double qat_lr = 0.01;
};

/// Values that are right one by one and wrong or without effect together; empty if all is well.
std::vector<ErrorText> contradictions(const TrainOptions& options);

}  // namespace bitloom::train
