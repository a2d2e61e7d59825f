#include "bitloom/kernels/depthwise_product.h"

#include <algorithm>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "channel_numbers.h"
#include "depthwise_rows.h"
#include "int8_geometry.h"

namespace bitloom::kernels {
namespace {

constexpr const char* kPlace = "depthwise product";
constexpr std::int64_t kNarrowest = 16;  // channels of the smallest block
constexpr std::int64_t kWindow = std::int64_t{kDepthwiseTaps} * kDepthwiseTaps;

/// Why not; "" if it can.
std::string objection(const Int8Problem& problem) {
  const DType to = problem.destination_dtype;
  if (problem.weight.rank() != 4 || problem.weight.c() != 1 ||
      problem.weight.n() != problem.window.groups) {
    return "no depthwise layer";
  }
  if (problem.weight.h() != kDepthwiseTaps || problem.weight.w() != kDepthwiseTaps) {
    return "a window other than 3x3";
  }
  if (problem.window.stride > 2) return "a stride above 2";
  if (problem.source.c() < kNarrowest) return cat("fewer than ", kNarrowest, " channels");
  if ((to != DType::kU8 && to != DType::kS8 && to != DType::kF32) || !problem.bias) {
    return "bare sums as output";
  }
  if (problem.residual) return "a residual";
  return depthwise_layout().bytes == 0 ? "no kernel for this CPU" : "";
}

/// First channels and sizes of blocks of at most `widest` channels; the last may overlap.
std::vector<DepthwiseBlock> cut_blocks(std::int64_t channels, int widest) {
  std::vector<DepthwiseBlock> blocks;
  std::int64_t first = 0;
  for (int size = widest; size >= kNarrowest; size /= 2) {
    for (; first + size <= channels; first += size) {
      blocks.push_back({.first = first, .channels = size});
    }
  }
  if (first < channels) {
    blocks.push_back({.first = channels - kNarrowest, .channels = static_cast<int>(kNarrowest)});
  }
  return blocks;
}

/// Calls body(position, channel) for the lanes of all accumulators.
template <typename Body>
void for_each_lane(const DepthwiseBlock& block, const Body& body) {
  const int lanes = block.channels / kDepthwiseAccumulators;
  for (int a = 0; a < kDepthwiseAccumulators; ++a) {
    for (int lane = 0; lane < lanes; ++lane) {
      body(a * lanes + lane, block.first + 16 * (lane / 4) + 4 * a + lane % 4);
    }
  }
}

}  // namespace

class DepthwiseProduct::Impl {
 public:
  explicit Impl(const Int8Problem& problem)
      : output_(product_dims(kPlace, problem.source, problem.weight, problem.window).output),
        numbers_(output_.c()) {
    const std::string reason = objection(problem);
    if (!reason.empty()) throw BackendError(cat(kPlace, ": ", reason));
    layout_ = depthwise_layout();
    const Shape& source = problem.source;
    images_ = source.n();
    const bool signed_source = problem.source_dtype == DType::kS8;
    rows_ = {.h = source.h(),
             .w = source.w(),
             .c = source.c(),
             .oh = output_.h(),
             .ow = output_.w(),
             .stride = problem.window.stride,
             .pad_h = problem.window.pad_h(),
             .pad_w = problem.window.pad_w(),
             .flip = static_cast<std::uint8_t>(signed_source ? 0x80 : 0),
             .signed_output = problem.destination_dtype == DType::kS8};
    rows_.real_output = problem.destination_dtype == DType::kF32;
    rows_.clip = problem.clip;
    if (!rows_.real_output) {
      const integer::CodeRange range = codes_within(problem.clip, rows_.signed_output);
      rows_.qmin = range.qmin;
      rows_.qmax = range.qmax;
    }
    blocks_ = cut_blocks(rows_.c, layout_.bytes);
    weight_.assign(static_cast<std::size_t>(rows_.c * kWindow), 0);
    allocate();
    set_source_zero_point(0);
  }

