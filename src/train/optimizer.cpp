#include "bitloom/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "bitloom/core/parallel.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kGrain = 32768;

struct Rates {
  float lr;
  float momentum;
  float decay;
};

void update(float* weight, const float* gradient, float* velocity, std::int64_t count,
            const Rates& rates) {
  parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      velocity[i] = rates.momentum * velocity[i] + (gradient[i] + rates.decay * weight[i]);
      weight[i] -= rates.lr * velocity[i];
    }
  });
}

// As update, but no scale leaves [0.9, 1.1] of itself.
void update_scales(float* scale, const float* gradient, float* velocity, std::int64_t count,
                   const Rates& rates) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float before = scale[i];
    velocity[i] = rates.momentum * velocity[i] + gradient[i];
    scale[i] = std::clamp(before - rates.lr * velocity[i], 0.9F * before, 1.1F * before);
  }
}

}  // namespace

double learning_rate(const TrainOptions& options, std::int64_t step, std::int64_t steps,
                     std::int64_t steps_per_epoch) {
  const double warmup =
      std::min(static_cast<double>(steps),
               std::round(options.warmup_epochs * static_cast<double>(steps_per_epoch)));
  const auto t = static_cast<double>(step);
  if (t < warmup) return options.lr * (t + 1.0) / warmup;
  const double progress = (t - warmup) / std::max(1.0, static_cast<double>(steps) - warmup);
  const double cosine = (1.0 + std::cos(std::numbers::pi * progress)) / 2.0;
  return options.lr * (options.lr_final_ratio + (1.0 - options.lr_final_ratio) * cosine);
}

Sgd::Sgd(layers::ParameterStore& store, const TrainOptions& options)
    : store_(store), options_(options) {
  for (const auto& [name, parameter] : store_.all()) {
    if (layers::is_trainable(parameter.role)) {
      slots_.emplace(name, Tensor(DType::kF32, parameter.value.shape()));
    }
  }
}

void Sgd::step(double lr) {
  for (auto& [name, velocity] : slots_) {
    layers::Parameter& parameter = store_.at(name);
    float* value = parameter.value.data<float>();
    const float* gradient = parameter.gradient.data<float>();
    Rates rates{.lr = static_cast<float>(lr),
                .momentum = static_cast<float>(options_.momentum),
                .decay = 0.0F};
    if (parameter.role == layers::Role::kQuantizerScale) {
      rates.lr = static_cast<float>(lr * options_.scale_lr_ratio);
      update_scales(value, gradient, velocity.data<float>(), velocity.elements(), rates);
      continue;
    }
    if (parameter.role == layers::Role::kWeight) {
      rates.decay = static_cast<float>(options_.weight_decay);
    }
    update(value, gradient, velocity.data<float>(), velocity.elements(), rates);
  }
}

void Sgd::restore(const std::map<std::string, Tensor>& slots, const std::string& source) {
  for (auto& [name, velocity] : slots_) {
    const auto saved = slots.find(name);
    if (saved == slots.end() || saved->second.shape() != velocity.shape()) {
      throw FormatError(
          ErrorText{cat(source, ": optimizer/", name), to_string(velocity.shape()),
                    saved == slots.end() ? "nothing" : to_string(saved->second.shape()),
                    "the checkpoint is not of this run"});
    }
    copy(saved->second, velocity);
  }
}

}  // namespace bitloom::train
