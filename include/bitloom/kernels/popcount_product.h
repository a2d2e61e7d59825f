// Convolutions and matrix products of binary and ternary codes on popcount, planned once.
//
//   acc[o] = sum over the taps inside the image of x * w,  x and w in {-1, +1} or {-1, 0, +1}
//          = (places where both are nonzero) - 2 * (of those, places where the signs differ)
//
// Exact. Padding is real 0: a tap outside the image adds nothing. No im2col: a tile of pixels x 16
// to 64 outputs stays in registers while the words of the window pass by once. Memory: one bit a
// weight (ternary: two), outputs padded to panels of 16. Up to 16 channels two taps of a row share
// a word.
// Comes from: backends/xnor, kernels/sign_bits.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// What decides a product. A linear layer has weight [O, I] and reads its source flattened in
/// memory order (H, W, C).
struct PopcountProblem {
  Shape source;  ///< [N, C, H, W] or [N, I]
  integer::Grid source_grid = integer::Grid::kBinary;
  Shape weight;  ///< [O, I/groups, KH, KW] or [O, I]
  integer::Grid weight_grid = integer::Grid::kBinary;
  integer::Window window;  ///< of a convolution
};

/// What a product reads; exactly one is set. Binary sources may come as bits (kernels/sign_bits.h).
struct PopcountSource {
  const std::int8_t* codes = nullptr;
  const std::uint32_t* bits = nullptr;
};

/// Real results: t = float(acc) * m[o]; t = t + b[o]; t = t * map[pixel]; t = t + residual; clip;
/// each step one f32 rounding, map and residual where they are set.
struct PopcountReals {
  float* out = nullptr;             ///< [N, O, H', W'], channels last
  const float* map = nullptr;       ///< [N, 1, H', W']
  const float* residual = nullptr;  ///< as out, perhaps its memory
  integer::Clip clip;
};

class PopcountProduct {
 public:
  /// @throws BackendError for a window that has no exact form here (kernels above 100 with
  /// padding).
  explicit PopcountProduct(const PopcountProblem& problem);
  ~PopcountProduct();
  PopcountProduct(PopcountProduct&&) noexcept;
  PopcountProduct& operator=(PopcountProduct&&) noexcept;

  /// Packs codes s8 (OHWI memory), for run_sums and run_reals.
  void set_weights(ConstTensorView weight_s8);
  /// m and b of run_reals, f32 [O] each.
  void set_scales(ConstTensorView multiplier, ConstTensorView bias);
  /// Packs codes for run_signs: bit = t < 0 with t = scale_accumulator(acc, m, b) as
  /// integer/requantize.h has it, found by bisection over the integers, so that each bit is that
  /// formula's own. Channels with m < 0 hold negated weights: all comparisons point one way.
  /// `range` [-1, 1], narrower where an activation function stands in front of the sign.
  void set_sign_weights(ConstTensorView weight_s8, ConstTensorView multiplier, ConstTensorView bias,
                        integer::CodeRange range);

  /// With at least scratch_bytes() of 64-byte aligned scratch; allocates nothing.
  void run_sums(const PopcountSource& source, std::int32_t* acc, std::span<std::byte> scratch);
  /// Sums in bf16, rounded towards 0 where it does not hold them.
  void run_sums(const PopcountSource& source, Bf16* sums, std::span<std::byte> scratch);
  void run_reals(const PopcountSource& source, const PopcountReals& reals,
                 std::span<std::byte> scratch);
  /// Sign bits of all outputs, [N * H' * W', sign_words(O)]. @pre writes_signs().
  void run_signs(const PopcountSource& source, std::uint32_t* bits, std::span<std::byte> scratch);
  /// Outputs of a group must fill whole words where there are several groups.
  bool writes_signs() const;

  Shape destination() const;  ///< [N, O, H', W'], or [N, O] of a linear layer
  std::size_t scratch_bytes() const;
  std::size_t memory_bytes() const;    ///< packed weights and tables
  std::string implementation() const;  ///< "popcount:avx512_vpopcntdq"

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Name of what popcount kernels run on here: "avx512_vpopcntdq", "avx512bw", "avx2", ...
std::string popcount_target();

/// Whether popcount is the faster exact way to run these codes here, by instructions a product on
/// each side (tests/bench/xnor_bench.cpp measures them): never on AMX; elsewhere nearly always, but
/// for less than 16 channels a group. Without VNNI always: int8 is not
/// exact for signed codes there.
bool popcount_beats_int8(const PopcountProblem& problem);

namespace reference {
/// The sums by definition, over codes: source [N, C, H, W] or [N, I] s8, acc s32 [N, O, H', W'].
void popcount_sums(const PopcountProblem& problem, ConstTensorView source_s8,
                   ConstTensorView weight_s8, std::int32_t* acc) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
