#include "bitloom/kernels/vnni_product.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "channel_numbers.h"
#include "int8_geometry.h"
#include "vnni_tiles.h"

namespace bitloom::kernels {
namespace {

constexpr const char* kPlace = "VNNI product";
constexpr std::int64_t kTile = 6;  // pixels that threads do not part

bool is_code(DType dtype) { return dtype == DType::kU8 || dtype == DType::kS8; }

/// Why not; "" if it can.
std::string objection(const Int8Problem& problem) {
  if (problem.weight.rank() != 4 || problem.window.groups != 1) {
    return "no convolution of one group";
  }
  if (problem.window.kernel_h * problem.window.kernel_w > kVnniTaps) {
    return cat("a window of more than ", kVnniTaps, " pixels");
  }
  if (problem.source.c() % 4 != 0) return "input channels are no multiple of 4";
  if (problem.source_dtype != DType::kU8) return "signed codes";
  if (!is_code(problem.destination_dtype) || !problem.bias) return "an output other than codes";
  if (problem.residual && !is_code(problem.residual_dtype)) return "a real residual";
  return has_vnni_tiles() ? "" : "no kernel for this CPU";
}

}  // namespace

class VnniProduct::Impl {
 public:
  explicit Impl(const Int8Problem& problem)
      : output_(product_dims(kPlace, problem.source, problem.weight, problem.window).output),
        numbers_(output_.c()) {
    const std::string reason = objection(problem);
    if (!reason.empty()) throw BackendError(cat(kPlace, ": ", reason));
    const Shape& source = problem.source;
    const integer::Window& window = problem.window;
    steps_ = {.depth = source.c(),
              .h = source.h(),
              .w = source.w(),
              .oh = output_.h(),
              .ow = output_.w(),
              .kernel_h = window.kernel_h,
              .kernel_w = window.kernel_w,
              .stride = window.stride,
              .pad_h = window.pad_h(),
              .pad_w = window.pad_w(),
              .channels = output_.c(),
              .pitch = output_.c(),
              .residual = problem.residual,
              .signed_residual = problem.residual && problem.residual_dtype == DType::kS8,
              .signed_output = problem.destination_dtype == DType::kS8};
    const integer::CodeRange range = codes_within(problem.clip, steps_.signed_output);
    steps_.qmin = range.qmin;
    steps_.qmax = range.qmax;
    allocate();
    set_source_zero_point(0);
  }

  void set_weights(ConstTensorView weight) {
    const auto* codes = weight.data<std::int8_t>();
    const std::int64_t inputs =
        taps() * steps_.depth;  // of one output channel, as packed: tap first
    numbers_.set_weights(codes, inputs);
    for (const VnniBlock& block : blocks_) {
      for_each_lane(block, [&](int vector, int lane, std::int64_t channel) {
        for (std::int64_t i = 0; i < inputs; ++i) {
          const std::int64_t quad = (i / 4 * block.vectors() + vector) * kVnniLanes + lane;
          block.weight[quad * 4 + i % 4] = codes[channel * inputs + i];
        }
      });
    }
    set_bases();
    set_reach();
  }

  void set_scales(ConstTensorView multiplier, ConstTensorView bias) {
    numbers_.set_scales(multiplier, bias);
    for (const VnniBlock& block : blocks_) {
      for_each_lane(block, [&](int vector, int lane, std::int64_t channel) {
        block.multiplier[vector * kVnniLanes + lane] = numbers_.multiplier(channel);
        block.bias[vector * kVnniLanes + lane] = numbers_.bias(channel);
      });
    }
    set_reach();
  }

  void set_source_zero_point(std::int32_t zero_point) {
    zero_point_ = zero_point;
    padding_.assign(static_cast<std::size_t>(steps_.depth), static_cast<std::uint8_t>(zero_point));
    steps_.padding = padding_.data();
    set_bases();
  }

  void set_residual(float ratio, std::int32_t zero_point) {
    steps_.residual_ratio = ratio;
    steps_.residual_zero_point = zero_point;
    set_reach();
  }

  void set_pitch(std::int64_t bytes) { steps_.pitch = bytes; }

  void run(ConstTensorView source, ConstTensorView residual,
           TensorView destination) const noexcept {
    const auto* from = static_cast<const std::uint8_t*>(source.raw());
    const auto* added = static_cast<const std::uint8_t*>(residual.raw());
    auto* to = static_cast<std::uint8_t*>(destination.raw());
    const std::int64_t pixels = output_.elements() / steps_.channels;
    const auto blocks = static_cast<std::int64_t>(blocks_.size());
    // Each thread reads all of what the threads do not part: weights, or pixels.
    const bool parts_blocks = steps_.channels * taps() > pixels && blocks % threads() == 0;
    const std::int64_t tiles = (pixels + kTile - 1) / kTile;
    const std::int64_t count = parts_blocks ? blocks : tiles;
    const std::int64_t work = pixels * steps_.channels * taps() * steps_.depth / count;
    parallel_for(count, 65536 / std::max<std::int64_t>(work, 1) + 1,
                 [&](std::int64_t begin, std::int64_t end, int) {
                   const std::int64_t first = parts_blocks ? 0 : begin * kTile;
                   const std::int64_t last = parts_blocks ? pixels : std::min(end * kTile, pixels);
                   const std::int64_t beyond = parts_blocks ? end : blocks;
                   for (std::int64_t b = parts_blocks ? begin : 0; b < beyond; ++b) {
                     vnni_pixels(steps_, blocks_[static_cast<std::size_t>(b)], from, added, first,
                                 last, to);
                   }
                 });
  }

