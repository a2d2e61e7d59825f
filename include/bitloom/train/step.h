// One training step, the same for the training loop and for `bitloom bench --training`.
// Comes from: layers/network.h, optimizer.h, checkpoint.h. Goes to: loop.h, tools (bench).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/network.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/distillation.h"
#include "bitloom/train/optimizer.h"
#include "bitloom/train/options.h"
#include "bitloom/train/schedule.h"

namespace bitloom::train {

/// What a step tells of its batch.
struct StepResult {
  double loss = 0.0;         ///< mean over the batch
  std::int64_t correct = 0;  ///< images whose largest logit is the label
};

/// The network of a checkpoint planned for one batch size, its loss and its optimizer.
///
/// run(): forward in Phase::kTrain > softmax cross-entropy > backward > Optimizer::step(rates) >
/// averages of weights, where options.ema_decay asks for them. Nothing of ours is allocated there;
/// memory is planned in the constructor.
class TrainingStep {
 public:
  /// The graph that runs is quant::training_graph(graph, forward). The optimizer's slots start at
  /// zero, averages (unless the checkpoint has them) at the parameters. The checkpoint must outlive
  /// the step, which changes its parameters and averages.
  TrainingStep(Checkpoint& checkpoint, const TrainOptions& options, std::string_view forward,
               std::int64_t classes);

  /// Lets the loss of every run() be distill()ed with the teacher's answers; the teacher must
  /// outlive the step and answer batches of options.batch.
  void learn_from(Teacher& teacher, const DistillationOptions& distillation);

  /// images: f32 [options.batch, C, H, W]; labels [options.batch]. If the loss is not finite, it is
  /// returned and the parameters stay as they were. A clock gets the laps of all the step.
  /// @throws ShapeError for other shapes or a label outside 0 .. classes-1.
  StepResult run(ConstTensorView images, std::span<const std::int32_t> labels,
                 const StepRates& rates, LapClock* clock = nullptr);

  Optimizer& optimizer() { return optimizer_; }
  const layers::Network& network() const { return network_; }

 private:
  Checkpoint& checkpoint_;
  TrainOptions options_;
  layers::Network network_;
  Optimizer optimizer_;
  Tensor logit_gradient_;
  Teacher* teacher_ = nullptr;
  DistillationOptions distillation_;
};

}  // namespace bitloom::train
