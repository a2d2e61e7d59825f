#include "amx_weight_gradient.h"

#include <algorithm>
#include <type_traits>

#include "bitloom/core/cpu.h"
#include "f32_primitive.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include "bf16_lines.h"
#endif

// GCC 12 takes the undefined registers inside its own intrinsics for ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace bitloom::kernels {
namespace {

using Plan = AmxWeightGradientPlan;
using Call = Bf16WeightGradient::Call;
using Part = AmxWeightGradientPart;

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kPairBytes = kLanes * 4;  // two pixels of sixteen channels
constexpr std::int64_t kChunk = 32;              // pixels of a tile
constexpr std::int64_t kTileBytes = 1024;
// A panel of the source and two blocks of the gradient in a second-level cache of 2 MB.
constexpr std::int64_t kGroupBytes = 1024 * 1024;

std::int64_t chunks_of(const Plan& plan, std::int64_t rows) {
  return (rows * plan.pitch + kChunk - 1) / kChunk;
}
// Pairs of one line, with what the last taps read beyond it.
std::int64_t line_pairs(const Plan& plan) {
  const std::int64_t farthest =
      (plan.kernel_h - 1) / plan.stride * plan.pitch + (plan.kernel_w - 1) / plan.stride;
  return chunks_of(plan, plan.group) * kChunk / 2 + farthest / 2 + 2;
}
std::int64_t block_bytes(const Plan& plan) {  // sixteen channels of the source
  return plan.phases_h * plan.phases_w * plan.parities * line_pairs(plan) * kPairBytes;
}
std::int64_t gradient_block_bytes(const Plan& plan) {
  return chunks_of(plan, plan.group) * kTileBytes;
}

}  // namespace

AmxWeightGradientPlan plan_amx_weight_gradient(const F32Conv2dProblem& problem) {
  Plan plan{Bf16WeightGradient::Sizes(problem)};
  plan.channels = plan.inputs;
  plan.window_row = plan.kernel_w * plan.channels;
  if (plan.unfolds()) {
    plan.inputs = (plan.window_row + kLanes - 1) / kLanes * kLanes;
    plan.kernel_w = 1;
  }
  const std::int64_t reach_h = (plan.kernel_h - 1) / plan.stride;
  const std::int64_t reach_w = (plan.kernel_w - 1) / plan.stride;
  // At stride 1 the zeros before a row serve the row above as well.
  const std::int64_t shared_h = plan.stride == 1 ? std::min(plan.pad, reach_h) : 0;
  const std::int64_t shared_w = plan.stride == 1 ? std::min(plan.pad, reach_w) : 0;
  plan.pitch = (plan.out_width + reach_w - shared_w + 1) / 2 * 2;
  plan.rows = plan.out_height + reach_h - shared_h;
  plan.phases_h = std::min(plan.stride, plan.kernel_h);
  plan.phases_w = std::min(plan.stride, plan.kernel_w);
  plan.parities = reach_w > 0 ? 2 : 1;
  plan.panel = std::min<std::int64_t>(2, plan.inputs / kLanes);
  const std::int64_t row_bytes = plan.pitch / 2 * kPairBytes *
                                 (plan.panel * plan.phases_h * plan.phases_w * plan.parities + 2);
  const std::int64_t all = std::max<std::int64_t>(1, plan.images * plan.rows);
  plan.group = std::clamp<std::int64_t>(kGroupBytes / row_bytes, 1, all);
  return plan;
}

std::size_t amx_weight_gradient_bytes(const Plan& plan, std::int64_t outputs) {
  const std::int64_t source = plan.panel * block_bytes(plan);
  const std::int64_t gradient = (outputs + kLanes - 1) / kLanes * gradient_block_bytes(plan);
  return aligned(static_cast<std::size_t>(source)) + aligned(static_cast<std::size_t>(gradient));
}

#if defined(__x86_64__) && defined(__linux__)

namespace {

#define BITLOOM_AMX                                                                         \
  __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"), \
                 noinline))

// Two pixels of sixteen channels: first and second of each channel side by side.
BITLOOM_BF16_LINES inline __m512i pair_of(__m256i first, __m256i second) {
  return paired(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
}
BITLOOM_BF16_LINES inline __m256i rounded(__m512 v) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v));
}

// Rows of a group, counted through all images.
struct Rows {
  std::int64_t first, last;
};