  std::string implementation() const { return "bitloom:vnni"; }
  const Shape& output() const { return output_; }
  std::size_t memory_bytes() const { return packed_.bytes() + padding_.size(); }

 private:
  std::int64_t taps() const { return steps_.kernel_h * steps_.kernel_w; }

  /// Calls body(vector, lane, channel) for the lanes that have a channel.
  template <typename Body>
  static void for_each_lane(const VnniBlock& block, const Body& body) {
    for (int vector = 0; vector < block.vectors(); ++vector) {
      for (int lane = 0; lane < kVnniLanes; ++lane) {
        const int channel = block.channel_of(vector, lane);
        if (channel < block.channels) body(vector, lane, block.first + channel);
      }
    }
  }

  /// Weights, bases, multipliers and biases of each block, one behind another.
  void allocate() {
    std::int64_t bytes = 0;
    const auto lane_bytes = [](const VnniBlock& block) {
      return block.vectors() * kVnniLanes * std::int64_t{4};
    };
    for (std::int64_t first = 0; first < steps_.channels; first += kVnniChannels) {
      VnniBlock block;
      block.first = first;
      block.channels =
          static_cast<int>(std::min<std::int64_t>(kVnniChannels, steps_.channels - first));
      blocks_.push_back(block);
      bytes += (taps() * steps_.depth / 4 + 3) * lane_bytes(block);
    }
    packed_ = Tensor(DType::kU8, Shape{bytes});
    auto* at = static_cast<std::byte*>(packed_.raw());
    std::fill_n(at, bytes, std::byte{0});
    for (VnniBlock& block : blocks_) {
      block.weight = reinterpret_cast<std::int8_t*>(at);
      at += taps() * steps_.depth / 4 * lane_bytes(block);
      block.base = reinterpret_cast<std::int32_t*>(at);
      at += lane_bytes(block);
      block.multiplier = reinterpret_cast<float*>(at);
      at += lane_bytes(block);
      block.bias = reinterpret_cast<float*>(at);
      at += lane_bytes(block);
    }
  }

  /// What sums start from: the zero point's share.
  void set_bases() {
    for (const VnniBlock& block : blocks_) {
      for_each_lane(block, [&](int vector, int lane, std::int64_t channel) {
        block.base[vector * kVnniLanes + lane] = -zero_point_ * numbers_.weight_sum(channel);
      });
    }
  }

  /// Whether a code's t may leave the range of s32.
  void set_reach() {
    const double residual = 511.0 * std::abs(static_cast<double>(steps_.residual_ratio));
    steps_.clamps_reals = numbers_.may_leave_s32(steps_.residual ? residual : 0.0);
    steps_.plain = !steps_.clamps_reals && !steps_.signed_output && !steps_.signed_residual &&
                   steps_.qmin == 0 && steps_.qmax == 255;
  }

  Shape output_;
  ChannelNumbers numbers_;
  VnniSteps steps_;
  std::int32_t zero_point_ = 0;
  std::vector<VnniBlock> blocks_;
  std::vector<std::uint8_t> padding_;
  Tensor packed_;
};

VnniProduct::VnniProduct(const Int8Problem& problem) : impl_(std::make_unique<Impl>(problem)) {}
VnniProduct::~VnniProduct() = default;
VnniProduct::VnniProduct(VnniProduct&&) noexcept = default;
VnniProduct& VnniProduct::operator=(VnniProduct&&) noexcept = default;

void VnniProduct::set_weights(ConstTensorView weight_s8) { impl_->set_weights(weight_s8); }
void VnniProduct::set_scales(ConstTensorView multiplier, ConstTensorView bias) {
  impl_->set_scales(multiplier, bias);
}
void VnniProduct::set_source_zero_point(std::int32_t zero_point) {
  impl_->set_source_zero_point(zero_point);
}
void VnniProduct::set_residual(float ratio, std::int32_t zero_point) {
  impl_->set_residual(ratio, zero_point);
}
void VnniProduct::set_pitch(std::int64_t bytes) { impl_->set_pitch(bytes); }
void VnniProduct::run(ConstTensorView source, ConstTensorView residual,
                      TensorView destination) const noexcept {
  impl_->run(source, residual, destination);
}
std::string VnniProduct::implementation() const { return impl_->implementation(); }
Shape VnniProduct::destination() const { return impl_->output(); }
std::size_t VnniProduct::memory_bytes() const { return impl_->memory_bytes(); }

}  // namespace bitloom::kernels
