// The loops of depthwise_product over the pixels of one or two output rows, one block of channels.
// Goes to: depthwise_product.cpp.
#pragma once

#include <cstdint>

#include "bitloom/integer/affine.h"

namespace bitloom::kernels {

constexpr int kDepthwiseTaps = 3;          ///< rows and columns of the window
constexpr int kDepthwiseAccumulators = 4;  ///< vectors of sums a vector of codes

/// What the target that Highway chose wants.
struct DepthwiseLayout {
  int bytes = 0;       ///< of its widest vector: the most channels of a block; 0: no kernel
  bool pairs = false;  ///< weights as s16 pairs instead of s8 quads
  const char* target = "";
};
DepthwiseLayout depthwise_layout();

/// Output rows that one pass makes.
constexpr int depthwise_pass_rows(std::int64_t stride) { return stride == 1 ? 2 : 1; }

/// Numbers of 16, 32 or 64 channels. Lane l of accumulator a belongs to channel
/// first + 16 * (l / 4) + 4 * a + l % 4, which is how bytes interleave.
struct DepthwiseBlock {
  std::int64_t first = 0;
  int channels = 0;
  /// [accumulators][pass rows][columns of the window][lanes], a quad each: the weights of four rows
  /// of the source, 0 where the window does not reach; s8, or s16 as rows (0, 2) of all lanes and
  /// then rows (1, 3).
  std::int8_t* weight = nullptr;
  std::int32_t* base =
      nullptr;                  ///< [accumulators][lanes], behind the weights: what sums start from
  float* multiplier = nullptr;  ///< [accumulators][lanes], behind the bases
  float* bias = nullptr;        ///< [accumulators][lanes], behind the multipliers
};

/// Shapes and the steps behind the sums, the same for all blocks.
struct DepthwiseRows {
  std::int64_t h = 0, w = 0, c = 0, oh = 0, ow = 0;
  std::int64_t stride = 1, pad_h = 0, pad_w = 0;
  const std::uint8_t* padding = nullptr;  ///< [w, c] bytes of the source's zero point
  std::uint8_t flip = 0;                  ///< 0x80 for s8 sources: code + 128 is what is multiplied
  bool real_output = false;               ///< f32, within `clip`; else codes
  integer::Clip clip;
  bool signed_output = false;  ///< s8; else u8
  std::int32_t qmin = 0, qmax = 255;
  bool clamps_reals = true;  ///< |t| may leave the range of s32
  bool plain_codes = false;  ///< u8 to all of u8 without a flip or clamps: the usual layer
};

/// Output rows `row` .. row + depthwise_pass_rows - 1 (those that exist) of one image; `out` is
/// u8, s8 or f32.
/// @pre depthwise_layout().bytes > 0.
void depthwise_pass(const DepthwiseRows& rows, const DepthwiseBlock& block,
                    const std::uint8_t* source, std::int64_t row, void* out) noexcept;

}  // namespace bitloom::kernels