// Writes one line pixel by pixel: pairs (0, 1), (2, 3), ... and, where taps begin at odd pixels
// too, (1, 2), (3, 4), ...
class Line {
 public:
  BITLOOM_BF16_LINES Line(std::byte* even, std::byte* odd)
      : even_(even), odd_(odd), before_(_mm256_setzero_si256()) {}
  BITLOOM_BF16_LINES void add(__m256i first, __m256i second) {
    _mm512_store_si512(even_, pair_of(first, second));
    even_ += kPairBytes;
    if (odd_ == nullptr) return;
    if (begun_) {
      _mm512_store_si512(odd_, pair_of(before_, first));
      odd_ += kPairBytes;
    }
    begun_ = true;
    before_ = second;
  }

 private:
  std::byte* even_;
  std::byte* odd_;
  __m256i before_;
  bool begun_ = false;
};

// Sixteen channels of the pixels of a row.
template <typename T>
class Channels {
 public:
  Channels(const Plan& plan, const T* source, std::int64_t block)
      : plan_(plan), source_(source + block * kLanes) {}
  BITLOOM_BF16_LINES inline __m256i at(std::int64_t row, std::int64_t x, __m512i zero) const {
    if (x < 0 || x >= plan_.width) return _mm256_setzero_si256();
    return rounded(load(source_ + (row * plan_.width + x) * plan_.channels, zero));
  }

 private:
  const Plan& plan_;
  const T* source_;
};

// Sixteen of what lies under a row of the window: few channels of neighbouring columns.
template <typename T>
class WindowRow {
 public:
  WindowRow(const Plan& plan, const T* source, std::int64_t block)
      : source_(source),
        channels_(plan.channels),
        row_(plan.width * plan.channels),
        first_(block * kLanes),
        most_(std::min(kLanes, plan.window_row - first_)) {}
  BITLOOM_BF16_LINES inline __m256i at(std::int64_t row, std::int64_t x, __m512i zero) const {
    const std::int64_t begin = x * channels_ + first_;
    const std::int64_t from = std::clamp<std::int64_t>(-begin, 0, kLanes);
    const std::int64_t to = std::clamp<std::int64_t>(row_ - begin, from, std::max(from, most_));
    const auto mask = static_cast<__mmask16>((1U << to) - (1U << from));
    return rounded(load(source_ + row * row_ + begin, zero, mask));
  }

 private:
  const T* source_;
  std::int64_t channels_, row_, first_, most_;
};

// One line: columns of remainder `phase_w` of rows of remainder `phase_h`.
template <class Pixels>
BITLOOM_BF16_LINES void convert_line(const Plan& plan, const Pixels& pixels,
                                     std::int32_t zero_point, const Rows& rows,
                                     std::int64_t phase_h, std::int64_t phase_w, std::byte* to) {
  const __m512i zero = _mm512_set1_epi32(zero_point);
  const __m256i nothing = _mm256_setzero_si256();
  const std::int64_t pairs = line_pairs(plan);
  Line line(to, plan.parities == 2 ? to + pairs * kPairBytes : nullptr);
  // With the rows that the last taps read; zeros below the last image, since 0 times anything else
  // may be NaN.
  const std::int64_t last =
      std::min(plan.images * plan.rows, rows.last + (plan.kernel_h - 1) / plan.stride + 1);
  std::int64_t written = 0;
  for (std::int64_t row = rows.first; row < last && written < pairs; ++row) {
    const std::int64_t y = row % plan.rows * plan.stride + phase_h - plan.pad;
    const bool inside = y >= 0 && y < plan.height;
    const std::int64_t source_row = row / plan.rows * plan.height + y;
    for (std::int64_t j = 0; j < plan.pitch && written < pairs; j += 2, ++written) {
      const std::int64_t x = j * plan.stride + phase_w - plan.pad;
      const __m256i first = inside ? pixels.at(source_row, x, zero) : nothing;
      const __m256i second = inside ? pixels.at(source_row, x + plan.stride, zero) : nothing;
      line.add(first, second);
    }
  }
  for (; written < pairs; ++written) line.add(nothing, nothing);
}

// Blocks of channels from `first` on: [block][phase][parity][pair][16][2].
template <template <typename> class Pixels, typename T>
void convert_panel(const Plan& plan, const Call& call, const Rows& rows, std::int64_t first,
                   std::int64_t blocks, std::byte* to) {
  for (std::int64_t block = first; block < first + blocks; ++block) {
    const Pixels<T> pixels(plan, static_cast<const T*>(call.source), block);
    for (std::int64_t phase_h = 0; phase_h < plan.phases_h; ++phase_h) {
      for (std::int64_t phase_w = 0; phase_w < plan.phases_w; ++phase_w) {
        convert_line(plan, pixels, call.zero_point, rows, phase_h, phase_w, to);
        to += plan.parities * line_pairs(plan) * kPairBytes;
      }
    }
  }
}

