// Widths by what they do in company: the last step of quant.noise_rule = measured.
// Comes from: quant/choose_bits.h (widths to begin with). Goes to: quant/choose_bits.h.
#pragma once

#include <vector>

#include "bitloom/quant/allocate.h"
#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {

/// Widths that measure better for the same price (with a target SQNR: cost less and still measure
/// it) than `start`, which must meet the goal; `start` where none are found.
///
/// Gains say what a tensor's noise does alone. At two to four bits it is not alone: rounding to the
/// nearest of few levels shrinks what it rounds, in every layer in the same direction, and such
/// noises do not add as powers. So with all items at their widths each is moved by one bit, down
/// and up, and the noise of the logits is measured: N_i(b - 1), N_i(b + 1). Then the problem
///   noise_i(w) = N_i(w) - min over w of N_i(w), the rest as a constant,
/// limited to the widths that were measured, is solved as allocate() does, several times, with what
/// a lost bit costs taken 1, 1.5, 2.5 and 4 times: bits that are lost together cost more than one
/// by one. Beside these solutions stand exchanges of a bit between two tensors, the 16 that promise
/// most. All are measured whole, the best is taken, and all that again from there, until none is
/// better, eight rounds at most.
///
/// N is the noise's power where an SQNR is the target. For a price it is Noise::divergence: power
/// counts errors in logits that decide nothing. On resnet20 with equal widths of 4 bits 11.5 dB
/// were 88.4 % of the test images, with mixed ones of as many bits 89.6 %.
/// `problem`: for costs and limits; its noises are not read.
/// Time: a forward pass over the probe's images for each item and direction and up to 20 more, in
/// each round.
std::vector<int> refine_bits(const AllocationProblem& problem, NoiseProbe& probe,
                             const AllocationGoal& goal, const std::vector<int>& start);

}  // namespace bitloom::quant
