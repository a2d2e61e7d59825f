// What both kernels of bf16_weight_gradient read: sixteen channels of a pixel as reals, two pixels
// as pairs. x86 alone.
#pragma once

#include <immintrin.h>

#include <cstdint>

// What the callers' instructions contain too; bf16_weight_gradient.cpp adds VBMI2, AMX its tiles.
#define BITLOOM_BF16_LINES __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace bitloom::kernels {

// Two pixels of sixteen channels: first and second of each channel side by side.
BITLOOM_BF16_LINES inline __m512i paired(__m512i halves) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

BITLOOM_BF16_LINES inline __m512 load(const float* from, __m512i /*zero_point*/) {
  return _mm512_loadu_ps(from);
}
BITLOOM_BF16_LINES inline __m512 load(const std::uint8_t* from, __m512i zero_point) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(codes), zero_point));
}
BITLOOM_BF16_LINES inline __m512 load(const std::int8_t* from, __m512i zero_point) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepi8_epi32(codes), zero_point));
}

// Channels of the mask; 0 elsewhere, where nothing is read.
BITLOOM_BF16_LINES inline __m512 load(const float* from, __m512i /*zero_point*/, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, from);
}
BITLOOM_BF16_LINES inline __m512 load(const std::uint8_t* from, __m512i zero_point,
                                      __mmask16 mask) {
  const __m128i codes = _mm_maskz_loadu_epi8(mask, from);
  return _mm512_maskz_cvtepi32_ps(mask, _mm512_sub_epi32(_mm512_cvtepu8_epi32(codes), zero_point));
}
BITLOOM_BF16_LINES inline __m512 load(const std::int8_t* from, __m512i zero_point, __mmask16 mask) {
  const __m128i codes = _mm_maskz_loadu_epi8(mask, from);
  return _mm512_maskz_cvtepi32_ps(mask, _mm512_sub_epi32(_mm512_cvtepi8_epi32(codes), zero_point));
}

BITLOOM_BF16_LINES inline __m512 widened(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

}  // namespace bitloom::kernels
