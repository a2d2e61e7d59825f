#include "bitloom/kernels/popcount_product.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/integer/requantize.h"
#include "popcount_geometry.h"
#include "popcount_spread.h"
#include "popcount_tiles.h"

namespace bitloom::kernels {
namespace {

constexpr std::int64_t kMostClasses = 200;

std::int64_t padded_outputs(std::int64_t outputs) {
  return (outputs + kPanel - 1) / kPanel * kPanel;
}

BitProduct product_of(const PopcountProblem& problem) {
  if (problem.source_grid == integer::Grid::kTernary) return BitProduct::kTernary;
  return problem.weight_grid == integer::Grid::kTernary ? BitProduct::kMasked : BitProduct::kBinary;
}

// Least `value` in [low, high) for which holds(value), which stays true from there on; high if
// there is none.
template <typename Holds>
std::int64_t first_of(std::int64_t low, std::int64_t high, const Holds& holds) {
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (holds(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// t(acc) < 0 as acc < threshold over acc in [-reach, reach]; of the negated acc where m < 0.
std::int64_t sign_threshold(float multiplier, float bias, std::int64_t reach,
                            integer::CodeRange range) {
  const std::int64_t never = -reach;
  const std::int64_t always = reach + 1;
  if (range.qmin > -1) return never;
  if (range.qmax < 1) return always;
  const std::int64_t direction = multiplier < 0.0F ? -1 : 1;
  return first_of(never, always, [&](std::int64_t acc) {
    const auto value = static_cast<std::int32_t>(direction * acc);
    return integer::sign_code(integer::scale_accumulator(value, multiplier, bias)) > 0;
  });
}

}  // namespace

class PopcountProduct::Impl {
 public:
  explicit Impl(const PopcountProblem& problem)
      : g_(problem),
        product_(product_of(problem)),
        rows_(g_.oh, g_.window.kernel_h, g_.window, g_.h),
        columns_(g_.ow, g_.window.kernel_w, g_.window, g_.w),
        panel_outputs_(padded_outputs(g_.group_outputs())) {
    if (g_.window.pad_w() != g_.window.pad_h()) {
      throw BackendError(cat("popcount: pads of ", g_.window.pad_h(), " above and ",
                             g_.window.pad_w(), " to the left, which ought to be one"));
    }
    if (rows_.taps.size() > kMostClasses || columns_.taps.size() > kMostClasses) {
      throw BackendError(cat("popcount: ", rows_.taps.size(), " x ", columns_.taps.size(),
                             " kinds of borders, at most ", kMostClasses));
    }
    for (std::int64_t k = 0; k < g_.depth(); ++k) {
      const std::int64_t tap = tap_of(k);
      const std::int64_t in_tap = g_.pairs() ? 0 : k % g_.words();
      const std::int64_t pixel =
          tap / g_.window.kernel_w * g_.padded_w() + tap % g_.window.kernel_w;
      const std::int64_t plane = is_single(tap) && keeps_singles() ? g_.plane_words() : 0;
      offsets_.push_back(static_cast<std::int32_t>(plane + pixel * g_.words() + in_tap));
    }
  }

  void set_weights(ConstTensorView weight) {
    pack(weight, {});
    thresholds_.clear();
  }

  void set_scales(ConstTensorView multiplier, ConstTensorView bias) {
    // Padded, so that whole panels may be read.
    const std::int64_t padded = (g_.window.groups - 1) * g_.group_outputs() + panel_outputs_;
    multiplier_.assign(static_cast<std::size_t>(padded), 0.0F);
    bias_.assign(static_cast<std::size_t>(padded), 0.0F);
    std::copy_n(multiplier.data<float>(), g_.o, multiplier_.begin());
    std::copy_n(bias.data<float>(), g_.o, bias_.begin());
  }

  void set_sign_weights(ConstTensorView weight, ConstTensorView multiplier, ConstTensorView bias,
                        integer::CodeRange range) {
    const float* m = multiplier.data<float>();
    std::vector<bool> negate(static_cast<std::size_t>(g_.o));
    for (std::size_t o = 0; o < negate.size(); ++o) negate[o] = m[o] < 0.0F;
    pack(weight, negate);
    const std::int64_t reach = g_.taps() * g_.group_inputs();
    std::vector<std::int64_t> limits;
    for (std::int64_t o = 0; o < g_.o; ++o) {
      limits.push_back(sign_threshold(m[o], bias.data<float>()[o], reach, range));
    }
    set_thresholds(limits);
  }

  void run(const PopcountSource& source, const PopcountFinish& finish,
           std::span<std::byte> scratch) const {
    const std::uint32_t* words = source.bits;
    if (spreads(source)) {
      auto* spread = reinterpret_cast<std::uint32_t*>(scratch.data());
      BITLOOM_ASSERT(scratch.size() >= scratch_bytes());
      spread_source(g_, source,
                    {.nonzeros = product_ == BitProduct::kTernary, .singles = keeps_singles()},
                    spread);
      words = spread;
    }
    const std::int64_t work = g_.depth() * panel_outputs_ / kPanel;
    const std::int64_t grain =
        std::max<std::int64_t>(1, kLeastWork / std::max<std::int64_t>(1, work));
    for (std::int64_t group = 0; group < g_.window.groups; ++group) {
      const PopcountTiles tiles = tiles_of(group);
      const PopcountFinish here = finish_of(group, finish);
      const std::uint32_t* from = words + group * g_.group_words();
      parallel_for(g_.pixels(), grain, [&](std::int64_t first, std::int64_t last, int) {
        run_tiles(tiles, here, from, first, last);
      });
    }
  }

  const PopcountGeometry& geometry() const { return g_; }
  const float* multiplier() const { return multiplier_.data(); }
  const float* bias() const { return bias_.data(); }

  std::size_t scratch_bytes() const {
    const std::int64_t planes = product_ == BitProduct::kTernary || keeps_singles() ? 2 : 1;
    return static_cast<std::size_t>(planes * g_.plane_words()) * sizeof(std::uint32_t);
  }
  std::size_t memory_bytes() const {
    return weight_.bytes() + (base_.size() + thresholds_.size() + offsets_.size() +
                              multiplier_.size() + bias_.size()) *
                                 4;
  }

 private:
  // Words of one thread's least piece: some 20 microseconds.
  static constexpr std::int64_t kLeastWork = 40000;

  int planes() const { return product_ == BitProduct::kBinary ? 1 : 2; }
  std::int64_t class_outputs() const {
    return static_cast<std::int64_t>(rows_.taps.size() * columns_.taps.size()) * panel_outputs_;
  }
  std::int64_t group_weight_words() const { return panel_outputs_ * g_.depth() * planes(); }

  // The (first) tap of word k of an output.
  std::int64_t tap_of(std::int64_t k) const {
    if (!g_.pairs()) return k / g_.words();
    const std::int64_t of_row = (g_.window.kernel_w + 1) / 2;
    return k / of_row * g_.window.kernel_w + 2 * (k % of_row);
  }
  // With pairs: a tap whose word has zeros where another has its neighbour.
  bool is_single(std::int64_t tap) const {
    return g_.pairs() && tap % g_.window.kernel_w + 1 == g_.window.kernel_w;
  }
  // Without a mask the source too must have zeros there: pixels alone in a plane of their own.
  bool keeps_singles() const {
    return product_ == BitProduct::kBinary && g_.pairs() && g_.has_single();
  }

  bool spreads(const PopcountSource& source) const {
    return source.bits == nullptr || g_.pairs() || g_.window.pad > 0 || g_.window.groups > 1 ||
           product_ == BitProduct::kTernary;
  }

  void pack(ConstTensorView weight, const std::vector<bool>& negate) {
    if (weight_.empty()) {  // words behind the last output and the last channel stay 0
      weight_ = Tensor(DType::kS32, Shape{g_.window.groups * group_weight_words()});
      base_.assign(static_cast<std::size_t>(g_.window.groups * class_outputs()), 0);
    }
    const auto rooms = static_cast<std::size_t>(threads());
    if (rooms_.size() != rooms) rooms_.resize(rooms, PackingRoom(g_));
    const std::int64_t row = g_.taps() * g_.group_inputs();
    parallel_for(g_.o, std::max<std::int64_t>(1, 65536 / row),
                 [&](std::int64_t first, std::int64_t last, int piece) {
                   PackingRoom& room = rooms_[static_cast<std::size_t>(piece)];
                   for (std::int64_t o = first; o < last; ++o) {
                     const bool negated = !negate.empty() && negate[static_cast<std::size_t>(o)];
                     pack_output(weight.data<std::int8_t>() + o * row, o, negated, room);
                   }
                 });
  }

  // What one thread packs an output in; kept, so that a training step allocates nothing.
  struct PackingRoom {
    explicit PackingRoom(const PopcountGeometry& g)
        : signs(static_cast<std::size_t>(g.taps() * g.words())),
          nonzeros(signs.size()),
          tap_sums(static_cast<std::size_t>(g.taps())) {}
    std::vector<std::uint32_t> signs, nonzeros;
    std::vector<std::int32_t> tap_sums;
  };

  // One output's planes and base.
  void pack_output(const std::int8_t* codes, std::int64_t o, bool negated, PackingRoom& room) {
    const std::int64_t group = o / g_.group_outputs();
    const std::int64_t inside = o % g_.group_outputs();
    auto* to = reinterpret_cast<std::uint32_t*>(weight_.data<std::int32_t>()) +
               group * group_weight_words() + inside / kPanel * kPanel * g_.depth() * planes() +
               inside % kPanel;
    std::uint32_t* signs = room.signs.data();
    std::uint32_t* nonzeros = room.nonzeros.data();
    std::vector<std::int32_t>& tap_sums = room.tap_sums;
    pack_codes_row(codes, {g_.taps(), g_.group_inputs()}, signs, nonzeros);
    std::int32_t magnitude = 0;
    std::fill(tap_sums.begin(), tap_sums.end(), 0);
    for (std::size_t k = 0; k < room.signs.size(); ++k) {
      if (negated) signs[k] = nonzeros[k] & ~signs[k];
      const std::int32_t count = std::popcount(nonzeros[k]);
      tap_sums[k / static_cast<std::size_t>(g_.words())] += count - 2 * std::popcount(signs[k]);
      magnitude += count;
    }
    // With pairs a word takes up to two taps, of one word each.
    const auto word = [&](const std::uint32_t* of_taps, std::int64_t k) {
      if (!g_.pairs()) return of_taps[k];
      const std::int64_t tap = tap_of(k);
      return of_taps[tap] | (is_single(tap) ? 0U : of_taps[tap + 1] << kPairShift);
    };
    for (std::int64_t k = 0; k < g_.depth(); ++k) {
      to[k * planes() * kPanel] = word(signs, k);
      if (planes() == 2) to[(k * planes() + 1) * kPanel] = word(nonzeros, k);
    }
    set_base(o, magnitude, tap_sums);
  }

  void set_base(std::int64_t o, std::int32_t nonzeros, const std::vector<std::int32_t>& tap_sums) {
    std::int64_t at = o / g_.group_outputs() * class_outputs() + o % g_.group_outputs();
    for (const auto& [top, bottom] : rows_.taps) {
      for (const auto& [left, right] : columns_.taps) {
        std::int32_t outside = 0;
        for (std::int64_t tap = 0; tap < g_.taps(); ++tap) {
          const std::int64_t ky = tap / g_.window.kernel_w;
          const std::int64_t kx = tap % g_.window.kernel_w;
          const bool inside = ky >= top && ky < bottom && kx >= left && kx < right;
          if (!inside) outside += tap_sums[static_cast<std::size_t>(tap)];
        }
        base_[static_cast<std::size_t>(at)] = nonzeros - outside;
        at += panel_outputs_;
      }
    }
  }

  // acc < limit, in the form that the tiles compare. Padded outputs never hold.
  void set_thresholds(const std::vector<std::int64_t>& limits) {
    const bool ternary = product_ == BitProduct::kTernary;
    constexpr std::int32_t kFar = std::numeric_limits<std::int32_t>::max() / 2;
    const std::int64_t row = ternary ? panel_outputs_ : class_outputs();
    thresholds_.assign(static_cast<std::size_t>(g_.window.groups * row), ternary ? -kFar : kFar);
    for (std::int64_t o = 0; o < g_.o; ++o) {
      const auto limit = static_cast<std::int32_t>(limits[static_cast<std::size_t>(o)]);
      const std::int64_t group = o / g_.group_outputs();
      for (std::int64_t at = o % g_.group_outputs(); at < row; at += panel_outputs_) {
        // base - 2 * sum < limit, so sum > floor((base - limit) / 2).
        const auto index = static_cast<std::size_t>(group * row + at);
        thresholds_[index] = ternary ? limit : (base_[index] - limit) >> 1;
      }
    }
  }

  PopcountTiles tiles_of(std::int64_t group) const {
    const std::int64_t stride = g_.window.stride;
    return {.product = product_,
            .depth = g_.depth(),
            .panels = panel_outputs_ / kPanel,
            .outputs = g_.group_outputs(),
            .offsets = offsets_.data(),
            .weight = reinterpret_cast<const std::uint32_t*>(weight_.data<std::int32_t>()) +
                      group * group_weight_words(),
            .source_plane = g_.plane_words(),
            .oh = g_.oh,
            .ow = g_.ow,
            .image_words = g_.image_words(),
            .row_words = stride * g_.padded_w() * g_.words(),
            .pixel_words = stride * g_.words(),
            .base = base_.data() + group * class_outputs(),
            .row_class = rows_.class_of.data(),
            .column_class = columns_.class_of.data(),
            .column_classes = static_cast<std::int64_t>(columns_.taps.size())};
  }

  // The same for the outputs of one group.
  PopcountFinish finish_of(std::int64_t group, PopcountFinish finish) const {
    const std::int64_t first = group * g_.group_outputs();
    if (finish.acc != nullptr) finish.acc += first;
    if (finish.sums != nullptr) finish.sums += first;
    if (finish.reals != nullptr) {
      finish.reals += first;
      finish.multiplier = multiplier_.data() + first;
      finish.bias = bias_.data() + first;
      if (finish.residual != nullptr) finish.residual += first;
    }
    if (finish.bits != nullptr) {
      finish.bits += first / kSignsPerWord;
      finish.threshold =
          thresholds_.data() +
          group * (product_ == BitProduct::kTernary ? panel_outputs_ : class_outputs());
    }
    return finish;
  }

  PopcountGeometry g_;
  BitProduct product_;
  BorderClasses rows_, columns_;
  std::int64_t panel_outputs_;  // of one group
  std::vector<std::int32_t> offsets_;
  std::vector<PackingRoom> rooms_;  // one a thread
  Tensor weight_;                   // words, as PopcountTiles::weight, group by group
  std::vector<std::int32_t> base_;
  std::vector<std::int32_t> thresholds_;
  std::vector<float> multiplier_, bias_;
};

PopcountProduct::PopcountProduct(const PopcountProblem& problem)
    : impl_(std::make_unique<Impl>(problem)) {}
PopcountProduct::~PopcountProduct() = default;
PopcountProduct::PopcountProduct(PopcountProduct&&) noexcept = default;
PopcountProduct& PopcountProduct::operator=(PopcountProduct&&) noexcept = default;

void PopcountProduct::set_weights(ConstTensorView weight_s8) { impl_->set_weights(weight_s8); }

void PopcountProduct::set_scales(ConstTensorView multiplier, ConstTensorView bias) {
  impl_->set_scales(multiplier, bias);
}

void PopcountProduct::set_sign_weights(ConstTensorView weight_s8, ConstTensorView multiplier,
                                       ConstTensorView bias, integer::CodeRange range) {
  impl_->set_sign_weights(weight_s8, multiplier, bias, range);
}

void PopcountProduct::run_sums(const PopcountSource& source, std::int32_t* acc,
                               std::span<std::byte> scratch) {
  impl_->run(source, {.acc = acc, .pixel_step = impl_->geometry().o}, scratch);
}

void PopcountProduct::run_sums(const PopcountSource& source, Bf16* sums,
                               std::span<std::byte> scratch) {
  impl_->run(source, {.sums = sums, .pixel_step = impl_->geometry().o}, scratch);
}

void PopcountProduct::run_reals(const PopcountSource& source, const PopcountReals& reals,
                                std::span<std::byte> scratch) {
  impl_->run(source,
             {.reals = reals.out,
              .pixel_step = impl_->geometry().o,
              .map = reals.map,
              .residual = reals.residual,
              .low = reals.clip.low,
              .high = reals.clip.high,
              .clips = reals.clip != integer::Clip()},
             scratch);
}

void PopcountProduct::run_signs(const PopcountSource& source, std::uint32_t* bits,
                                std::span<std::byte> scratch) {
  impl_->run(source, {.bits = bits, .pixel_step = sign_words(impl_->geometry().o)}, scratch);
}

bool PopcountProduct::writes_signs() const {
  const PopcountGeometry& g = impl_->geometry();
  return g.window.groups == 1 || g.group_outputs() % kSignsPerWord == 0;
}

Shape PopcountProduct::destination() const {
  const PopcountGeometry& g = impl_->geometry();
  return g.linear ? Shape{g.n, g.o} : Shape{g.n, g.o, g.oh, g.ow};
}

std::size_t PopcountProduct::scratch_bytes() const { return impl_->scratch_bytes(); }
std::size_t PopcountProduct::memory_bytes() const { return impl_->memory_bytes(); }
std::string PopcountProduct::implementation() const { return "popcount:" + popcount_target(); }

bool popcount_beats_int8(const PopcountProblem& problem) {
  const Isa isa = effective_isa();
  if (isa == Isa::kAvx512Amx) return false;
  if (problem.window.pad_w() != problem.window.pad_h()) return false;  // it does not take them
  if (!has_exact_u8s8(isa)) return true;  // signed codes lose a weight bit there
  const PopcountGeometry g(problem);
  if (2 * g.group_inputs() < kSignsPerWord) return false;  // packing takes what counting saves
  const bool ternary = problem.source_grid == integer::Grid::kTernary;
  // Cycles of a panel of 16 outputs: a word of 32 inputs, and 4 inputs of int8.
  const std::string target = popcount_target();
  const double step = target == "avx512_vpopcntdq" ? 1.5 : target == "avx512bw" ? 2.0 : 5.5;
  const double word = ternary ? 2.0 * step : step;
  const double words = static_cast<double>(g.depth()) / static_cast<double>(g.taps());
  const double quad = 1.1;
  const std::int64_t quads = (g.group_inputs() + 3) / 4;
  return word * words < quad * static_cast<double>(quads);
}

namespace reference {

void popcount_sums(const PopcountProblem& problem, ConstTensorView source_s8,
                   ConstTensorView weight_s8, std::int32_t* acc) noexcept {
  const PopcountGeometry g(problem);
  const std::int8_t* weight = weight_s8.data<std::int8_t>();
  for (std::int64_t i = 0; i < g.pixels() * g.o; ++i) {
    const std::int64_t o = i % g.o;
    const std::int64_t x = i / g.o % g.ow * g.window.stride - g.window.pad;
    const std::int64_t y = i / g.o / g.ow % g.oh * g.window.stride - g.window.pad;
    const std::int64_t image = i / g.o / g.ow / g.oh;
    std::int32_t sum = 0;
    for (std::int64_t tap = 0; tap < g.taps(); ++tap) {
      const std::int64_t iy = y + tap / g.window.kernel_w;
      const std::int64_t ix = x + tap % g.window.kernel_w;
      if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) continue;
      const std::int8_t* pixel = source_s8.data<std::int8_t>() +
                                 ((image * g.h + iy) * g.w + ix) * g.c +
                                 o / g.group_outputs() * g.group_inputs();
      const std::int8_t* w = weight + (o * g.taps() + tap) * g.group_inputs();
      for (std::int64_t c = 0; c < g.group_inputs(); ++c) sum += pixel[c] * w[c];
    }
    acc[i] = sum;
  }
}

}  // namespace reference
}  // namespace bitloom::kernels
