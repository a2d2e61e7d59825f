// One training step, the same for the training loop and for `bitloom bench --training`.
// Comes from: layers/network.h, optimizer.h, checkpoint.h. Goes to: loop.h, tools (bench).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/network.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/optimizer.h"
#include "bitloom/train/options.h"

namespace bitloom::train {

/// What a step tells of its batch.
struct StepResult {
  double loss = 0.0;         ///< mean over the batch
  std::int64_t correct = 0;  ///< images whose largest logit is the label
};

/// The network of a checkpoint planned for one batch size, its loss and its optimizer.
///
/// run(): forward in Phase::kTrain > softmax cross-entropy > backward > Sgd::step(lr). Nothing of
/// ours is allocated there; memory is planned in the constructor.
class TrainingStep {
 public:
  /// With forward = "integer" the graph runs through quant::use_integer_forward, with "float" as it
  /// stands. Momenta start at zero. The checkpoint must outlive the step, which changes its
  /// parameters.
  TrainingStep(Checkpoint& checkpoint, const TrainOptions& options, std::string_view forward,
               std::int64_t classes);

  /// images: f32 [options.batch, C, H, W]; labels [options.batch]. If the loss is not finite, it is
  /// returned and the parameters stay as they were.
  /// @throws ShapeError for other shapes or a label outside 0 .. classes-1.
  StepResult run(ConstTensorView images, std::span<const std::int32_t> labels, double lr);

  Sgd& optimizer() { return optimizer_; }
  const layers::Network& network() const { return network_; }

 private:
  layers::Network network_;
  Sgd optimizer_;
  Tensor logit_gradient_;
};

}  // namespace bitloom::train