template <typename T>
void convert_source(const Plan& plan, const Call& call, const Rows& rows, std::int64_t first,
                    std::int64_t blocks, std::byte* to) {
  if (plan.unfolds()) return convert_panel<WindowRow, T>(plan, call, rows, first, blocks, to);
  convert_panel<Channels, T>(plan, call, rows, first, blocks, to);
}

void convert_source(const Plan& plan, const Call& call, const Rows& rows, std::int64_t first,
                    std::int64_t blocks, std::byte* to) {
  switch (call.source_dtype) {
    case DType::kU8:
      return convert_source<std::uint8_t>(plan, call, rows, first, blocks, to);
    case DType::kS8:
      return convert_source<std::int8_t>(plan, call, rows, first, blocks, to);
    default:
      return convert_source<float>(plan, call, rows, first, blocks, to);
  }
}

// rows[k][lane] of 32 bits to lanes[lane][k].
BITLOOM_BF16_LINES inline void transpose(const __m512i* rows, std::byte* to) {
  __m512i t[16];
  __m512i s[16];
  for (int k = 0; k < 16; k += 2) {
    t[k] = _mm512_unpacklo_epi32(rows[k], rows[k + 1]);
    t[k + 1] = _mm512_unpackhi_epi32(rows[k], rows[k + 1]);
  }
  // s[4 q + l]: rows 4 q to 4 q + 3 of lanes l, l + 4, l + 8, l + 12.
  for (int q = 0; q < 4; ++q) {
    s[4 * q] = _mm512_unpacklo_epi64(t[4 * q], t[4 * q + 2]);
    s[4 * q + 1] = _mm512_unpackhi_epi64(t[4 * q], t[4 * q + 2]);
    s[4 * q + 2] = _mm512_unpacklo_epi64(t[4 * q + 1], t[4 * q + 3]);
    s[4 * q + 3] = _mm512_unpackhi_epi64(t[4 * q + 1], t[4 * q + 3]);
  }
  for (int l = 0; l < 4; ++l) {
    const __m512i a = _mm512_shuffle_i32x4(s[l], s[4 + l], 0x88);  // lanes l, l + 8
    const __m512i b = _mm512_shuffle_i32x4(s[8 + l], s[12 + l], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(s[l], s[4 + l], 0xDD);  // lanes l + 4, l + 12
    const __m512i d = _mm512_shuffle_i32x4(s[8 + l], s[12 + l], 0xDD);
    _mm512_store_si512(to + l * 64, _mm512_shuffle_i32x4(a, b, 0x88));
    _mm512_store_si512(to + (l + 4) * 64, _mm512_shuffle_i32x4(c, d, 0x88));
    _mm512_store_si512(to + (l + 8) * 64, _mm512_shuffle_i32x4(a, b, 0xDD));
    _mm512_store_si512(to + (l + 12) * 64, _mm512_shuffle_i32x4(c, d, 0xDD));
  }
}

// Sixteen outputs of a group: [chunk][16][32], and what else is made of dy on the way. T: float, or
// Bf16 of a gradient that is rounded already.
template <typename T>
class GradientBlock {
 public:
  BITLOOM_BF16_LINES GradientBlock(const Plan& plan, const Call& call, const Rows& rows,
                                   std::int64_t output, float* bias_sums)
      : plan_(plan),
        bias_sums_(bias_sums),
        rows_(rows.last - rows.first),
        y_(rows.first % plan.rows) {
    const std::int64_t row =
        rows.first / plan.rows * plan.out_height + std::min(y_, plan.out_height);
    const std::int64_t at = row * plan.out_width * plan.outputs + output;
    gradient_ = static_cast<const T*>(call.gradient) + at;
    if (call.data_gradient != nullptr) plain_ = call.data_gradient + at;
    factor_ = call.data_factor == nullptr ? _mm512_set1_ps(1.0F)
                                          : _mm512_loadu_ps(call.data_factor + output);
  }

  BITLOOM_BF16_LINES void convert(std::byte* to) {
    const std::int64_t chunks = chunks_of(plan_, rows_);
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk, to += kTileBytes) {
      __m512i pairs[16];
      for (__m512i& pair : pairs) pair = next();
      transpose(pairs, to);
    }
    if (bias_sums_ == nullptr) return;
    _mm512_storeu_ps(bias_sums_, _mm512_add_ps(_mm512_loadu_ps(bias_sums_), sum_));
  }

 private:
  BITLOOM_BF16_LINES inline __m512i next() {
    __m512i pair = _mm512_setzero_si512();
    if (rows_ > 0 && y_ < plan_.out_height && x_ < plan_.out_width) {
      const __m256i first = pixel();
      const __m256i second = x_ + 1 < plan_.out_width ? pixel() : _mm256_setzero_si256();
      pair = pair_of(first, second);
    }
    x_ += 2;
    if (x_ < plan_.pitch) return pair;
    x_ = 0;
    --rows_;
    if (++y_ == plan_.rows) y_ = 0;
    return pair;
  }

  BITLOOM_BF16_LINES inline __m256i pixel() {
    if constexpr (std::is_same_v<T, Bf16>) {
      const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(gradient_));
      gradient_ += plan_.outputs;
      if (bias_sums_ != nullptr) sum_ = _mm512_add_ps(sum_, widened(halves));
      return halves;
    } else {
      return rounded_pixel();
    }
  }

  BITLOOM_BF16_LINES inline __m256i rounded_pixel() {
    const __m512 dy = _mm512_loadu_ps(gradient_);
    gradient_ += plan_.outputs;
    sum_ = _mm512_add_ps(sum_, dy);
    if (plain_ != nullptr) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(plain_), rounded(_mm512_mul_ps(dy, factor_)));
      plain_ += plan_.outputs;
    }
    return rounded(dy);
  }

  const Plan& plan_;
  float* bias_sums_;
  const T* gradient_ = nullptr;
  Bf16* plain_ = nullptr;
  __m512 factor_;
  __m512 sum_ = _mm512_setzero_ps();
  std::int64_t rows_;  // left
  std::int64_t y_;
  std::int64_t x_ = 0;
};

