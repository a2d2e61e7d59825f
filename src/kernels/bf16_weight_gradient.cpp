#include "bitloom/kernels/bf16_weight_gradient.h"

#include <algorithm>
#include <cstring>

#include "amx_weight_gradient.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "f32_primitive.h"

#if defined(__x86_64__)
#include "bf16_lines.h"
#endif

// GCC 12 takes the undefined registers inside its own intrinsics for ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace bitloom::kernels {
namespace {

using Plan = Bf16WeightGradient::Plan;
using Call = Bf16WeightGradient::Call;

// Converted bytes of a group: half of a second-level cache of 1 MB, the rest is for sums.
constexpr std::int64_t kGroupBytes = 384 * 1024;
constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kPairBytes = kLanes * 4;  // two pixels of sixteen channels

std::int64_t source_bytes(const Plan& plan) {  // of one image, converted
  return plan.inputs / kLanes * plan.height * plan.phases * plan.row_pairs * kPairBytes;
}
std::int64_t gradient_bytes(const Plan& plan) {
  return plan.out_height * plan.out_pairs * plan.outputs * 4;
}

// Where one thread's scratch lies.
struct Workspace {
  std::byte* source;
  std::byte* gradient;
  float* sums;  // [O] of all images
};

#if defined(__x86_64__)

#define BITLOOM_BF16 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi2")))

// Sixteen bf16 of `first` below sixteen of `second`.
BITLOOM_BF16 inline __m512i rounded(__m512 first, __m512 second) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
}

// One source row of sixteen channels: [phase][pair][16][2], 0 outside.
template <typename T>
BITLOOM_BF16 void convert_source_row(const Plan& plan, const T* row, std::int32_t zero_point,
                                     std::byte* to) {
  const __m512i zero = _mm512_set1_epi32(zero_point);
  for (std::int64_t phase = 0; phase < plan.phases; ++phase) {
    for (std::int64_t pair = 0; pair < plan.row_pairs; ++pair) {
      const std::int64_t first = 2 * pair * plan.stride + phase - plan.pad;
      const std::int64_t second = first + plan.stride;
      __m512 a = _mm512_setzero_ps();
      __m512 b = _mm512_setzero_ps();
      if (first >= 0 && first < plan.width) a = load(row + first * plan.inputs, zero);
      if (second >= 0 && second < plan.width) b = load(row + second * plan.inputs, zero);
      _mm512_store_si512(to, paired(rounded(a, b)));
      to += kPairBytes;
    }
  }
}

// [channels / 16][image][row][phase][pair][16][2]
template <typename T>
BITLOOM_BF16 void convert_source(const Plan& plan, const T* source, std::int32_t zero_point,
                                 std::int64_t images, std::byte* to) {
  const std::int64_t row_bytes = plan.phases * plan.row_pairs * kPairBytes;
  for (std::int64_t i = 0; i < plan.inputs; i += kLanes) {
    for (std::int64_t row = 0; row < images * plan.height; ++row) {
      const std::int64_t y = row % plan.height;
      // Rows between the taps of a window that is smaller than its stride are not read.
      if ((y + plan.pad) % plan.stride < plan.kernel_h) {
        convert_source_row(plan, source + row * plan.width * plan.inputs + i, zero_point, to);
      }
      to += row_bytes;
    }
  }
}

// One image: [row][pair][O][2] of what is rounded already.
BITLOOM_BF16 void pair_gradient(const Plan& plan, const Bf16* gradient, std::byte* to) {
  const std::int64_t outputs = plan.outputs;
  for (std::int64_t y = 0; y < plan.out_height; ++y) {
    for (std::int64_t x = 0; x < plan.out_width; x += 2) {
      const Bf16* at = gradient + (y * plan.out_width + x) * outputs;
      for (std::int64_t o = 0; o < outputs; o += kLanes) {
        __m512i halves =
            _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + o)));
        if (x + 1 < plan.out_width) {
          const auto* second = reinterpret_cast<const __m256i*>(at + outputs + o);
          halves = _mm512_inserti64x4(halves, _mm256_loadu_si256(second), 1);
        }
        _mm512_store_si512(to + o * 4, paired(halves));
      }
      to += outputs * 4;
    }
  }
}

