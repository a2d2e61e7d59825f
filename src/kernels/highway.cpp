#include "bitloom/kernels/highway.h"

#include <hwy/targets.h>

#include "bitloom/core/cpu.h"

namespace bitloom::kernels {
namespace {

bool lower_targets() {
  const Isa isa = effective_isa();
  if (isa == detected_isa()) return true;
  std::int64_t disabled = 0;
  if (isa < Isa::kAvx512Vnni) disabled |= HWY_AVX3_DL;
  if (isa < Isa::kAvx512) disabled |= HWY_AVX3;
  if (isa < Isa::kAvx2) disabled |= HWY_AVX2;
  hwy::DisableTargets(disabled);
  hwy::GetChosenTarget().DeInit();
  return true;
}

}  // namespace

void apply_highway_cap() { [[maybe_unused]] static const bool done = lower_targets(); }

}  // namespace bitloom::kernels
