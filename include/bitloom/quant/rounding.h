// How one weight learns to round: AdaRound's optimization of a single product.
// Goes to: quant/adaround.h, which runs it over a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"
#include "bitloom/integer/requantize.h"
#include "bitloom/kernels/f32_conv2d.h"

namespace bitloom::quant {

/// How rounding is learned. Defaults are the paper's (as published with BRECQ, arXiv:2102.05426),
/// except for a thirtieth of the steps at thirty times the learning rate.
struct AdaRoundOptions {
  int steps = 1000;
  std::int64_t batch = 32;                          ///< images a step
  double lr = 3e-2;                                 ///< Adam's
  double regularizer = 0.01;                        ///< lambda
  double warm_start = 0.2;                          ///< share of the steps without regularizer
  double beta_first = 20.0;                         ///< exponent after the warm start ...
  double beta_last = 2.0;                           ///< ... and at the end, linear between
  std::size_t data_bytes = std::size_t{256} << 20;  ///< most memory for one layer's images
};

/// One product and what follows it, as its rounding is judged.
struct RoundingProblem {
  std::string layer;
  bool linear = false;
  kernels::F32Conv2dProblem product;  ///< without bias; linear: [N, I], [O, I], window unread
  ConstTensorView weight;             ///< reals before rounding; lives as long as the learner
  std::span<const float> scale;       ///< [1] or [O]
  integer::AffineFormat format;       ///< of the weight
  std::vector<integer::ChannelAffine> affine;  ///< bias and batch norm of each output channel
  integer::Clip clip;  ///< of the activation function that alone reads the output
};

/// Learns the rounding of one weight.
///
///   h    = clip(sigmoid(V) * (zeta - gamma) + gamma, 0, 1), zeta = 1.1, gamma = -0.1
///   w~   = scale * clip(floor(w / scale) + h, qmin, qmax)
///   f(z) = clip(slope * z + offset)
///   loss = mean over images and pixels of sum over o of (f(product(x, w~))[o] - target[o])^2
///        + lambda * sum over weights of (1 - |2h - 1|^beta), 0 during the warm start
/// V starts where h is the fraction of w / scale, so w~ = w; Adam (0.9, 0.999, 1e-8) moves it.
/// In the end h rounds to 0 or 1.
/// Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization",
/// arXiv:2004.10568, equations 21 to 25 (asymmetric reconstruction through the activation).
/// Golden: tests/golden/ptq.h5, made by tools/golden/ptq.py.
class RoundingLearner {
 public:
  /// @throws BackendError if oneDNN has no implementation.
  RoundingLearner(const RoundingProblem& problem, const AdaRoundOptions& options);
  ~RoundingLearner();
  RoundingLearner(RoundingLearner&&) noexcept;
  RoundingLearner& operator=(RoundingLearner&&) noexcept;

  /// Another lambda than the options'.
  void set_regularizer(double lambda);

  /// Step `index` (0 .. steps-1) on inputs [N, ...] of product.source's shape and their targets.
  /// Returns the reconstruction part of the loss before it.
  double step(int index, ConstTensorView inputs, ConstTensorView targets);

  /// Reconstruction loss with weights fully rounded, as learned or to nearest.
  double learned_loss(ConstTensorView inputs, ConstTensorView targets);
  double nearest_loss(ConstTensorView inputs, ConstTensorView targets);

  std::span<const float> v() const;
  /// Codes as learned, in the weight's order.
  std::vector<std::int32_t> codes() const;
  /// How many codes differ from ordinary rounding.
  std::int64_t moved() const;
  /// scale * code as learned.
  void write_weights(TensorView weight) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::quant
