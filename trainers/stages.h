// What a training run starts from, and how its network changes on the way: float, quantized,
// ranges frozen, batch norm frozen.
// Comes from: train.cpp. Goes to: quantize_checkpoint, quant's passes.
#pragma once

#include <filesystem>

#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/config.h"
#include "experiment.h"

namespace bitloom::trainers {

/// @throws ConfigError if the checkpoint holds another network than the experiment's, its batch
/// norm folded or not as config says.
void require_same_network(const train::Checkpoint& checkpoint, const Config& config,
                          const Experiment& experiment, const std::filesystem::path& path);

/// The trained checkpoint that teaches this run: quant.distill_teacher, else `init`.
/// @throws FormatError, ShapeError if it takes other images or classes, ConfigError if it saw its
/// images under another normalization.
train::Checkpoint load_teacher(const Config& config, const Experiment& experiment,
                               const std::filesystem::path& init);

/// Takes the weights, biases and batch-norm statistics of `init` over into a fresh checkpoint: a
/// float checkpoint, or for QAT one of QAT with at least as many bits (progressive
/// initialisation: W4 from W8, W3 from W4, W2 from W3).
/// Scales are not taken: quantize_checkpoint calibrates them anew on these weights. A scale that
/// kept its range would keep the wide grid's clip, and the clip of least error shrinks with the
/// number of levels (2 bits: about a third of the 8 bits' one for a normal distribution).
/// @throws ConfigError if the checkpoint is of another network, or cannot start this run.
void start_from(train::Checkpoint& checkpoint, const Config& config, const Experiment& experiment,
                const std::filesystem::path& init);

/// Brings the checkpoint's network to the stage of its epoch: from quant.delay_epochs on it is
/// quantized, from [schedule]'s start on its widths follow that (width_schedule.h), in the last
/// freeze_range_epochs scales keep still, in the last freeze_batch_norm_epochs batch-norm
/// statistics do. Each change is made once, and the graph says which were made, so a resumed run
/// makes the rest. True if anything changed.
bool advance_stage(train::Checkpoint& checkpoint, const Config& config,
                   const Experiment& experiment);

/// @throws ConfigError for stages of QAT that contradict each other or the number of epochs.
void require_possible_stages(const Config& config, bool has_init);

}  // namespace bitloom::trainers
