// Widths for a network from what its steps cost: `quant.bits = auto`.
// Comes from: quant/sqnr.h (a probed network), quant/allocate.h (the solver), [quant]'s targets.
// Goes to: trainers (quantize, train, `bitloom allocate`), quant/passes.h by quant.layer_bits.
#pragma once

#include <vector>

#include "bitloom/quant/allocate.h"
#include "bitloom/quant/layer_bits.h"
#include "bitloom/quant/options.h"
#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {

/// Items of a probed network: every weight and every grid of activations once, in order of steps.
/// Noises: with gains, gain * noise / output signal; without (nullptr), noise / signal of each
/// step. Costs: elements / all elements of its kind, so that the cost is the sum of the average
/// weight width and the average activation width. Limits: options.min_bits .. max_bits; fixed where
/// the width comes from first_last_bits or layer_bits.
AllocationProblem allocation_problem(const NoiseProbe& probe, const NoiseGains* gains,
                                     const layers::Graph& float_graph, const QuantOptions& options,
                                     const QuantizeTarget& target);

/// Bit-operations for cost, in units of all multiply-adds: equal widths b cost b * b. Layers that
/// read reals count with 32.
void count_bit_operations(AllocationProblem& problem, const NoiseProbe& probe);

/// Widths of the items as a graph of insert_fake_quant() with these options has them.
std::vector<int> widths_of(const AllocationProblem& problem, const layers::Graph& float_graph,
                           const QuantOptions& options, const QuantizeTarget& target);

/// The same for the probe's steps.
StepBits step_bits(const NoiseProbe& probe, const AllocationProblem& problem,
                   const std::vector<int>& bits);

/// For quant.layer_bits: every item by its layer.
LayerBitsTable to_table(const AllocationProblem& problem, const std::vector<int>& bits);

/// How widths are searched.
enum class AllocationMethod : std::uint8_t { kClosedForm, kGreedy, kExhaustive };

/// The widths that options ask for:
///   target_bit_operations  least noise at that share of the bit-operations of 8 x 8 bits;
///   target_size_ratio      weights: least noise at that share of their float size; activations:
///                          least noise at the average width that equal widths give them;
///   target_size_of_equal   the same at that share of the weights' size at the equal widths;
///   target_sqnr_db         least average_weight + average_activation bits at that SQNR, as
///                          measured on the probe's images: the prediction that the solver is
///                          asked for is corrected by measurement, one pass each time;
///   none of them           the same at the SQNR of the equal widths.
/// With noise_rule = "measured" the closed form's widths then go through refine_bits().
/// @throws ConfigError for goals that the limits cannot meet, with the key and what they can reach.
Allocation choose_bits(const AllocationProblem& sizes, NoiseProbe& probe,
                       const std::vector<int>& equal, const QuantOptions& options,
                       AllocationMethod method = AllocationMethod::kClosedForm);

}  // namespace bitloom::quant
