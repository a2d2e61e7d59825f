// The words of quant.quantizer that mean weights of one or two bits, and what each consists of.
// Goes to: quant/passes.h (insert_fake_quant), trainers (which options fit together).
#pragma once

#include <string_view>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/integer/affine.h"
#include "bitloom/quant/options.h"

namespace bitloom::quant {

/// A published method as the quantizers (quantizer.h) of its parts.
struct LevelMethod {
  std::string_view word;                        ///< of quant.quantizer
  std::string_view weights;                     ///< of weights with quant.weight_bits
  integer::Grid grid = integer::Grid::kBinary;  ///< of those: binary 1 bit, ternary 2
  std::string_view signs;                       ///< of activations of one bit; "": it has none
  std::string_view affine;   ///< of end layers, and of activations of 2 to 8 bits
  bool per_layer = false;    ///< one scale per weight tensor, whatever quant.per_channel says
  bool bounded = false;      ///< latent weights stay in [-1, 1]
  bool scales_rows = false;  ///< one-bit layers multiply their output by k_map (XNOR-Net)

  int weight_bits() const { return grid == integer::Grid::kBinary ? 1 : 2; }
};

/// binary-connect, binary-connect-stochastic, bnn, bnn-stochastic, bwn, xnor, bi-real, reactnet,
/// twn, twn-exact, ttq; and dorefa, which is one with quant.weight_bits = 1 alone.
const std::vector<LevelMethod>& level_methods();

/// The row of options; nullptr where weights get their codes by rounding.
const LevelMethod* level_method(const QuantOptions& options);

/// Widths and switches of options that do not fit the method, each with what to set.
std::vector<ErrorText> contradictions(const QuantOptions& options);

}  // namespace bitloom::quant
