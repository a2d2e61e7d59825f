#include "bitloom/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/power_of_two.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kGrain = 32768;

/// One parameter and how it is to be changed.
struct Change {
  std::int64_t count = 0;
  float* value = nullptr;
  const float* gradient = nullptr;
  float* first = nullptr;   ///< slot 0
  float* second = nullptr;  ///< slot 1, where the rule has one
  bool bounded = false;     ///< no value may leave [0.99, 1.01] of itself
  float gradient_factor = 1.0F;
  float lr = 0.0F;
  float decay = 0.0F;
  StepRates rates;
};

/// value = next(value, i), bounded or not, in one pass.
template <typename Next>
void sweep(const Change& change, const Next& next) {
  parallel_for(change.count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    // Copies of its own: through references, each store might change the numbers that `next` holds,
    // and the loops would not be vectorized.
    const Next compute = next;
    float* const value = change.value;
    if (change.bounded) {
      for (std::int64_t i = begin; i < end; ++i) {
        value[i] = std::clamp(compute(value[i], i), 0.99F * value[i], 1.01F * value[i]);
      }
    } else {
      for (std::int64_t i = begin; i < end; ++i) value[i] = compute(value[i], i);
    }
  });
}

void sgd(const Change& change, const TrainOptions& options) {
  const float* gradient = change.gradient;
  float* velocity = change.first;
  const auto momentum = static_cast<float>(change.rates.momentum);
  const float factor = change.gradient_factor;
  const float decay = change.decay;
  const float lr = change.lr;
  if (options.nesterov) {
    sweep(change, [=](float value, std::int64_t i) {
      const float g = factor * gradient[i] + decay * value;
      velocity[i] = momentum * velocity[i] + g;
      return value - lr * (g + momentum * velocity[i]);
    });
  } else {
    sweep(change, [=](float value, std::int64_t i) {
      velocity[i] = momentum * velocity[i] + (factor * gradient[i] + decay * value);
      return value - lr * velocity[i];
    });
  }
}

/// Adam; `coupled` decay goes through the moments, the other (AdamW) does not.
void adam_step(const Change& change, const TrainOptions& options, bool coupled) {
  const double beta1 = change.rates.momentum;
  const auto count = static_cast<double>(change.rates.step + 1);
  const double correction1 = 1.0 - std::pow(beta1, count);
  const double correction2 = std::sqrt(1.0 - std::pow(options.beta2, count));
  const auto size = static_cast<float>(static_cast<double>(change.lr) / correction1);
  const auto new_share1 = static_cast<float>(1.0 - beta1);
  const auto old_share2 = static_cast<float>(options.beta2);
  const auto new_share2 = static_cast<float>(1.0 - options.beta2);
  const auto root_correction = static_cast<float>(correction2);
  const auto epsilon = static_cast<float>(options.adam_epsilon);
  const float factor = change.gradient_factor;
  const float coupled_decay = coupled ? change.decay : 0.0F;
  const float kept = coupled ? 1.0F : 1.0F - change.lr * change.decay;
  const float* gradient = change.gradient;
  float* mean = change.first;
  float* square = change.second;
  sweep(change, [=](float value, std::int64_t i) {
    const float g = factor * gradient[i] + coupled_decay * value;
    mean[i] += new_share1 * (g - mean[i]);
    square[i] = old_share2 * square[i] + new_share2 * g * g;
    return kept * value - size * (mean[i] / (std::sqrt(square[i]) / root_correction + epsilon));
  });
}

void adam(const Change& change, const TrainOptions& options) { adam_step(change, options, true); }
/// AdaMax; `shifts` replaces its products by shifts.
void adamax_step(const Change& change, const TrainOptions& options, bool shifts) {
  const double beta1 = change.rates.momentum;
  const double correction = 1.0 - std::pow(beta1, static_cast<double>(change.rates.step + 1));
  const auto exact_size = static_cast<float>(static_cast<double>(change.lr) / correction);
  const float size = shifts ? kernels::nearest_power_of_two(exact_size) : exact_size;
  const auto new_share = static_cast<float>(1.0 - beta1);
  const auto old_share = static_cast<float>(options.beta2);
  const auto epsilon = shifts ? 0.0F : static_cast<float>(options.adam_epsilon);
  const float factor = change.gradient_factor;
  const float decay = change.decay;
  const float* gradient = change.gradient;
  float* mean = change.first;
  float* largest = change.second;
  sweep(change, [=](float value, std::int64_t i) {
    const float g = factor * gradient[i] + decay * value;
    mean[i] += new_share * (g - mean[i]);
    largest[i] = std::max(old_share * largest[i], std::fabs(g) + epsilon);
    if (!shifts) return value - size * (mean[i] / largest[i]);
    if (largest[i] == 0.0F) return value;
    return value - size * mean[i] * kernels::nearest_power_of_two(1.0F / largest[i]);
  });
}

void adamax(const Change& change, const TrainOptions& options) {
  adamax_step(change, options, false);
}
void shift_adamax(const Change& change, const TrainOptions& options) {
  adamax_step(change, options, true);
}

