#include "bitloom/kernels/dropout.h"

#include <array>

#include "bitloom/core/parallel.h"

namespace bitloom::kernels {
namespace {

// A Philox block costs some 20 ns, so few elements are worth a second thread.
constexpr std::int64_t kGrainBlocks = 512;
constexpr std::int64_t kWords = 4;

// Calls body(element, kept) for each element, four to a block of random bits.
template <typename Body>
void for_each_element(std::int64_t count, const DropoutMask& mask, const Body& body) {
  const auto threshold = static_cast<std::uint32_t>(static_cast<double>(mask.ratio) * 0x1p24);
  const std::uint64_t first = mask.step << 32U;
  parallel_for((count + kWords - 1) / kWords, kGrainBlocks,
               [&](std::int64_t begin, std::int64_t end, int) {
                 for (std::int64_t block = begin; block < end; ++block) {
                   const auto words = mask.random.block(first + static_cast<std::uint64_t>(block));
                   const std::int64_t at = block * kWords;
                   const std::int64_t last = std::min(count - at, kWords);
                   for (std::int64_t i = 0; i < last; ++i) {
                     body(at + i, words[static_cast<std::size_t>(i)] >> 8U >= threshold);
                   }
                 }
               });
}

}  // namespace

float dropout_factor(float ratio) {
  return static_cast<float>(1.0 / (1.0 - static_cast<double>(ratio)));
}

void drop_reals(ConstTensorView x, const DropoutMask& mask, TensorView y) noexcept {
  const float* in = x.data<float>();
  float* out = y.data<float>();
  const float factor = dropout_factor(mask.ratio);
  for_each_element(x.elements(), mask,
                   [=](std::int64_t i, bool kept) { out[i] = kept ? in[i] * factor : 0.0F; });
}

void drop_codes(ConstTensorView x, const DropoutMask& mask, std::int32_t zero_point,
                TensorView y) noexcept {
  BITLOOM_ASSERT(size_of(x.dtype()) == 1 && x.dtype() == y.dtype());
  const auto* in = static_cast<const std::uint8_t*>(x.raw());
  auto* out = static_cast<std::uint8_t*>(y.raw());
  const auto zero = static_cast<std::uint8_t>(zero_point);  // an s8 code by its bits
  for_each_element(x.elements(), mask,
                   [=](std::int64_t i, bool kept) { out[i] = kept ? in[i] : zero; });
}

}  // namespace bitloom::kernels
