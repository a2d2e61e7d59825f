// In which numbers the products of a training step are computed.
// Goes to: kernels/training_product.h, layers, train (key train.precision).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bitloom::kernels {

/// kF32: f32 throughout.
/// kBf16: convolutions and matrix products multiply bf16 numbers (8 bits of mantissa, the range of
/// f32) and sum in f32; their results, the weights and everything elementwise stay f32.
/// Integer products of codes (a quantized forward pass) are the same in both.
enum class Precision : std::uint8_t { kF32, kBf16 };

std::vector<std::string> precision_words();  ///< "f32", "bf16"
std::string_view to_word(Precision precision);

/// @throws ConfigError at train.precision for an unknown word, and for bf16 where the CPU or the
///         ISA cap has no bf16 products (emulated they are slower than f32).
Precision usable_precision(std::string_view word);

}  // namespace bitloom::kernels
