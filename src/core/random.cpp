#include "bitloom/core/random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace bitloom {
namespace {

// Multipliers and key steps of Philox4x32 (Salmon et al. 2011, table 2 and section 3.3).
constexpr std::uint32_t kMultiply0 = 0xD2511F53U;
constexpr std::uint32_t kMultiply1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;
constexpr int kRounds = 10;

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

std::uint64_t fnv1a(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char letter : name) {
    hash = (hash ^ static_cast<std::uint8_t>(letter)) * 0x100000001B3U;
  }
  return hash;
}

/// In (0, 1], 53 bits: never 0, so that its logarithm is finite.
double unit_interval(std::uint32_t upper, std::uint32_t lower) {
  const std::uint64_t bits = (std::uint64_t{upper} << 32 | lower) >> 11;
  return (static_cast<double>(bits) + 1.0) * 0x1p-53;
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiply0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kMultiply1} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view name)
    : RandomStream(seed, fnv1a(name)) {}

std::uint32_t RandomStream::bits(std::uint64_t index) const { return block(index / 4)[index % 4]; }

std::array<std::uint32_t, 4> RandomStream::block(std::uint64_t index) const {
  return philox({low(index), high(index), low(stream_), high(stream_)}, {low(seed_), high(seed_)});
}

float RandomStream::uniform(std::uint64_t index) const {
  return static_cast<float>(bits(index) >> 8) * 0x1p-24F;
}

float RandomStream::normal(std::uint64_t index) const {
  // A whole block for one number: two 53-bit uniforms, so that the tails are those of double.
  const auto words = block(index);
  const double radius = std::sqrt(-2.0 * std::log(unit_interval(words[0], words[1])));
  const double angle = 2.0 * std::numbers::pi * unit_interval(words[2], words[3]);
  return static_cast<float>(radius * std::cos(angle));
}

std::uint32_t RandomStream::below(std::uint64_t index, std::uint32_t bound) const {
  return high(std::uint64_t{bits(index)} * bound);
}

std::vector<std::uint32_t> permutation(const RandomStream& random, std::uint32_t count) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  for (std::uint32_t last = count; last > 1; --last) {
    std::swap(order[last - 1], order[random.below(last - 1, last)]);
  }
  return order;
}

}  // namespace bitloom