template <typename T>
void convert_gradient(const Plan& plan, const Call& call, const Part& part, const Rows& rows,
                      std::byte* to) {
  for (std::int64_t output = part.first_output; output < part.last_output; output += kLanes) {
    float* bias = call.bias_gradient == nullptr ? nullptr : part.bias_gradient + output;
    GradientBlock<T>(plan, call, rows, output, bias).convert(to);
    to += gradient_block_bytes(plan);
  }
}

struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Not on the stack: GCC's intrinsic names eight of the bytes that it reads, the compiler may leave
// out stores of the others.
constexpr TileConfiguration kTiles;

BITLOOM_AMX void begin_tiles() {
  _tile_loadconfig(&kTiles);
  asm volatile("" ::: "memory");
}
BITLOOM_AMX void end_tiles() { _tile_release(); }

struct Sweep {
  const std::byte* gradient[2];  // tiles of one or two blocks of outputs
  const std::byte* source[2];    // tiles of one or two taps and blocks of inputs
  float* sums[2][2];
  std::int64_t chunks;
  std::int64_t sums_bytes;  // from output to output
  bool first;               // the sums begin here
};

// The intrinsics are assembler that does not tell the compiler what memory it reads and writes.
template <bool kTwoOutputs, bool kTwoSources>
BITLOOM_AMX void sweep(const Sweep& job) {
  asm volatile("" ::: "memory");
  const std::int64_t stride = job.sums_bytes;
  if (job.first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, job.sums[0][0], stride);
    if constexpr (kTwoSources) _tile_loadd(1, job.sums[0][1], stride);
    if constexpr (kTwoOutputs) _tile_loadd(2, job.sums[1][0], stride);
    if constexpr (kTwoOutputs && kTwoSources) _tile_loadd(3, job.sums[1][1], stride);
  }
  const std::byte* dy0 = job.gradient[0];
  const std::byte* dy1 = job.gradient[1];
  const std::byte* x0 = job.source[0];
  const std::byte* x1 = job.source[1];
  for (std::int64_t chunk = 0; chunk < job.chunks; ++chunk) {
    _tile_loadd(4, dy0, 64);
    _tile_loadd(6, x0, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoSources) {
      _tile_loadd(7, x1, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoOutputs) {
      _tile_loadd(5, dy1, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoSources) _tile_dpbf16ps(3, 5, 7);
    }
    dy0 += kTileBytes;
    dy1 += kTileBytes;
    x0 += kTileBytes;
    x1 += kTileBytes;
  }
  _tile_stored(0, job.sums[0][0], stride);
  if constexpr (kTwoSources) _tile_stored(1, job.sums[0][1], stride);
  if constexpr (kTwoOutputs) _tile_stored(2, job.sums[1][0], stride);
  if constexpr (kTwoOutputs && kTwoSources) _tile_stored(3, job.sums[1][1], stride);
  asm volatile("" ::: "memory");
}

