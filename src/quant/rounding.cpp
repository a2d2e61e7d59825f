#include "bitloom/quant/rounding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <variant>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_linear.h"

namespace bitloom::quant {
namespace {

// The stretch of the rectified sigmoid; from the paper, after Louizos et al., arXiv:1712.01312.
constexpr double kZeta = 1.1;
constexpr double kGamma = -0.1;
constexpr double kMomentum = 0.9;
constexpr double kSquareDecay = 0.999;
constexpr double kAdamEpsilon = 1e-8;
constexpr std::int64_t kGrain = 4096;

using Product = std::variant<kernels::F32Conv2d, kernels::F32Linear>;

Product make_product(const RoundingProblem& problem) {
  const kernels::F32Directions directions{.backward_data = false};
  if (!problem.linear) return kernels::F32Conv2d(problem.product, directions);
  return kernels::F32Linear({.source = problem.product.source, .weight = problem.product.weight},
                            directions);
}

Shape output_shape(const RoundingProblem& problem) {
  if (!problem.linear) return kernels::conv2d_output(problem.layer, problem.product);
  return {problem.product.source[0], problem.product.weight[0]};
}

float rectified(float v) {
  const float sigmoid = 1.0F / (1.0F + std::exp(-v));
  const float stretched = sigmoid * static_cast<float>(kZeta - kGamma) + static_cast<float>(kGamma);
  return std::clamp(stretched, 0.0F, 1.0F);
}

// d h / d v; 0 where the rectifier holds.
float rectified_slope(float v) {
  const float sigmoid = 1.0F / (1.0F + std::exp(-v));
  const float stretched = sigmoid * static_cast<float>(kZeta - kGamma) + static_cast<float>(kGamma);
  if (!(stretched > 0.0F && stretched < 1.0F)) return 0.0F;
  return static_cast<float>(kZeta - kGamma) * sigmoid * (1.0F - sigmoid);
}

}  // namespace

class RoundingLearner::Impl {
 public:
  Impl(const RoundingProblem& problem, const AdaRoundOptions& options)
      : problem_(problem),
        options_(options),
        product_(make_product(problem)),
        columns_(problem.weight.elements() / problem.weight.shape()[0]),
        floor_(DType::kF32, problem.weight.shape()),
        soft_(DType::kF32, problem.weight.shape()),
        gradient_(DType::kF32, problem.weight.shape()),
        output_(DType::kF32, output_shape(problem)),
        v_(static_cast<std::size_t>(problem.weight.elements())),
        first_(v_.size(), 0.0F),
        second_(v_.size(), 0.0F),
        scratch_(DType::kU8, Shape{static_cast<std::int64_t>(scratch_bytes())}) {
    const float* weight = problem.weight.data<float>();
    float* floors = floor_.data<float>();
    for (std::int64_t i = 0; i < problem.weight.elements(); ++i) {
      const float real = weight[i] * (1.0F / scale_of(i));
      floors[i] = std::floor(real);
      const double fraction = double{real} - double{floors[i]};
      v_[static_cast<std::size_t>(i)] =
          static_cast<float>(-std::log((kZeta - kGamma) / (fraction - kGamma) - 1.0));
    }
  }

  double step(int index, ConstTensorView inputs, ConstTensorView targets) {
    for_each_weight([&](std::int64_t i) {
      const float code = floor_.data<float>()[i] + rectified(v_[static_cast<std::size_t>(i)]);
      soft_.data<float>()[i] = scale_of(i) * std::clamp(code, qmin(), qmax());
    });
    run(inputs, soft_);
    const double loss = judge(targets, true);
    std::visit(
        [&](auto& kernel) {
          kernel.backward_weights(inputs, output_.view(), gradient_, TensorView(), scratch());
        },
        product_);
    move(index);
    return loss;
  }

  double learned_loss(ConstTensorView inputs, ConstTensorView targets) {
    for_each_weight([&](std::int64_t i) {
      soft_.data<float>()[i] = scale_of(i) * static_cast<float>(learned_code(i));
    });
    run(inputs, soft_);
    return judge(targets, false);
  }

  double nearest_loss(ConstTensorView inputs, ConstTensorView targets) {
    for_each_weight([&](std::int64_t i) {
      const std::int32_t code = nearest_code(i);
      soft_.data<float>()[i] = scale_of(i) * static_cast<float>(code);
    });
    run(inputs, soft_);
    return judge(targets, false);
  }

  void set_regularizer(double lambda) { options_.regularizer = lambda; }

  std::int32_t learned_code(std::int64_t i) const {
    const float up = rectified(v_[static_cast<std::size_t>(i)]) >= 0.5F ? 1.0F : 0.0F;
    return static_cast<std::int32_t>(std::clamp(floor_.data<float>()[i] + up, qmin(), qmax()));
  }
  std::int32_t nearest_code(std::int64_t i) const {
    return integer::quantize(problem_.weight.data<float>()[i], 1.0F / scale_of(i), problem_.format);
  }

  float scale_of(std::int64_t i) const {
    return problem_.scale[problem_.scale.size() == 1 ? 0 : static_cast<std::size_t>(i / columns_)];
  }
  std::int64_t count() const { return problem_.weight.elements(); }
  std::span<const float> v() const { return v_; }

 private:
  float qmin() const { return static_cast<float>(problem_.format.range.qmin); }
  float qmax() const { return static_cast<float>(problem_.format.range.qmax); }
  std::byte* scratch() { return static_cast<std::byte*>(scratch_.raw()); }
  std::size_t scratch_bytes() const {
    return std::visit([](const auto& kernel) { return kernel.scratch_bytes(); }, product_);
  }

  template <typename Body>
  void for_each_weight(const Body& body) {
    parallel_for(count(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) body(i);
    });
  }