void adamw(const Change& change, const TrainOptions& options) { adam_step(change, options, false); }

void keep_within_bound(layers::Parameter& parameter) {
  const float bound = parameter.bound;
  float* value = parameter.value.data<float>();
  parallel_for(parameter.value.elements(), kGrain, [=](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      value[i] = std::clamp(value[i], -bound, bound);
    }
  });
}

/// c of optimizer.h. Pieces are summed in order, so the sum depends on the thread count alone.
float clip_factor(const layers::ParameterStore& store, double clip_norm) {
  if (clip_norm <= 0.0) return 1.0F;
  double total = 0.0;
  std::array<double, 256> pieces;  // the most threads there are
  for (const auto& [name, parameter] : store.all()) {
    if (!layers::is_trainable(parameter.role)) continue;
    pieces.fill(0.0);
    const float* gradient = parameter.gradient.data<float>();
    parallel_for(parameter.gradient.elements(), kGrain,
                 [&](std::int64_t begin, std::int64_t end, int piece) {
                   double sum = 0.0;
                   for (std::int64_t i = begin; i < end; ++i) {
                     sum += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
                   }
                   pieces[static_cast<std::size_t>(piece)] = sum;
                 });
    for (const double piece : pieces) total += piece;
  }
  return static_cast<float>(std::min(1.0, clip_norm / (std::sqrt(total) + 1e-6)));
}

}  // namespace

/// A slot's name is its prefix and the parameter's name.
struct OptimizerRule {
  std::string_view word;
  std::size_t slots = 0;
  std::array<std::string_view, 2> prefixes;
  void (*update)(const Change&, const TrainOptions&) = nullptr;
  bool adapts = true;  ///< the step's size does not grow with the gradient's
};

namespace {

constexpr std::array<OptimizerRule, 5> kRules{
    {{"sgd", 1, {"", ""}, sgd, false},
     {"adam", 2, {"first_moment/", "second_moment/"}, adam},
     {"adamw", 2, {"first_moment/", "second_moment/"}, adamw},
     {"adamax", 2, {"first_moment/", "largest/"}, adamax},
     {"shift-adamax", 2, {"first_moment/", "largest/"}, shift_adamax}}};

const OptimizerRule& rule_of(const std::string& word) {
  for (const OptimizerRule& rule : kRules) {
    if (rule.word == word) return rule;
  }
  throw ConfigError(ErrorText{"train.optimizer", "sgd, adam, adamw, adamax or shift-adamax",
                              cat("'", word, "'"), ""});
}

}  // namespace

std::vector<std::string> optimizer_words() {
  std::vector<std::string> words;
  for (const OptimizerRule& rule : kRules) words.emplace_back(rule.word);
  return words;
}

Optimizer::Optimizer(layers::ParameterStore& store, const TrainOptions& options)
    : store_(store), options_(options), rule_(rule_of(options.optimizer)) {
  for (auto& [name, parameter] : store_.all()) {
    if (!layers::is_trainable(parameter.role)) continue;
    Target target{&parameter, {}};
    for (std::size_t slot = 0; slot < rule_.slots; ++slot) {
      target.slots[slot] = slots_
                               .emplace(cat(rule_.prefixes[slot], name),
                                        Tensor(DType::kF32, parameter.value.shape()))
                               .first->second.data<float>();
    }
    targets_.push_back(target);
  }
}

void Optimizer::step(const StepRates& rates) {
  const float factor = clip_factor(store_, options_.clip_norm);
  for (const Target& target : targets_) {
    const layers::Role role = target.parameter->role;
    const bool is_scale = role == layers::Role::kQuantizerScale;
    const bool is_quantizer = is_scale || role == layers::Role::kQuantizerOffset;
    const double ratio = target.parameter->lr_ratio;
    const double lr = (is_quantizer ? rates.lr * options_.scale_lr_ratio : rates.lr) *
                      (rule_.adapts ? ratio : ratio * ratio);
    rule_.update(
        {.count = target.parameter->value.elements(),
         .value = target.parameter->value.data<float>(),
         .gradient = target.parameter->gradient.data<float>(),
         .first = target.slots[0],
         .second = target.slots[1],
         .bounded = is_scale,
         .gradient_factor = factor,
         .lr = static_cast<float>(lr),
         .decay = role == layers::Role::kWeight ? static_cast<float>(options_.weight_decay) : 0.0F,
         .rates = rates},
        options_);
    if (std::isfinite(target.parameter->bound)) keep_within_bound(*target.parameter);
  }
}

void Optimizer::restore(const std::map<std::string, Tensor>& slots, const std::string& source) {
  for (auto& [name, slot] : slots_) {
    const auto saved = slots.find(name);
    if (saved == slots.end() || saved->second.shape() != slot.shape()) {
      throw FormatError(
          ErrorText{cat(source, ": optimizer/", name), to_string(slot.shape()),
                    saved == slots.end() ? "nothing" : to_string(saved->second.shape()),
                    "the checkpoint is not of this run"});
    }
    copy(saved->second, slot);
  }
}

}  // namespace bitloom::train
