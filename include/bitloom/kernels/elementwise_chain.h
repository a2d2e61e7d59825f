// Everything between two products in one pass: normalize > add > clip > quantize, forward and
// backward, with Google Highway; each beside its plain reference (namespace reference).
// Formulas: f32_elementwise.h, integer/affine.h, fake_quant.h. Goes to: layers/fused_chain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"
#include "bitloom/kernels/channel_statistics.h"
#include "bitloom/kernels/fake_quant.h"

namespace bitloom::kernels {

/// A chain and the values it reads. Steps that are absent are left out, in this order:
///   x = (source - mean[c]) * slope[c] + shift[c]    where mean is given
///   x = x + shortcut                                reals, or scale * (code - zero_point)
///   x = min(max(x, low), high)                      where clips; a NaN gives low
///   code = quantize(x) of integer/affine.h          where quantizes
/// Each step is rounded to f32 (none is fused), so that codes are the same on every ISA, and
/// backward computes the x of forward again, bit for bit, instead of keeping it.
struct ElementwiseChain {
  ChannelRows size;
  const float* source = nullptr;  ///< [rows, channels]

  const float* mean = nullptr;   ///< [channels], with slope and shift; nullptr: not normalized
  const float* slope = nullptr;  ///< gamma / sqrt(variance + epsilon)
  const float* shift = nullptr;  ///< beta

  const void* shortcut = nullptr;  ///< [rows, channels] of shortcut_dtype; nullptr: none
  DType shortcut_dtype = DType::kF32;
  float shortcut_scale = 1.0F;  ///< of codes
  std::int32_t shortcut_zero_point = 0;

  bool clips = false;
  integer::Clip clip;

  bool quantizes = false;
  float scale = 1.0F;
  integer::AffineFormat format;  ///< @pre grid is kAffine

  /// Backward alone: forward's reals; the clip's mask is read here, source and shortcut are not
  /// needed for it. Only where the chain does not quantize.
  const float* output = nullptr;
};

/// out = codes (u8, or s8 where format.is_signed) where the chain quantizes, else x in f32, which
/// may lie on source.
void chain_forward(const ElementwiseChain& chain, void* out) noexcept;

/// Least and greatest x (before it is quantized); both NaN if one is NaN or infinite.
/// `ranges` are channel_statistics' of source: without a shortcut they suffice, since x rises or
/// falls with the source within a channel, and the tensor is not read. nullptr: it is.
MinMax chain_range(const ElementwiseChain& chain, const MinMax* ranges) noexcept;

/// What the parameters of a chain that normalizes are told.
struct ChainSums {
  double* shift = nullptr;       ///< [channels] sum of dx = dbeta
  double* slope = nullptr;       ///< [channels] sum of dx * (source - mean)
  GradientSums* grid = nullptr;  ///< of fake_quant.h; nullptr: nobody asks
};

/// Of x, from dy [rows, channels], the gradient of the chain's output (codes too: of their reals):
///   dx = dy where qmin <= v <= qmax (v = x / scale + zero_point), else 0; and low < x < high
/// f32 over 128 rows, then double, in an order as channel_statistics'. scratch:
/// channel_scratch_bytes.
/// @pre mean is given; sums.grid only where the chain quantizes.
void chain_gradient_sums(const ElementwiseChain& chain, const float* dy, const ChainSums& sums,
                         std::byte* scratch) noexcept;

/// Gradients of what the chain reads, from the same dx:
///   dsource = slope[c] * dx - (decay[c] * (source - mean[c]) + offset[c]), or dx not normalized
///   dshortcut = dx
/// Batch statistics of M rows: offset = slope * sum dx / M,
///   decay = slope * sum (dx * (source - mean)) / (M * (variance + epsilon)); both 0 where the
///   statistics are constants.
struct ChainGradients {
  const float* decay = nullptr;   ///< [channels], given where the chain normalizes
  const float* offset = nullptr;  ///< [channels]
  float* source = nullptr;        ///< nullptr: nobody asks; may be dy
  float* shortcut = nullptr;      ///< likewise, but not dy
  /// As ChainSums::grid, in the same pass: of chains that do not normalize.
  GradientSums* grid = nullptr;
};
void chain_backward(const ElementwiseChain& chain, const float* dy,
                    const ChainGradients& gradients) noexcept;

namespace reference {
void chain_forward(const ElementwiseChain& chain, void* out) noexcept;
MinMax chain_range(const ElementwiseChain& chain, const MinMax* ranges) noexcept;
void chain_gradient_sums(const ElementwiseChain& chain, const float* dy, const ChainSums& sums,
                         std::byte* scratch) noexcept;
void chain_backward(const ElementwiseChain& chain, const float* dy,
                    const ChainGradients& gradients) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