// The same of f32, and beside it what backward-data reads, in the order of the tensor.
BITLOOM_BF16 void convert_gradient(const Plan& plan, const float* gradient,
                                   const float* data_factor, Bf16* plain, std::byte* to) {
  const std::int64_t outputs = plan.outputs;
  for (std::int64_t y = 0; y < plan.out_height; ++y) {
    for (std::int64_t x = 0; x < plan.out_width; x += 2) {
      const bool whole = x + 1 < plan.out_width;
      const std::int64_t at = (y * plan.out_width + x) * outputs;
      for (std::int64_t o = 0; o < outputs; o += kLanes) {
        const __m512 a = _mm512_loadu_ps(gradient + at + o);
        const __m512 b = whole ? _mm512_loadu_ps(gradient + at + outputs + o) : _mm512_setzero_ps();
        __m512i halves = rounded(a, b);
        _mm512_store_si512(to + o * 4, paired(halves));
        if (plain == nullptr) continue;
        if (data_factor != nullptr) {
          const __m512 by = _mm512_loadu_ps(data_factor + o);
          halves = rounded(_mm512_mul_ps(a, by), _mm512_mul_ps(b, by));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(plain + at + o),
                            _mm512_castsi512_si256(halves));
        if (whole) {
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(plain + at + outputs + o),
                              _mm512_extracti64x4_epi64(halves, 1));
        }
      }
      to += outputs * 4;
    }
  }
}

BITLOOM_BF16 inline __m512 reals(const float* from) { return _mm512_loadu_ps(from); }
BITLOOM_BF16 inline __m512 reals(const Bf16* from) {
  return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// sums[o] += dy of one image.
template <typename T>
BITLOOM_BF16 void add_sums(const Plan& plan, const T* gradient, float* sums) {
  const std::int64_t pixels = plan.out_height * plan.out_width;
  for (std::int64_t o = 0; o < plan.outputs; o += kLanes) {
    __m512 sum = _mm512_setzero_ps();
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      sum = _mm512_add_ps(sum, reals(gradient + pixel * plan.outputs + o));
    }
    _mm512_storeu_ps(sums + o, _mm512_add_ps(_mm512_loadu_ps(sums + o), sum));
  }
}

// Pixels x + a and x + a + 1 from aligned pairs: an odd a takes the halves of two neighbours.
template <int A>
BITLOOM_BF16 inline __m512i shifted(const std::byte* pair) {
  const __m512i low = _mm512_load_si512(pair + A / 2 * kPairBytes);
  if constexpr (A % 2 == 0) return low;
  return _mm512_shrdi_epi32(low, _mm512_load_si512(pair + (A / 2 + 1) * kPairBytes), 16);
}

template <int Tap, int Stride>
BITLOOM_BF16 inline __m512bh tap_operand(const std::byte* pair, std::int64_t phase_bytes) {
  return reinterpret_cast<__m512bh>(shifted<Tap / Stride>(pair + (Tap % Stride) * phase_bytes));
}

struct Sweep {
  const Plan& plan;
  const std::byte* source;    // sixteen channels of all images of the group
  const std::byte* gradient;  // from the first of the outputs on
  std::int64_t images;
  std::int64_t tap_row;  // u
  float* sums;           // [O][KH][KW][I] from the first of these outputs, this row and channel on
  bool first;            // the sums begin here
};

// Sums of KW taps of a row, sixteen inputs and `Outputs` outputs over a group, in registers.
template <int KW, int Stride, int Outputs>
BITLOOM_BF16 void sweep(const Sweep& job) {
  const Plan& plan = job.plan;
  const std::int64_t phase_bytes = plan.row_pairs * kPairBytes;
  const std::int64_t row_bytes = plan.phases * phase_bytes;
  const std::int64_t pixel_bytes = plan.outputs * 4;
  const std::int64_t shift = job.tap_row - plan.pad;
  const std::int64_t begin = std::max<std::int64_t>(0, (Stride - 1 - shift) / Stride);
  const std::int64_t end = std::min(plan.out_height, (plan.height - 1 - shift) / Stride + 1);
  __m512 sum[Outputs][KW];
#pragma GCC unroll 16
  for (int o = 0; o < Outputs; ++o) {
#pragma GCC unroll 8
    for (int v = 0; v < KW; ++v) sum[o][v] = _mm512_setzero_ps();
  }
  for (std::int64_t image = 0; image < job.images; ++image) {
    for (std::int64_t y = begin; y < end; ++y) {
      const std::byte* x = job.source + (image * plan.height + y * Stride + shift) * row_bytes;
      const std::byte* d =
          job.gradient + (image * plan.out_height + y) * plan.out_pairs * pixel_bytes;
      for (std::int64_t pair = 0; pair < plan.out_pairs; ++pair) {
        __m512bh operand[KW];
        operand[0] = tap_operand<0, Stride>(x, phase_bytes);
        if constexpr (KW > 1) operand[1] = tap_operand<1, Stride>(x, phase_bytes);
        if constexpr (KW > 2) operand[2] = tap_operand<2, Stride>(x, phase_bytes);
        if constexpr (KW > 3) operand[3] = tap_operand<3, Stride>(x, phase_bytes);
        if constexpr (KW > 4) operand[4] = tap_operand<4, Stride>(x, phase_bytes);
#pragma GCC unroll 16
        for (int o = 0; o < Outputs; ++o) {
          std::int32_t both = 0;
          std::memcpy(&both, d + o * 4, sizeof(both));
          const auto dy = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
#pragma GCC unroll 8
          for (int v = 0; v < KW; ++v) sum[o][v] = _mm512_dpbf16_ps(sum[o][v], operand[v], dy);
        }
        x += kPairBytes;
        d += pixel_bytes;
      }
    }
  }
#pragma GCC unroll 16
  for (int o = 0; o < Outputs; ++o) {
#pragma GCC unroll 8
    for (int v = 0; v < KW; ++v) {
      float* to = job.sums + (o * plan.kernel_h * KW + v) * plan.inputs;
      _mm512_storeu_ps(to, job.first ? sum[o][v] : _mm512_add_ps(_mm512_loadu_ps(to), sum[o][v]));
    }
  }
}