  void run(ConstTensorView inputs, const Tensor& weight) {
    std::visit(
        [&](auto& kernel) { kernel.forward(inputs, weight, TensorView(), output_, scratch()); },
        product_);
  }

  // Loss of output_, which becomes the loss's gradient where asked for.
  double judge(ConstTensorView targets, bool differentiate) {
    const std::int64_t channels = problem_.weight.shape()[0];
    const std::int64_t pixels = output_.elements() / channels;
    const float share = 2.0F / static_cast<float>(pixels);
    const float* target = targets.data<float>();
    float* output = output_.data<float>();
    std::vector<float> slope;
    std::vector<float> offset;
    for (const integer::ChannelAffine& affine : problem_.affine) {
      slope.push_back(static_cast<float>(affine.slope));
      offset.push_back(static_cast<float>(affine.offset));
    }
    std::vector<double> sums(static_cast<std::size_t>(threads()), 0.0);
    parallel_for(pixels, 256, [&](std::int64_t begin, std::int64_t end, int piece) {
      double sum = 0.0;
      for (std::int64_t pixel = begin; pixel < end; ++pixel) {
        for (std::int64_t o = 0; o < channels; ++o) {
          const std::int64_t i = pixel * channels + o;
          const auto at = static_cast<std::size_t>(o);
          const float z = slope[at] * output[i] + offset[at];
          const float y = integer::clipped(z, problem_.clip);
          const float error = y - target[i];
          sum += double{error} * double{error};
          if (differentiate) output[i] = y == z ? share * error * slope[at] : 0.0F;
        }
      }
      sums[static_cast<std::size_t>(piece)] = sum;
    });
    double sum = 0.0;
    for (const double part : sums) sum += part;
    return sum / static_cast<double>(pixels);
  }

  // Adam on V.
  void move(int index) {
    const double warm = options_.warm_start * options_.steps;
    const bool regular = index >= warm;
    const double done = regular ? (index - warm) / (options_.steps - warm) : 0.0;
    const auto beta = static_cast<float>(options_.beta_last +
                                         (options_.beta_first - options_.beta_last) * (1.0 - done));
    const double first_unbias = 1.0 - std::pow(kMomentum, index + 1);
    const double second_unbias = 1.0 - std::pow(kSquareDecay, index + 1);
    const auto lambda = static_cast<float>(options_.regularizer);
    const auto rate = static_cast<float>(options_.lr / first_unbias);
    const auto root_unbias = static_cast<float>(std::sqrt(second_unbias));
    const float* dw = gradient_.data<float>();
    const float* floors = floor_.data<float>();
    for_each_weight([&, this](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      const float h = rectified(v_[at]);
      const float code = floors[i] + h;
      const bool clipped = code < qmin() || code > qmax();
      float dh = clipped ? 0.0F : dw[i] * scale_of(i);
      if (regular) {
        const float side = 2.0F * h - 1.0F;
        const float steep = 2.0F * beta * std::pow(std::abs(side), beta - 1.0F);
        dh -= lambda * std::copysign(steep, side);
      }
      const float g = dh * rectified_slope(v_[at]);
      first_[at] += (g - first_[at]) * static_cast<float>(1.0 - kMomentum);
      second_[at] = static_cast<float>(kSquareDecay) * second_[at] +
                    static_cast<float>(1.0 - kSquareDecay) * g * g;
      const float root = std::sqrt(second_[at]) / root_unbias + static_cast<float>(kAdamEpsilon);
      v_[at] -= rate * first_[at] / root;
    });
  }

  RoundingProblem problem_;
  AdaRoundOptions options_;
  Product product_;
  std::int64_t columns_;
  Tensor floor_;  // floor(w / scale)
  Tensor soft_;   // the weight tried
  Tensor gradient_;
  Tensor output_;  // of the product; then its gradient
  std::vector<float> v_;
  std::vector<float> first_;  // Adam's moments
  std::vector<float> second_;
  Tensor scratch_;
};

RoundingLearner::RoundingLearner(const RoundingProblem& problem, const AdaRoundOptions& options)
    : impl_(std::make_unique<Impl>(problem, options)) {}
RoundingLearner::~RoundingLearner() = default;
RoundingLearner::RoundingLearner(RoundingLearner&&) noexcept = default;
RoundingLearner& RoundingLearner::operator=(RoundingLearner&&) noexcept = default;

void RoundingLearner::set_regularizer(double lambda) { impl_->set_regularizer(lambda); }

double RoundingLearner::step(int index, ConstTensorView inputs, ConstTensorView targets) {
  return impl_->step(index, inputs, targets);
}

double RoundingLearner::learned_loss(ConstTensorView inputs, ConstTensorView targets) {
  return impl_->learned_loss(inputs, targets);
}

double RoundingLearner::nearest_loss(ConstTensorView inputs, ConstTensorView targets) {
  return impl_->nearest_loss(inputs, targets);
}

std::span<const float> RoundingLearner::v() const { return impl_->v(); }

std::vector<std::int32_t> RoundingLearner::codes() const {
  std::vector<std::int32_t> codes;
  for (std::int64_t i = 0; i < impl_->count(); ++i) codes.push_back(impl_->learned_code(i));
  return codes;
}

std::int64_t RoundingLearner::moved() const {
  std::int64_t moved = 0;
  for (std::int64_t i = 0; i < impl_->count(); ++i) {
    if (impl_->learned_code(i) != impl_->nearest_code(i)) ++moved;
  }
  return moved;
}

void RoundingLearner::write_weights(TensorView weight) const {
  for (std::int64_t i = 0; i < impl_->count(); ++i) {
    weight.data<float>()[i] = impl_->scale_of(i) * static_cast<float>(impl_->learned_code(i));
  }
}

}  // namespace bitloom::quant