// A tap of a block of inputs, where its pixels begin.
const std::byte* tap_source(const Plan& plan, const std::byte* panel, std::int64_t block,
                            std::int64_t u, std::int64_t v) {
  const std::int64_t line = (u % plan.stride) * plan.phases_w + v % plan.stride;
  const std::int64_t distance = u / plan.stride * plan.pitch + v / plan.stride;
  const std::int64_t pairs = line_pairs(plan);
  return panel + block * block_bytes(plan) +
         ((line * plan.parities + distance % 2) * pairs + distance / 2) * kPairBytes;
}

// Sums of all taps of a panel's blocks for one or two blocks of outputs over a group.
void sweep_panel(const Plan& plan, const std::byte* panel, std::int64_t first_block,
                 std::int64_t blocks, const std::byte* gradient, bool two_outputs, float* sums,
                 std::int64_t rows, bool first) {
  const std::int64_t taps = plan.kernel_h * plan.kernel_w;
  const std::int64_t of_output = taps * plan.inputs;
  Sweep job{.gradient = {gradient, gradient + (two_outputs ? gradient_block_bytes(plan) : 0)},
            .source = {},
            .sums = {},
            .chunks = chunks_of(plan, rows),
            .sums_bytes = of_output * static_cast<std::int64_t>(sizeof(float)),
            .first = first};
  const std::int64_t columns = taps * blocks;
  for (std::int64_t column = 0; column < columns; column += 2) {
    const bool two_sources = column + 1 < columns;
    for (std::int64_t k = 0; k < (two_sources ? 2 : 1); ++k) {
      const std::int64_t tap = (column + k) / blocks;
      const std::int64_t block = (column + k) % blocks;
      job.source[k] = tap_source(plan, panel, block, tap / plan.kernel_w, tap % plan.kernel_w);
      job.sums[0][k] = sums + tap * plan.inputs + (first_block + block) * kLanes;
      job.sums[1][k] = job.sums[0][k] + (two_outputs ? kLanes * of_output : 0);
    }
    if (!two_sources) job.source[1] = job.source[0];
    if (two_outputs) {
      two_sources ? sweep<true, true>(job) : sweep<true, false>(job);
    } else {
      two_sources ? sweep<false, true>(job) : sweep<false, false>(job);
    }
  }
}

}  // namespace

bool amx_weight_gradient_runs() noexcept {
  if (effective_isa() != Isa::kAvx512Amx) return false;
  // Linux gives a process its tiles when it asks for them; oneDNN asks as well.
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

void amx_weight_gradient(const Plan& plan, const Call& call, const Part& part) noexcept {
  const std::int64_t taps = plan.kernel_h * plan.kernel_w;
  const std::int64_t output_blocks = (part.last_output - part.first_output) / kLanes;
  std::byte* const panel = part.scratch;
  std::byte* const gradient =
      panel + aligned(static_cast<std::size_t>(plan.panel * block_bytes(plan)));
  const std::int64_t begin = part.first_image * plan.rows;
  const std::int64_t end = part.last_image * plan.rows;
  for (std::int64_t row = begin; row < end; row += plan.group) {
    const Rows rows{row, std::min(row + plan.group, end)};
    const bool is_rounded = call.gradient_dtype == DType::kBf16;
    (is_rounded ? convert_gradient<Bf16> : convert_gradient<float>)(plan, call, part, rows,
                                                                    gradient);
    for (std::int64_t i = 0; i < plan.inputs / kLanes; i += plan.panel) {
      const std::int64_t blocks = std::min(plan.panel, plan.inputs / kLanes - i);
      convert_source(plan, call, rows, i, blocks, panel);
      begin_tiles();
      for (std::int64_t block = 0; block < output_blocks; block += 2) {
        const std::int64_t output = part.first_output + block * kLanes;
        sweep_panel(plan, panel, i, blocks, gradient + block * gradient_block_bytes(plan),
                    block + 1 < output_blocks, part.weight_gradient + output * taps * plan.inputs,
                    rows.last - rows.first, row == begin);
      }
      end_tiles();
    }
  }
}

#else

bool amx_weight_gradient_runs() noexcept { return false; }
void amx_weight_gradient(const Plan&, const Call&, const Part&) noexcept {}

#endif

}  // namespace bitloom::kernels
