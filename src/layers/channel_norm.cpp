#include "channel_norm.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"

namespace bitloom::layers {
namespace {

kernels::ChannelRows rows_of(const Shape& shape) {
  return kernels::channel_rows(shape.elements() / shape.c(), shape.c());
}

void check(const LayerContext& context, const ChannelNormOptions& options, std::int64_t values) {
  if (context.training && values < 2 && !options.frozen) {
    throw ShapeError({.place = context.node.name,
                      .expected = "more than one value per channel to train",
                      .found = to_string(context.inputs[0].shape),
                      .remedy = "use a larger batch"});
  }
  if (!(options.epsilon > 0.0)) {
    throw ConfigError({.place = context.node.name + ": attribute epsilon",
                       .expected = "a number above 0",
                       .found = context.node.word("epsilon", ""),
                       .remedy = ""});
  }
  if (!(options.momentum >= 0.0F && options.momentum <= 1.0F)) {
    throw ConfigError({.place = context.node.name + ": attribute momentum",
                       .expected = "0 to 1",
                       .found = context.node.word("momentum", ""),
                       .remedy = ""});
  }
}

}  // namespace

ChannelNorm::ChannelNorm(const LayerContext& context, const ChannelNormOptions& options)
    : size_(rows_of(context.inputs[0].shape)),
      epsilon_(options.epsilon),
      momentum_(options.momentum),
      frozen_(options.frozen),
      constants_(DType::kF32, Shape{kRows, size_.channels}),
      sums_(static_cast<std::size_t>(2 * size_.channels)) {
  check(context, options, size_.rows);
  const auto declare = [&](const char* word, Role role, float value) {
    return &context.parameters.declare(options.name + word, Shape{size_.channels}, role,
                                       {.constant = value});
  };
  gamma_ = declare(".gamma", Role::kNormScale, 1.0F);
  beta_ = declare(".beta", Role::kNormShift, 0.0F);
  running_mean_ = declare(".running_mean", Role::kStatistic, 0.0F);
  running_variance_ = declare(".running_var", Role::kStatistic, 1.0F);
}

void ChannelNorm::measure(const kernels::ChannelValues& x, Phase phase, kernels::MinMax* ranges,
                          std::byte* scratch) {
  if (measures(phase)) {
    kernels::channel_statistics(x, size_, row(kMean), row(kVariance), ranges, scratch);
    move_running_statistics();
  } else {
    std::ranges::copy(running_mean_->value.span<float>(), row(kMean));
    std::ranges::copy(running_variance_->value.span<float>(), row(kVariance));
  }
  for (std::int64_t c = 0; c < size_.channels; ++c) {
    const double inverse = 1.0 / std::sqrt(static_cast<double>(row(kVariance)[c]) + epsilon_);
    row(kInverse)[c] = static_cast<float>(inverse);
    row(kSlope)[c] =
        static_cast<float>(static_cast<double>(gamma_->value.data<float>()[c]) * inverse);
  }
}

void ChannelNorm::move_running_statistics() {
  const auto values = static_cast<float>(size_.rows);
  const float unbias = values / (values - 1.0F);
  float* mean = running_mean_->value.data<float>();
  float* variance = running_variance_->value.data<float>();
  for (std::int64_t c = 0; c < size_.channels; ++c) {
    mean[c] += momentum_ * (row(kMean)[c] - mean[c]);
    variance[c] += momentum_ * (row(kVariance)[c] * unbias - variance[c]);
  }
}

void ChannelNorm::describe(kernels::ElementwiseChain& chain) const {
  chain.mean = row(kMean);
  chain.slope = row(kSlope);
  chain.shift = beta_->value.data<float>();
}

void ChannelNorm::ask_sums(kernels::ChainGradients& of) {
  of.shift = sums_.data();
  of.slope = sums_.data() + size_.channels;
}

kernels::NormalizationGradient ChannelNorm::learn(const float* factor) {
  const double* shift = sums_.data();
  const double* slope = sums_.data() + size_.channels;
  const double share = frozen_ ? 0.0 : 1.0 / static_cast<double>(size_.rows);
  for (std::int64_t c = 0; c < size_.channels; ++c) {
    const auto inverse = static_cast<double>(row(kInverse)[c]);
    const double scaled = static_cast<double>(row(kSlope)[c]) * share;
    beta_->gradient.data<float>()[c] = static_cast<float>(shift[c]);
    gamma_->gradient.data<float>()[c] = static_cast<float>(slope[c] * inverse);
    const double by = factor == nullptr ? 1.0 : static_cast<double>(factor[c]);
    row(kGradientSlope)[c] = static_cast<float>(static_cast<double>(row(kSlope)[c]) * by);
    row(kOffset)[c] = static_cast<float>(scaled * shift[c] * by);
    row(kDecay)[c] = static_cast<float>(scaled * slope[c] * inverse * inverse * by);
  }
  return {.slope = row(kGradientSlope), .decay = row(kDecay), .offset = row(kOffset)};
}

}  // namespace bitloom::layers
