// Counter-based random numbers: number i of a stream is a function of (seed, stream, i), so the
// stream is the same whatever the thread count and wherever a run was stopped.
// Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011 (Philox4x32-10).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace bitloom {

/// One Philox4x32-10 block: 128 counter bits and 64 key bits to 128 random bits.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

/// A stream of random numbers addressed by index.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  /// Stream named by words, e.g. ("init", "conv1.weight"); FNV-1a of the name.
  RandomStream(std::uint64_t seed, std::string_view name);

  std::uint32_t bits(std::uint64_t index) const;
  /// bits(4 * index) to bits(4 * index + 3) in one go.
  std::array<std::uint32_t, 4> block(std::uint64_t index) const;
  /// In [0, 1), 24 bits.
  float uniform(std::uint64_t index) const;
  /// Standard normal, Box-Muller in double, rounded once.
  float normal(std::uint64_t index) const;
  /// In [0, bound), bound > 0; multiply-shift, bias below 2^-32 * bound.
  std::uint32_t below(std::uint64_t index, std::uint32_t bound) const;

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
};

/// Fisher-Yates permutation of 0 .. count-1.
std::vector<std::uint32_t> permutation(const RandomStream& random, std::uint32_t count);

}  // namespace bitloom
