// What the CPU can do, and the cap that lets one machine show what an older one would do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bitloom {

/// x86 steps that change which kernels exist, weakest first; kOther is any other architecture.
enum class Isa { kOther, kSse41, kAvx2, kAvx512, kAvx512Vnni, kAvx512Amx };

std::string_view to_word(Isa isa);  ///< "avx2", "avx512", "avx512_vnni", "avx512_amx", ...
/// All words that isa_from_word knows: those of to_word, and "vnni" and "amx" for the last two.
std::vector<std::string> isa_words();
/// @throws ConfigError for an unknown word, listing the known ones.
Isa isa_from_word(std::string_view word);

/// Best step of this machine.
Isa detected_isa();
/// min(detected, cap); the cap is --isa, or BITLOOM_ISA, or none.
Isa effective_isa();
/// Lowers the cap; must come before the first kernel (oneDNN reads its cap once).
/// @throws ConfigError if the machine lacks `isa`.
void cap_isa(Isa isa);
/// True where u8*s8 products are summed in 32 bits (VNNI, AMX, not x86).
bool has_exact_u8s8(Isa isa);
/// True where the CPU multiplies bf16 numbers and `isa`, a cap, does not take that away: bf16 comes
/// with some avx512_vnni machines and with all of avx512_amx.
bool has_bf16(Isa isa);

/// CPU model name as the system reports it, for rows.
std::string cpu_name();

}  // namespace bitloom
