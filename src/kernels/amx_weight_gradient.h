// The gradient of a convolution's weights on AMX tiles of bf16.
// Comes from: bf16_weight_gradient.cpp, which cuts the work and joins the sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/kernels/bf16_weight_gradient.h"

namespace bitloom::kernels {

using AmxWeightGradientPlan = Bf16WeightGradient::TilePlan;

/// True if the CPU (within the ISA cap) has AMX with bf16 and the system lets us use it.
bool amx_weight_gradient_runs() noexcept;

AmxWeightGradientPlan plan_amx_weight_gradient(const F32Conv2dProblem& problem);

/// Scratch of one thread for `outputs` of the outputs.
std::size_t amx_weight_gradient_bytes(const AmxWeightGradientPlan& plan, std::int64_t outputs);

/// What one thread does.
struct AmxWeightGradientPart {
  std::int64_t first_image, last_image;
  std::int64_t first_output, last_output;  // in sixteens
  std::byte* scratch;
  float* weight_gradient;  // [O][KH][KW][I], unscaled; the part's outputs are written
  float* bias_gradient;    // [O], to be added to
};
void amx_weight_gradient(const AmxWeightGradientPlan& plan, const Bf16WeightGradient::Call& call,
                         const AmxWeightGradientPart& part) noexcept;

}  // namespace bitloom::kernels
