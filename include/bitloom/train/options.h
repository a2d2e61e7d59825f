// Config section [train]: the recipe.
#pragma once

#include <cstdint>

namespace bitloom::train {

/// SGD with momentum; cosine schedule with linear warm-up:
///   lr(t) = lr * (t + 1) / W for t < W, else lr_final_ratio * lr +
///           (1 - lr_final_ratio) * lr * (1 + cos(pi * (t - W) / (T - W))) / 2,  t in steps.
struct TrainOptions {
  std::int64_t epochs = 4;
  std::int64_t batch = 128;
  double lr = 0.05;
  double lr_final_ratio = 0.0;
  double warmup_epochs = 0.2;
  double momentum = 0.9;
  double weight_decay = 1e-4;         ///< spares biases, batch norm and quantizer scales
  double scale_lr_ratio = 0.1;        ///< learning rate of quantizer scales / lr
  std::int64_t checkpoint_steps = 0;  ///< also save every so many steps; 0: at each epoch's end
  /// QAT that starts from a float checkpoint uses these instead of epochs and lr.
  std::int64_t qat_epochs = 2;
  double qat_lr = 0.01;
};

}  // namespace bitloom::train
