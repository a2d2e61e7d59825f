#include "bitloom/integer/requantize.h"

namespace bitloom::integer {

FoldedChannel fold_channel(const ChannelScales& scales, const ChannelAffine& affine) {
  // All in double: the only rounding to f32 is that of the stored numbers.
  const double multiplier = affine.slope * scales.source * scales.weight / scales.destination;
  const double bias = affine.offset / scales.destination + scales.destination_zero_point;
  return {.multiplier = static_cast<float>(multiplier), .bias = static_cast<float>(bias)};
}

}  // namespace bitloom::integer