using SweepFunction = void (*)(const Sweep&);
struct SweepKind {
  SweepFunction run;
  std::int64_t outputs;
};

// As many outputs at a time as leave registers for the operands.
SweepKind sweep_of(const Plan& plan) {
  const bool strided = plan.stride == 2;
  switch (plan.kernel_w) {
    case 1:
      return {strided ? sweep<1, 2, 16> : sweep<1, 1, 16>, 16};
    case 3:
      return {strided ? sweep<3, 2, 8> : sweep<3, 1, 8>, 8};
    default:
      return {strided ? sweep<5, 2, 4> : sweep<5, 1, 4>, 4};
  }
}

BITLOOM_BF16 void convert_group(const Plan& plan, const Call& call, std::int64_t image,
                                std::int64_t images, const Workspace& space) {
  const std::int64_t offset = image * plan.height * plan.width * plan.inputs;
  switch (call.source_dtype) {
    case DType::kU8:
      convert_source(plan, static_cast<const std::uint8_t*>(call.source) + offset, call.zero_point,
                     images, space.source);
      break;
    case DType::kS8:
      convert_source(plan, static_cast<const std::int8_t*>(call.source) + offset, call.zero_point,
                     images, space.source);
      break;
    default:
      convert_source(plan, static_cast<const float*>(call.source) + offset, 0, images,
                     space.source);
  }
  const std::int64_t size = plan.out_height * plan.out_width * plan.outputs;
  for (std::int64_t i = 0; i < images; ++i) {
    const std::int64_t at = (image + i) * size;
    std::byte* to = space.gradient + i * gradient_bytes(plan);
    if (call.gradient_dtype == DType::kBf16) {
      const Bf16* gradient = static_cast<const Bf16*>(call.gradient) + at;
      pair_gradient(plan, gradient, to);
      if (call.bias_gradient != nullptr) add_sums(plan, gradient, space.sums);
      continue;
    }
    const float* gradient = static_cast<const float*>(call.gradient) + at;
    convert_gradient(plan, gradient, call.data_factor,
                     call.data_gradient == nullptr ? nullptr : call.data_gradient + at, to);
    if (call.bias_gradient != nullptr) add_sums(plan, gradient, space.sums);
  }
}

// dw of images [begin, end), unscaled.
void add_images(const Plan& plan, const Call& call, std::int64_t begin, std::int64_t end,
                const Workspace& space, float* sums) {
  const SweepKind kind = sweep_of(plan);
  for (std::int64_t image = begin; image < end; image += plan.group) {
    const std::int64_t images = std::min(plan.group, end - image);
    convert_group(plan, call, image, images, space);
    for (std::int64_t i = 0; i < plan.inputs; i += kLanes) {
      const std::byte* source =
          space.source + i / kLanes * images * (source_bytes(plan) / (plan.inputs / kLanes));
      for (std::int64_t u = 0; u < plan.kernel_h; ++u) {
        for (std::int64_t o = 0; o < plan.outputs; o += kind.outputs) {
          kind.run({.plan = plan,
                    .source = source,
                    .gradient = space.gradient + o * 4,
                    .images = images,
                    .tap_row = u,
                    .sums = sums + (o * plan.kernel_h + u) * plan.kernel_w * plan.inputs + i,
                    .first = image == begin});
        }
      }
    }
  }
}

