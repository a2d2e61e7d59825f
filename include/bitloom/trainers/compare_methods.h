// The words of compare.methods: each a method of the literature as a few config keys.
// Goes to: config_compare.cpp (which words there are), tools/compare_plan.cpp (what they run).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bitloom::trainers {

/// One word. `overrides` go on top of the configuration; what they leave alone is the user's.
struct CompareMethod {
  std::string word;
  std::vector<std::string> overrides;  ///< "quant.quantizer=pact"
  std::string help;                    ///< one line
};

/// Every word, float first.
const std::vector<CompareMethod>& compare_methods();
/// @throws ConfigError for an unknown word, listing the known ones.
const CompareMethod& compare_method(std::string_view word);

/// The float network trained on for as long as QAT trains: the baseline of every qat row.
inline constexpr std::string_view kFloatContinued = "float-continued";
/// QAT that starts from the next wider width of its own kind, the widest from float.
inline constexpr std::string_view kQatProgressive = "qat-progressive";

}  // namespace bitloom::trainers
