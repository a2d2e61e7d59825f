// Batch norm's parameters and statistics, for a layer that normalizes in one pass with what
// follows.
// Goes to: fused_chain.cpp.
#pragma once

#include <string>
#include <vector>

#include "bitloom/kernels/elementwise_chain.h"
#include "bitloom/layers/layer.h"

namespace bitloom::layers {

/// What a batch norm is made from.
struct ChannelNormOptions {
  std::string name;       ///< of its parameters: "<name>.gamma", .beta, .running_mean, .running_var
  double epsilon = 1e-5;  ///< added to the variance
  float momentum = 0.1F;  ///< of the running statistics
  bool frozen = false;    ///< training too normalizes by the running statistics, as constants
};

/// Per channel c over the M = N*H*W values x of a batch:
///   mean = sum x / M;  variance = sum (x - mean)^2 / M (biased);  r = 1 / sqrt(variance + epsilon)
///   y = gamma * r * (x - mean) + beta, with gamma * r rounded once
///   running += momentum * (batch - running), the variance unbiased (M / (M - 1))
/// Backward: dbeta = sum dy;  dgamma = sum dy * (x - mean) * r;
///   dx = gamma * r * (dy - dbeta / M - (x - mean) * r * dgamma / M), or gamma * r * dy by running
///   statistics.
/// Source: Ioffe and Szegedy, arXiv:1502.03167.
class ChannelNorm {
 public:
  /// Declares the parameters. @throws ConfigError naming the node for an epsilon that is not above
  /// 0 or a momentum outside 0 .. 1; ShapeError for training with one value a channel.
  ChannelNorm(const LayerContext& context, const ChannelNormOptions& options);

  std::size_t scratch_bytes() const { return kernels::channel_scratch_bytes(size_); }

  /// Statistics for this call: of the batch x, which move the running ones, or the running ones.
  void measure(const kernels::ChannelValues& x, Phase phase, kernels::MinMax* ranges,
               std::byte* scratch);
  /// True where measure() takes the batch's, and so fills ranges.
  bool measures(Phase phase) const { return phase == Phase::kTrain && !frozen_; }

  /// Sets mean, slope and shift of a chain to those of the last measure().
  void describe(kernels::ElementwiseChain& chain) const;

  /// Asks for the sums that the gradients of gamma and beta are made from.
  void ask_sums(kernels::ChainGradients& of);
  /// Writes both gradients from the sums; returns the way back to the source, times `factor` [C]
  /// (nullptr: 1).
  kernels::NormalizationGradient learn(const float* factor);

 private:
  enum Row : std::uint8_t {
    kMean,
    kVariance,
    kInverse,
    kSlope,
    kGradientSlope,
    kDecay,
    kOffset,
    kRows
  };
  float* row(Row which) { return constants_.data<float>() + which * size_.channels; }
  const float* row(Row which) const { return constants_.data<float>() + which * size_.channels; }
  void move_running_statistics();

  kernels::ChannelRows size_;
  double epsilon_;
  float momentum_;
  bool frozen_;
  Parameter* gamma_;
  Parameter* beta_;
  Parameter* running_mean_;
  Parameter* running_variance_;
  Tensor constants_;  // a Row each
  std::vector<double> sums_;
};

}  // namespace bitloom::layers