  void set_weights(ConstTensorView weight) {
    std::copy_n(weight.data<std::int8_t>(), weight_.size(), weight_.begin());
    numbers_.set_weights(weight_.data(), kWindow);
    for (const DepthwiseBlock& block : blocks_) pack_weights(block);
    set_bases();
    set_reach();
  }

  void set_scales(ConstTensorView multiplier, ConstTensorView bias) {
    numbers_.set_scales(multiplier, bias);
    for (const DepthwiseBlock& block : blocks_) {
      for_each_lane(block, [&](int position, std::int64_t channel) {
        block.multiplier[position] = numbers_.multiplier(channel);
        block.bias[position] = numbers_.bias(channel);
      });
    }
    set_reach();
  }

  void set_source_zero_point(std::int32_t zero_point) {
    const auto code = static_cast<std::uint8_t>(zero_point);  // of an s8: its bits
    pad_ = static_cast<std::uint8_t>(code ^ rows_.flip);
    padding_.assign(static_cast<std::size_t>(rows_.w * rows_.c), code);
    rows_.padding = padding_.data();
    set_bases();
  }

  void run(ConstTensorView source, TensorView destination) const noexcept {
    const auto* from = static_cast<const std::uint8_t*>(source.raw());
    auto* to = static_cast<std::byte*>(destination.raw());
    const std::int64_t source_image = rows_.h * rows_.w * rows_.c;
    const std::int64_t output_image = rows_.oh * rows_.ow * rows_.c;
    const auto output_bytes =
        output_image * static_cast<std::int64_t>(size_of(destination.dtype()));
    const std::int64_t step = depthwise_pass_rows(rows_.stride);
    const std::int64_t passes = (rows_.oh + step - 1) / step;
    // A thread takes rows, as oneDNN's products do before and after: it finds in its own cache what
    // it wrote. Blocks that overlap write the same bytes, so one thread does them.
    const auto blocks = static_cast<std::int64_t>(blocks_.size());
    const std::int64_t groups = rows_.c % kNarrowest == 0 ? blocks : 1;
    const std::int64_t work = output_image / (groups * passes);
    parallel_for(groups * images_ * passes, 16384 / std::max<std::int64_t>(work, 1) + 1,
                 [&](std::int64_t begin, std::int64_t end, int) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t group = i % groups;
                     const std::int64_t image = i / groups / passes;
                     const std::int64_t row = i / groups % passes * step;
                     for (std::int64_t b = group * blocks / groups;
                          b < (group + 1) * blocks / groups; ++b) {
                       depthwise_pass(rows_, blocks_[static_cast<std::size_t>(b)],
                                      from + image * source_image, row, to + image * output_bytes);
                     }
                   }
                 });
  }

  std::string implementation() const { return cat("bitloom:depthwise:", layout_.target); }
  const Shape& output() const { return output_; }
  std::size_t memory_bytes() const { return packed_.bytes() + padding_.size(); }

 private:
  std::int64_t operands() const {
    return std::int64_t{depthwise_pass_rows(rows_.stride)} * kDepthwiseTaps *
           kDepthwiseAccumulators;
  }
  std::int64_t weight_bytes(const DepthwiseBlock& block) const {
    return operands() * block.channels * (layout_.pairs ? 2 : 1);
  }

  /// Weights, bases, multipliers and biases of each block, one behind another.
  void allocate() {
    const auto lane_bytes = [](const DepthwiseBlock& block) {
      return block.channels * static_cast<std::int64_t>(sizeof(std::int32_t));
    };
    std::int64_t bytes = 0;
    for (const DepthwiseBlock& block : blocks_) {
      bytes += weight_bytes(block) + 3 * lane_bytes(block);
    }
    packed_ = Tensor(DType::kU8, Shape{bytes});
    auto* at = static_cast<std::byte*>(packed_.raw());
    for (DepthwiseBlock& block : blocks_) {
      block.weight = reinterpret_cast<std::int8_t*>(at);
      at += weight_bytes(block);
      block.base = reinterpret_cast<std::int32_t*>(at);
      at += lane_bytes(block);
      block.multiplier = reinterpret_cast<float*>(at);
      at += lane_bytes(block);
      block.bias = reinterpret_cast<float*>(at);
      at += lane_bytes(block);
    }
  }

  std::int8_t weight_at(std::int64_t channel, int row, int column) const {
    if (row < 0 || row >= kDepthwiseTaps) return 0;
    return weight_[static_cast<std::size_t>(channel * kWindow + row * kDepthwiseTaps + column)];
  }

  /// Rows of the window as they meet the quads of source rows that a pass reads: its output row
  /// `shift` has them `shift` rows further down.
  void pack_weights(const DepthwiseBlock& block) {
    const int lanes = block.channels / kDepthwiseAccumulators;
    const int shifts = depthwise_pass_rows(rows_.stride);
    auto* pairs = reinterpret_cast<std::int16_t*>(block.weight);
    for_each_lane(block, [&](int position, std::int64_t channel) {
      for (int shift = 0; shift < shifts; ++shift) {
        for (int column = 0; column < kDepthwiseTaps; ++column) {
          const int product = (position / lanes * shifts + shift) * kDepthwiseTaps + column;
          for (int row = 0; row < 4; ++row) {
            const std::int8_t value = weight_at(channel, row - shift, column);
            const int lane = position % lanes;
            if (layout_.pairs) {
              pairs[((2 * product + row % 2) * lanes + lane) * 2 + row / 2] = value;
            } else {
              block.weight[(product * lanes + lane) * 4 + row] = value;
            }
          }
        }
      }
    });
  }

  /// What sums start from: the zero point's share.
  void set_bases() {
    for (const DepthwiseBlock& block : blocks_) {
      for_each_lane(block, [&](int position, std::int64_t channel) {
        block.base[position] = -std::int32_t{pad_} * numbers_.weight_sum(channel);
      });
    }
  }

  /// Whether a code's t may leave the range of s32.
  void set_reach() {
    if (rows_.real_output) return;
    rows_.clamps_reals = numbers_.may_leave_s32();
    rows_.plain_codes = !rows_.clamps_reals && rows_.flip == 0 && !rows_.signed_output &&
                        rows_.qmin == 0 && rows_.qmax == 255;
  }

  Shape output_;
  ChannelNumbers numbers_;
  std::uint8_t pad_ = 0;  ///< the zero point after the flip
  DepthwiseLayout layout_;
  DepthwiseRows rows_;
  std::int64_t images_ = 1;
  std::vector<DepthwiseBlock> blocks_;
  std::vector<std::int8_t> weight_;  ///< [C, 3, 3]
  std::vector<std::uint8_t> padding_;
  Tensor packed_;
};

DepthwiseProduct::DepthwiseProduct(const Int8Problem& problem)
    : impl_(std::make_unique<Impl>(problem)) {}
DepthwiseProduct::~DepthwiseProduct() = default;
DepthwiseProduct::DepthwiseProduct(DepthwiseProduct&&) noexcept = default;
DepthwiseProduct& DepthwiseProduct::operator=(DepthwiseProduct&&) noexcept = default;

void DepthwiseProduct::set_weights(ConstTensorView weight_s8) { impl_->set_weights(weight_s8); }
void DepthwiseProduct::set_scales(ConstTensorView multiplier, ConstTensorView bias) {
  impl_->set_scales(multiplier, bias);
}
void DepthwiseProduct::set_source_zero_point(std::int32_t zero_point) {
  impl_->set_source_zero_point(zero_point);
}
void DepthwiseProduct::run(ConstTensorView source, TensorView destination) const noexcept {
  impl_->run(source, destination);
}
std::string DepthwiseProduct::implementation() const { return impl_->implementation(); }
Shape DepthwiseProduct::destination() const { return impl_->output(); }
std::size_t DepthwiseProduct::memory_bytes() const { return impl_->memory_bytes(); }

}  // namespace bitloom::kernels
