// Everything that training changes or remembers, by name: what a checkpoint stores.
// Comes from: layers and quantizers, which declare it. Goes to: optimizer, checkpoint, deploy.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>

#include "bitloom/core/tensor.h"

namespace bitloom::layers {

/// What a parameter is for; decides decay, learning rate and whether it has a gradient.
enum class Role : std::uint8_t {
  kWeight,           ///< "weight": decayed
  kBias,             ///< "bias": not decayed
  kNormScale,        ///< "norm_scale" (gamma): not decayed
  kNormShift,        ///< "norm_shift" (beta): not decayed
  kStatistic,        ///< "statistic" (running mean and variance): no gradient
  kQuantizerScale,   ///< "quantizer_scale" (learned): not decayed, own learning rate
  kQuantizerOffset,  ///< "quantizer_offset" (learned): not decayed, of either sign
  kQuantizerState,   ///< "quantizer_state" (ranges, counters): no gradient
};
std::string_view to_word(Role role);
Role role_from_word(std::string_view word);  ///< @throws FormatError
bool is_trainable(Role role);

/// A named tensor with its gradient.
struct Parameter {
  Tensor value;     ///< f32 (counters too)
  Tensor gradient;  ///< same shape; empty unless trainable
  Role role = Role::kWeight;
  /// What a layer asks of the optimizer; not stored, a graph's layers say it when they are made.
  float bound = std::numeric_limits<float>::infinity();  ///< values stay in [-bound, bound]
  double lr_ratio = 1.0;  ///< learning rate / that of the others, for rules that adapt the step's
                          ///< size (adam); others take its square
};

/// How `declare` fills a new parameter.
struct Initializer {
  enum class Kind : std::uint8_t { kConstant, kHeNormal } kind = Kind::kConstant;
  float constant = 0.0F;
  /// kHeNormal: normal with deviation sqrt(2 / fan_in), fan_in = elements / shape[0].
  /// Source: He et al., arXiv:1502.01852.
};

/// Ordered by name; addresses of parameters are stable.
class ParameterStore {
 public:
  explicit ParameterStore(std::uint64_t seed) : seed_(seed) {}

  /// Returns the parameter if it exists with this shape and role, else makes it. Values depend on
  /// (seed, name, shape) alone. @throws ShapeError if it exists with another shape or role.
  Parameter& declare(const std::string& name, const Shape& shape, Role role,
                     Initializer initializer);
  /// @throws ConfigError if absent.
  Parameter& at(const std::string& name);
  const Parameter& at(const std::string& name) const;
  bool has(const std::string& name) const { return parameters_.contains(name); }
  void erase(const std::string& name) { parameters_.erase(name); }

  std::map<std::string, Parameter>& all() { return parameters_; }
  const std::map<std::string, Parameter>& all() const { return parameters_; }
  std::uint64_t seed() const { return seed_; }

 private:
  std::uint64_t seed_;
  std::map<std::string, Parameter> parameters_;
};

}  // namespace bitloom::layers
