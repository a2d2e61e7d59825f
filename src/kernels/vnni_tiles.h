// The loops of vnni_product over pixels, one block of output channels.
// Goes to: vnni_product.cpp.
#pragma once

#include <cstdint>

namespace bitloom::kernels {

constexpr int kVnniChannels = 64;  ///< of a whole block
constexpr int kVnniLanes = 16;     ///< sums in a vector
constexpr int kVnniTaps = 49;      ///< pixels of the largest window

/// Whether the target that Highway chose has VNNI.
bool has_vnni_tiles();

/// Numbers of up to 64 output channels in 1 to 4 vectors. The arrays lie one behind another.
struct VnniBlock {
  std::int64_t first = 0;
  int channels = 0;
  std::int8_t* weight = nullptr;  ///< [taps][depth / 4][vectors][lanes][4]; 0 beyond the channels
  std::int32_t* base = nullptr;   ///< [vectors][lanes], behind the weights: what sums start from
  float* multiplier = nullptr;    ///< [vectors][lanes], behind the bases
  float* bias = nullptr;          ///< [vectors][lanes], behind the multipliers

  constexpr int vectors() const { return (channels + kVnniLanes - 1) / kVnniLanes; }
  /// Of a whole block's lanes the order in which four vectors of s32 pack to bytes, else as they
  /// come; counted from `first`.
  constexpr int channel_of(int vector, int lane) const {
    return channels == kVnniChannels ? 16 * (lane / 4) + 4 * vector + lane % 4
                                     : kVnniLanes * vector + lane;
  }
};

/// Where sources lie and what follows the sums, the same for all blocks.
struct VnniSteps {
  std::int64_t depth = 0;                     ///< input channels: bytes of a source pixel
  std::int64_t h = 0, w = 0, oh = 0, ow = 0;  ///< of the source, of the output
  std::int64_t kernel_h = 1, kernel_w = 1, stride = 1, pad_h = 0, pad_w = 0;
  const std::uint8_t* padding = nullptr;  ///< [depth] bytes of the source's zero point
  std::int64_t channels = 0;              ///< output channels: bytes of a residual's pixel
  std::int64_t pitch = 0;                 ///< bytes from one output pixel to the next
  bool residual = false;
  bool signed_residual = false;
  std::int32_t residual_zero_point = 0;
  float residual_ratio = 1.0F;
  bool signed_output = false;
  std::int32_t qmin = 0, qmax = 255;
  bool clamps_reals = true;  ///< |t| may leave the range of s32
  bool plain = false;        ///< to all of u8 without clamps, u8 added or nothing: the usual layer
};

/// Codes of output pixels first .. last - 1 of all images. The residual may be the output.
/// @pre has_vnni_tiles(); last > first.
void vnni_pixels(const VnniSteps& steps, const VnniBlock& block, const std::uint8_t* source,
                 const std::uint8_t* residual, std::int64_t first, std::int64_t last,
                 std::uint8_t* out) noexcept;

}  // namespace bitloom::kernels