bool cpu_supports() {
  if (effective_isa() == Isa::kAvx512Amx) return amx_weight_gradient_runs();
  return has_bf16(effective_isa()) && __builtin_cpu_supports("avx512vbmi2");
}

#else

bool cpu_supports() { return false; }
void add_images(const Plan&, const Call&, std::int64_t, std::int64_t, const Workspace&, float*) {}

#endif

Plan make_plan(const F32Conv2dProblem& problem) {
  Plan plan{Bf16WeightGradient::Sizes(problem)};
  plan.phases = std::min(plan.stride, plan.kernel_w);
  plan.out_pairs = (plan.out_width + 1) / 2;
  const std::int64_t farthest = (plan.kernel_w - 1) / plan.stride;
  plan.row_pairs = plan.out_pairs + (farthest + 1) / 2;
  plan.group = std::clamp<std::int64_t>(kGroupBytes / (source_bytes(plan) + gradient_bytes(plan)),
                                        1, std::max<std::int64_t>(1, plan.images));
  return plan;
}

}  // namespace

Bf16WeightGradient::Sizes::Sizes(const F32Conv2dProblem& problem)
    : images(problem.source.n()),
      height(problem.source.h()),
      width(problem.source.w()),
      inputs(problem.source.c()),
      kernel_h(problem.weight.h()),
      kernel_w(problem.weight.w()),
      stride(problem.window.stride),
      pad(problem.window.pad) {
  const Shape output = conv2d_output("bf16 weight gradient", problem);
  out_height = output.h();
  out_width = output.w();
  outputs = output.c();
}

bool Bf16WeightGradient::supports(const F32Conv2dProblem& problem) {
  if (!cpu_supports() || problem.window.groups != 1 || problem.weight[0] % kLanes != 0 ||
      problem.window.pad_w() != problem.window.pad_h() || problem.window.stride > 2) {
    return false;
  }
  const std::int64_t kw = problem.weight.w();
  const std::int64_t inputs = problem.weight[1];
  if (inputs % kLanes == 0) return kw == 1 || kw == 3 || kw == 5;
  constexpr std::int64_t kLongestRow = 64;
  return inputs < kLanes && kw * inputs <= kLongestRow && amx_weight_gradient_runs();
}

Bf16WeightGradient::Bf16WeightGradient(const F32Conv2dProblem& problem)
    : plan_(make_plan(problem)) {
  if (amx_weight_gradient_runs()) tiles_ = plan_amx_weight_gradient(problem);
  // Sums of large weights pass through the caches once a group: better a part of them a thread.
  constexpr std::int64_t kManyWeights = 128 * 1024;
  const bool by_outputs =
      tiles_ && plan_.weights() > kManyWeights && plan_.outputs >= 2 * kLanes * threads();
  output_pieces_ = by_outputs ? threads() : 1;
  image_pieces_ = by_outputs ? 1 : std::clamp<std::int64_t>(plan_.images, 1, threads());
}

const char* Bf16WeightGradient::implementation() const {
  return tiles_ ? "tiles:avx512_core_amx" : "pairs:avx512_core_bf16";
}

// What one thread works with.
struct Bf16WeightGradient::Piece {
  std::int64_t first_image, last_image;
  std::int64_t first_output, last_output;
  std::byte* scratch;
  float* bias;     // [O] of its images and outputs
  float* weights;  // sums of its images; those of the first go to the result itself
};

std::size_t Bf16WeightGradient::thread_bytes() const {
  const std::size_t bias = aligned(static_cast<std::size_t>(plan_.outputs) * sizeof(float));
  if (tiles_) {
    const std::int64_t blocks = plan_.outputs / kLanes;
    const std::int64_t most = (blocks + output_pieces_ - 1) / output_pieces_ * kLanes;
    return bias + amx_weight_gradient_bytes(*tiles_, most);
  }
  return bias + aligned(static_cast<std::size_t>(plan_.group * source_bytes(plan_))) +
         aligned(static_cast<std::size_t>(plan_.group * gradient_bytes(plan_)));
}

std::size_t Bf16WeightGradient::sum_bytes() const {
  const std::int64_t weights = tiles_ ? tiles_->weights() : plan_.weights();
  return aligned(static_cast<std::size_t>(weights) * sizeof(float));
}

