#include "bitloom/kernels/machine_peaks.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/tensor.h"
#include "bitloom/kernels/onednn.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bitloom::kernels {
namespace {

constexpr int kRepeats = 5;
constexpr double kLeastMs = 4.0;
constexpr std::int64_t kCopyBytes = std::int64_t{64} << 20;
constexpr std::int64_t kMatrixSide = 1024;

/// Shortest time of several runs of `body`, ms.
double best_ms(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  double best = 0.0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const Clock::time_point begin = Clock::now();
    body();
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    best = repeat == 0 ? ms : std::min(best, ms);
  }
  return best;
}

/// Multiply-adds of registers alone. `run(rounds)` does rounds * operations.
struct RegisterLoop {
  void (*run)(std::int64_t rounds) = nullptr;
  double operations = 0.0;
};

#if defined(__x86_64__)

// The sums are named and stay in registers, as an array of them would not; the empty assembly keeps
// the compiler from merging rounds. Twelve: more than latency (4 or 5) times units (2).
#define BITLOOM_PEAK_LOOP(zero, step, factor)                                              \
  auto a = (zero), b = (zero), c = (zero), d = (zero), e = (zero), f = (zero), g = (zero), \
       h = (zero), i = (zero), j = (zero), k = (zero), l = (zero);                         \
  for (std::int64_t round = 0; round < rounds; ++round) {                                  \
    a = step(a, factor), b = step(b, factor), c = step(c, factor), d = step(d, factor);    \
    e = step(e, factor), f = step(f, factor), g = step(g, factor), h = step(h, factor);    \
    i = step(i, factor), j = step(j, factor), k = step(k, factor), l = step(l, factor);    \
    asm volatile(""                                                                        \
                 : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h), \
                   "+v"(i), "+v"(j), "+v"(k), "+v"(l));                                    \
  }
constexpr double kPerLane = 2.0 * 12;  // a multiply and an add for each sum

#define BITLOOM_TARGET(features) __attribute__((target(features)))

BITLOOM_TARGET("avx2,fma") inline __m256 fma_avx2(__m256 sum, __m256 factor) {
  return _mm256_fmadd_ps(factor, factor, sum);
}
BITLOOM_TARGET("avx2,fma") void loop_f32_avx2(std::int64_t rounds) {
  const __m256 factor = _mm256_set1_ps(0.5F);
  BITLOOM_PEAK_LOOP(factor, fma_avx2, factor)
}

BITLOOM_TARGET("avx512f") inline __m512 fma_avx512(__m512 sum, __m512 factor) {
  return _mm512_fmadd_ps(factor, factor, sum);
}
BITLOOM_TARGET("avx512f") void loop_f32_avx512(std::int64_t rounds) {
  const __m512 factor = _mm512_set1_ps(0.5F);
  BITLOOM_PEAK_LOOP(factor, fma_avx512, factor)
}

BITLOOM_TARGET("avx512f,avx512vnni") inline __m512i dot_int8(__m512i sum, __m512i factor) {
  return _mm512_dpbusd_epi32(sum, factor, factor);
}
BITLOOM_TARGET("avx512f,avx512vnni") void loop_int8_vnni(std::int64_t rounds) {
  const __m512i factor = _mm512_set1_epi8(1);
  BITLOOM_PEAK_LOOP(factor, dot_int8, factor)
}

BITLOOM_TARGET("avx512f,avx512bf16") inline __m512 dot_bf16(__m512 sum, __m512bh factor) {
  return _mm512_dpbf16_ps(sum, factor, factor);
}
BITLOOM_TARGET("avx512f,avx512bf16") void loop_bf16_avx512(std::int64_t rounds) {
  const __m512 half = _mm512_set1_ps(0.5F);
  const __m512bh factor = _mm512_cvtne2ps_pbh(half, half);
  BITLOOM_PEAK_LOOP(half, dot_bf16, factor)
}

#undef BITLOOM_TARGET
#undef BITLOOM_PEAK_LOOP

RegisterLoop f32_loop(Isa isa) {
  if (isa >= Isa::kAvx512) return {loop_f32_avx512, 16 * kPerLane};
  if (isa >= Isa::kAvx2) return {loop_f32_avx2, 8 * kPerLane};
  return {};
}

RegisterLoop int8_loop(Isa isa) {
  return isa >= Isa::kAvx512Vnni ? RegisterLoop{loop_int8_vnni, 64 * kPerLane} : RegisterLoop{};
}

