// Makes the fake_quant nodes of a graph from [quant]'s options: which quantizer, format and
// attributes a weight or an activation gets.
// Goes to: insert_fake_quant.cpp, insert_signs.cpp.
#pragma once

#include <optional>
#include <string>

#include "bitloom/integer/profile.h"
#include "bitloom/layers/graph.h"
#include "bitloom/quant/level_methods.h"
#include "bitloom/quant/options.h"

namespace bitloom::quant {

/// Width of a tensor that stays real.
inline constexpr int kRealBits = 32;

class QuantizerNodes {
 public:
  QuantizerNodes(const QuantOptions& options, const integer::DeviceProfile& profile);

  /// "<weight>.q". `own_bits`: a width of its own (2 .. 8), by rounding; else quant.weight_bits, by
  /// the method.
  layers::Node weight(const layers::Node& weight, std::optional<int> own_bits) const;
  /// "<value>.q" of 2 to 8 bits. The network's input never gets a scale that moves.
  layers::Node activation(const layers::Node& value, int bits, bool carries_sign) const;
  /// "<value>.q" of one bit. @pre options.activation_bits is 1.
  layers::Node sign(const layers::Node& value) const;

  const LevelMethod* method() const { return method_; }

 private:
  layers::Node level_weight(layers::Node quantizer) const;
  std::string weight_quantizer() const;
  std::string activation_quantizer(const layers::Node& node, bool carries_sign) const;
  void round_while_training(layers::Node& quantizer, const std::string& kind) const;

  const QuantOptions& options_;
  const integer::DeviceProfile& profile_;
  const LevelMethod* method_;  // nullptr: weights by rounding
  std::string quantizer_;      // of what is rounded
};

}  // namespace bitloom::quant
