// Widths that fall while a network trains, layer by layer, and rise again where it cannot take it:
// section [schedule].
// Comes from: stages.cpp, train.cpp. Goes to: quant/change_bits.h, probe.h.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/config.h"
#include "experiment.h"

namespace bitloom::trainers {

/// Epochs, counted from 0, at whose beginning widths change.
struct ScheduleEpochs {
  std::int64_t first = 0;
  std::int64_t last = 0;  ///< the constraint is met from here on
};
ScheduleEpochs schedule_epochs(const Config& config);

/// @throws ConfigError for a schedule that ends before it starts or that its run, or another key,
/// contradicts.
void require_possible_schedule(const Config& config, bool has_init);
/// @throws ConfigError naming quant's target of size if it is below what quant.min_bits leave.
void require_reachable_size(const Config& config, const Experiment& experiment);

/// [quant] as a scheduled run starts: every width that is free is quant.max_bits.
quant::QuantOptions widest_options(const quant::QuantOptions& options);

/// Brings the widths of a quantized network to those of its epoch. True if one changed.
///
/// At `first` the noise of the network of now is measured (quant/sqnr.h): S_w, the SQNR of its
/// logits with the widest widths, and S_t, that of the widths that quant's targets choose. Then and
/// every every_epochs from then on, gains and noises are measured anew at the widths of now, and
/// the widths become the cheapest ones whose measured SQNR is at least
///   floor = S_w + (S_t - S_w) * level / levels,   levels = decisions before `last` + 1.
/// kind = sqnr: the level rises by one with each decision. A layer narrows once the others leave it
///   room, and widens again where the network has come to need it: the floor is in dB of now.
/// kind = loss: the level rises by one where the validation loss of the last epoch is at most
///   (1 + loss_tolerance) times the least one since the network was quantized, else it falls by
///   one, and widths rise with it.
/// At `last` quant's targets choose (choose_bits.h), so that they are met whatever the way there. A
/// target in dB is held to from then on too: where it is missed at a later decision, widths are
/// chosen again. What changes its width gets a new grid: quant/change_bits.h.
/// Each decision is made once; between epochs the numbers above stand in checkpoint.notes, so that
/// a resumed run goes on alike.
bool advance_widths(train::Checkpoint& checkpoint, const Config& config,
                    const Experiment& experiment);

/// Adds what an epoch's row tells of widths: layer_bits ("conv1": [4, 6], weights and activations;
/// 0 where there are none), and from the first decision on average_weight_bits,
/// average_activation_bits, sqnr_db as measured when they were chosen, level, levels.
void add_widths(const train::Checkpoint& checkpoint, nlohmann::json& row);

/// Measured SQNR of the network of now at its own widths, on grids as calibrated for it, against
/// its own float network, in dB.
double sqnr_of_now_db(train::Checkpoint& checkpoint, const Config& config,
                      const Experiment& experiment);

}  // namespace bitloom::trainers