// Parts of the images whose sums do not go to the result: all where they are padded to sixteens.
std::int64_t Bf16WeightGradient::sums_apart() const {
  return tiles_ && tiles_->unfolds() ? image_pieces_ : image_pieces_ - 1;
}

std::size_t Bf16WeightGradient::scratch_bytes() const {
  return static_cast<std::size_t>(image_pieces_ * output_pieces_) * thread_bytes() +
         static_cast<std::size_t>(sums_apart()) * sum_bytes();
}

Bf16WeightGradient::Piece Bf16WeightGradient::piece(std::int64_t index, const Call& call,
                                                    std::byte* scratch) const {
  const std::int64_t of_images = index / output_pieces_;
  const std::int64_t of_outputs = index % output_pieces_;
  const std::int64_t blocks = plan_.outputs / kLanes;
  std::byte* const own = scratch + static_cast<std::size_t>(index) * thread_bytes();
  std::byte* const sums =
      scratch + static_cast<std::size_t>(image_pieces_ * output_pieces_) * thread_bytes();
  const std::size_t bias = aligned(static_cast<std::size_t>(plan_.outputs) * sizeof(float));
  const std::int64_t apart = of_images - (image_pieces_ - sums_apart());
  return {.first_image = plan_.images * of_images / image_pieces_,
          .last_image = plan_.images * (of_images + 1) / image_pieces_,
          .first_output = blocks * of_outputs / output_pieces_ * kLanes,
          .last_output = blocks * (of_outputs + 1) / output_pieces_ * kLanes,
          .scratch = own + bias,
          .bias = reinterpret_cast<float*>(own),
          .weights = apart < 0 ? call.weight_gradient
                               : reinterpret_cast<float*>(sums + static_cast<std::size_t>(apart) *
                                                                     sum_bytes())};
}

void Bf16WeightGradient::run(const Call& call, std::byte* scratch) const noexcept {
  const auto undone = [&](std::int64_t o) {  // of the factor that the gradient comes with
    const bool scaled = call.gradient_dtype == DType::kBf16 && call.data_factor != nullptr;
    return scaled ? 1.0F / call.data_factor[o] : 1.0F;
  };
  const std::int64_t pieces = image_pieces_ * output_pieces_;
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t index = begin; index < end; ++index) {
      const Piece job = piece(index, call, scratch);
      std::fill_n(job.bias, plan_.outputs, 0.0F);
      if (tiles_) {
        amx_weight_gradient(*tiles_, call,
                            {.first_image = job.first_image,
                             .last_image = job.last_image,
                             .first_output = job.first_output,
                             .last_output = job.last_output,
                             .scratch = job.scratch,
                             .weight_gradient = job.weights,
                             .bias_gradient = job.bias});
        continue;
      }
      std::byte* const gradient =
          job.scratch + aligned(static_cast<std::size_t>(plan_.group * source_bytes(plan_)));
      add_images(plan_, call, job.first_image, job.last_image, {job.scratch, gradient, job.bias},
                 job.weights);
    }
  });
  // Runs of weights that lie together in the result, and how far apart they are in the sums.
  const bool unfolds = tiles_ && tiles_->unfolds();
  const std::int64_t runs = unfolds ? plan_.kernel_h : 1;
  const std::int64_t length = plan_.weights() / plan_.outputs / runs;
  const std::int64_t pitch = unfolds ? tiles_->inputs : length;
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / length);
  parallel_for(plan_.outputs * runs, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t run = begin; run < end; ++run) {
      float* to = call.weight_gradient + run * length;
      const float scale = call.scale * undone(run / runs);
      if (unfolds) std::copy_n(piece(0, call, scratch).weights + run * pitch, length, to);
      for (std::int64_t of_images = 1; of_images < image_pieces_; ++of_images) {
        const float* from = piece(of_images * output_pieces_, call, scratch).weights + run * pitch;
        for (std::int64_t i = 0; i < length; ++i) to[i] += from[i];
      }
      for (std::int64_t i = 0; i < length; ++i) to[i] *= scale;
    }
  });
  if (call.bias_gradient == nullptr) return;
  for (std::int64_t o = 0; o < plan_.outputs; ++o) {
    double sum = 0.0;
    for (std::int64_t index = 0; index < pieces; ++index) {
      sum += static_cast<double>(piece(index, call, scratch).bias[o]);
    }
    call.bias_gradient[o] = static_cast<float>(sum) * undone(o);
  }
}

}  // namespace bitloom::kernels
