// Everything between two products in one pass: normalize > add > rectify > clip > quantize, forward
// and backward, with Google Highway; each beside its plain reference (namespace reference).
// Formulas: f32_elementwise.h, integer/affine.h, fake_quant.h. Goes to: layers/fused_chain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"
#include "bitloom/kernels/channel_statistics.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/kernels/gradient_terms.h"
#include "bitloom/kernels/rectifier.h"

namespace bitloom::kernels {

/// A chain and the values it reads. Steps that are absent are left out, in this order:
///   x = (source - mean[c]) * slope[c] + shift[c]    where mean is given
///   x = x + shortcut                                reals, or scale * (code - zero_point)
///   x = (v if v > 0, else slope[c] * v) + offset[c], v = x - threshold[c], of rectifier.h; where
///                                                   rectifies
///   x = min(max(x, low), high)                      where clips; a NaN gives low
///   code = quantize(x) of integer/affine.h          where quantizes
/// Each step is rounded to f32 (none is fused), so that codes are the same on every ISA, and
/// backward computes the x of forward again, bit for bit, instead of keeping it.
struct ElementwiseChain {
  ChannelRows size;
  ChannelValues source;  ///< [rows, channels]; sums only where mean is given

  const float* mean = nullptr;   ///< [channels], with slope and shift; nullptr: not normalized
  const float* slope = nullptr;  ///< gamma / sqrt(variance + epsilon)
  const float* shift = nullptr;  ///< beta

  const void* shortcut = nullptr;  ///< [rows, channels] of shortcut_dtype; nullptr: none
  DType shortcut_dtype = DType::kF32;
  float shortcut_scale = 1.0F;  ///< of codes
  std::int32_t shortcut_zero_point = 0;

  /// Only where the chain normalizes and neither clips nor quantizes.
  bool rectifies = false;
  RectifierChannels rectifier;

  bool clips = false;
  integer::Clip clip;

  bool quantizes = false;
  float scale = 1.0F;
  integer::AffineFormat format;  ///< @pre grid is kAffine

  /// Signs of x beside x itself, as sign_codes' of few_levels.h. Only where the chain normalizes
  /// and neither clips nor quantizes.
  bool signs = false;
  const float* sign_threshold = nullptr;  ///< [channels]; nullptr: 0
  std::int8_t* sign_codes = nullptr;      ///< forward: [rows, channels]
  OutputGradient sign_gradient;           ///< backward: dy of the signs, one term

  /// Backward alone: forward's reals; masks of a clip and of signs are read here, source and
  /// shortcut are not needed for them. Only where the chain neither quantizes nor rectifies; with
  /// signs always.
  const float* output = nullptr;
};

/// out = codes (u8, or s8 where format.is_signed) where the chain quantizes, else x in f32, which
/// may lie on source.
void chain_forward(const ElementwiseChain& chain, void* out) noexcept;

/// Least and greatest x (before it is quantized); both NaN if one is NaN or infinite.
/// `ranges` are channel_statistics' of source: without a shortcut they suffice, since x rises or
/// falls with the source within a channel, and the tensor is not read. nullptr: it is.
MinMax chain_range(const ElementwiseChain& chain, const MinMax* ranges) noexcept;

/// What is asked for of dx, the gradient of the chain's value before it is rectified, clipped and
/// quantized, which is also the shortcut's and, without normalization, the source's:
///   dx = dy where qmin <= v <= qmax (v = x / scale + zero_point), else 0; and low < x < high;
///   with signs dx = dy + sign_gradient * max(0, 2 - 2 |x - sign_threshold|), each step rounded;
///   where the chain rectifies, that is rectify_gradient's dy: dx is times slope[c] unless v > 0
struct ChainGradients {
  InputGradient dx;              ///< may lie on a term of dy of the same type
  InputGradient again;           ///< a second place for the same; not on dy
  double* shift = nullptr;       ///< [channels] sum of dx = dbeta, given where the chain normalizes
  double* slope = nullptr;       ///< [channels] sum of dx * (source - mean), with shift
  GradientSums* grid = nullptr;  ///< of fake_quant.h, where the chain quantizes
  double* signs = nullptr;       ///< [channels] sum of the signs' share, where it has signs
  /// [channels] sums of rectify_gradient's dslope and doffset, both where the chain rectifies; its
  /// dthreshold is -shift.
  double* rectifier_slope = nullptr;
  double* rectifier_offset = nullptr;
};
/// Sums are of dx in f32, before it is rounded: f32 over 128 rows, then double, in an order as
/// channel_statistics'. scratch, where there are sums a channel: channel_scratch_bytes.
void chain_gradient(const ElementwiseChain& chain, const OutputGradient& dy,
                    const ChainGradients& to, std::byte* scratch) noexcept;

/// From dx to the source of a chain that normalizes:
///   dsource = slope[c] * dx - (decay[c] * (source - mean[c]) + offset[c])
/// Batch statistics of M rows: slope = the chain's, offset = slope * sum dx / M,
///   decay = slope * sum (dx * (source - mean)) / (M * (variance + epsilon)); offset and decay are
///   0 where the statistics are constants. All three times a factor of the channel where dsource is
///   wanted times one.
struct NormalizationGradient {
  const float* slope = nullptr;  ///< [channels], as all of these
  const float* decay = nullptr;
  const float* offset = nullptr;
};
/// Of the chain size, source and mean alone are read. dsource may lie on dx where the types are the
/// same.
void normalization_gradient(const ElementwiseChain& chain, const InputGradient& dx,
                            const NormalizationGradient& terms,
                            const InputGradient& dsource) noexcept;

namespace reference {
void chain_forward(const ElementwiseChain& chain, void* out) noexcept;
MinMax chain_range(const ElementwiseChain& chain, const MinMax* ranges) noexcept;
void chain_gradient(const ElementwiseChain& chain, const OutputGradient& dy,
                    const ChainGradients& to, std::byte* scratch) noexcept;
void normalization_gradient(const ElementwiseChain& chain, const InputGradient& dx,
                            const NormalizationGradient& terms,
                            const InputGradient& dsource) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