RegisterLoop bf16_loop(Isa isa) {
  const bool has = isa >= Isa::kAvx512Vnni && __builtin_cpu_supports("avx512bf16");
  return has ? RegisterLoop{loop_bf16_avx512, 32 * kPerLane} : RegisterLoop{};
}

#else

RegisterLoop f32_loop(Isa) { return {}; }
RegisterLoop int8_loop(Isa) { return {}; }
RegisterLoop bf16_loop(Isa) { return {}; }

#endif

/// 1e9 operations a second of a loop on all threads; 0 without a loop.
double loop_rate(const RegisterLoop& loop) {
  if (loop.run == nullptr) return 0.0;
  const auto run_all = [&](std::int64_t rounds) {
    parallel_for(threads(), 1, [&](std::int64_t, std::int64_t, int) { loop.run(rounds); });
  };
  std::int64_t rounds = 1 << 14;
  double ms = best_ms([&] { run_all(rounds); });
  if (ms < kLeastMs) {
    rounds *= 1 + static_cast<std::int64_t>(kLeastMs / std::max(ms, 1e-3));
    ms = best_ms([&] { run_all(rounds); });
  }
  return static_cast<double>(threads() * rounds) * loop.operations / ms * 1e-6;
}

struct MatrixTypes {
  dnnl::memory::data_type source;
  dnnl::memory::data_type weight;
  dnnl::memory::data_type destination;
};

/// 1e9 operations a second of oneDNN's matrix product; 0 where it has none.
double matrix_rate(const MatrixTypes& types) {
  using dnnl::memory;
  const memory::dims sides{kMatrixSide, kMatrixSide};
  try {
    const auto plain = memory::format_tag::ab;
    const dnnl::matmul::primitive_desc description(
        engine(), memory::desc(sides, types.source, plain),
        memory::desc(sides, types.weight, memory::format_tag::any),
        memory::desc(sides, types.destination, plain));
    const auto zeros = [](const memory::desc& desc) {
      memory made(desc, engine());
      std::memset(made.get_data_handle(), 0, desc.get_size());
      return made;
    };
    const memory source = zeros(description.src_desc());
    const memory weight = zeros(description.weights_desc());
    const memory destination = zeros(description.dst_desc());
    const dnnl::matmul product(description);
    const double ms = best_ms([&] {
      product.execute(
          stream(),
          {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, destination}});
      stream().wait();
    });
    return 2.0 * static_cast<double>(kMatrixSide * kMatrixSide * kMatrixSide) / ms * 1e-6;
  } catch (const dnnl::error&) {
    return 0.0;
  }
}

/// The loop's rate; where there is none, or AMX's tiles would beat it, the matrix product's.
double product_rate(const RegisterLoop& loop, bool tiles, const MatrixTypes& types) {
  const double rate = loop_rate(loop);
  return rate > 0.0 && !tiles ? rate : std::max(rate, matrix_rate(types));
}

double copy_rate() {
  const Tensor from(DType::kU8, Shape{kCopyBytes});
  Tensor to(DType::kU8, Shape{kCopyBytes});
  const auto* source = static_cast<const std::byte*>(from.raw());
  auto* destination = static_cast<std::byte*>(to.raw());
  const double ms = best_ms([&] {
    parallel_for(kCopyBytes, 1, [&](std::int64_t begin, std::int64_t end, int) {
      std::memcpy(destination + begin, source + begin, static_cast<std::size_t>(end - begin));
    });
  });
  return 2.0 * static_cast<double>(kCopyBytes) / ms * 1e-6;
}

}  // namespace

MachinePeaks measure_peaks() {
  using Type = dnnl::memory::data_type;
  const Isa isa = effective_isa();
  const bool tiles = isa == Isa::kAvx512Amx;
  MachinePeaks peaks;
  peaks.f32_gflop_per_s = product_rate(f32_loop(isa), false, {Type::f32, Type::f32, Type::f32});
  peaks.int8_gop_per_s = product_rate(int8_loop(isa), tiles, {Type::u8, Type::s8, Type::s32});
  const RegisterLoop bf16 = bf16_loop(isa);
  if (tiles || bf16.run != nullptr) {
    peaks.bf16_gflop_per_s = product_rate(bf16, tiles, {Type::bf16, Type::bf16, Type::f32});
  }
  peaks.copy_gb_per_s = copy_rate();
  return peaks;
}

}  // namespace bitloom::kernels
