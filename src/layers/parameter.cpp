#include "bitloom/layers/parameter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"

namespace bitloom::layers {
namespace {

struct RoleRow {
  Role role;
  std::string_view word;
  bool trainable;
};

// In the order of the enum; the words stand in checkpoints and never change.
constexpr std::array<RoleRow, 8> kRoles{{{Role::kWeight, "weight", true},
                                         {Role::kBias, "bias", true},
                                         {Role::kNormScale, "norm_scale", true},
                                         {Role::kNormShift, "norm_shift", true},
                                         {Role::kStatistic, "statistic", false},
                                         {Role::kQuantizerScale, "quantizer_scale", true},
                                         {Role::kQuantizerOffset, "quantizer_offset", true},
                                         {Role::kQuantizerState, "quantizer_state", false}}};

const RoleRow& row_of(Role role) {
  const auto index = static_cast<std::size_t>(role);
  BITLOOM_ASSERT(index < kRoles.size() && kRoles[index].role == role);
  return kRoles[index];
}

void fill(Tensor& value, const std::string& name, std::uint64_t seed,
          const Initializer& initializer) {
  const auto values = value.span<float>();
  if (initializer.kind == Initializer::Kind::kConstant) {
    std::ranges::fill(values, initializer.constant);
    return;
  }
  const Shape& shape = value.shape();
  const double fan_in = static_cast<double>(shape.elements()) / static_cast<double>(shape.n());
  const auto deviation = static_cast<float>(std::sqrt(2.0 / fan_in));
  const RandomStream random(seed, "init/" + name);
  // A normal number costs some 50 ns: AlexNet's 61 million are worth all threads.
  constexpr std::int64_t kGrain = 1024;
  parallel_for(value.elements(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      values[static_cast<std::size_t>(i)] =
          random.normal(static_cast<std::uint64_t>(i)) * deviation;
    }
  });
}

}  // namespace

std::string_view to_word(Role role) { return row_of(role).word; }

Role role_from_word(std::string_view word) {
  std::string known;
  for (const RoleRow& row : kRoles) {
    if (row.word == word) return row.role;
    known += (known.empty() ? "" : ", ") + std::string(row.word);
  }
  throw FormatError({.place = "parameter role",
                     .expected = "one of " + known,
                     .found = cat("'", word, "'"),
                     .remedy = ""});
}

bool is_trainable(Role role) { return row_of(role).trainable; }

Parameter& ParameterStore::declare(const std::string& name, const Shape& shape, Role role,
                                   Initializer initializer) {
  const auto found = parameters_.find(name);
  if (found != parameters_.end()) {
    Parameter& old = found->second;
    if (old.value.shape() != shape || old.role != role) {
      throw ShapeError({.place = name,
                        .expected = cat(to_word(role), " ", to_string(shape)),
                        .found = cat(to_word(old.role), " ", to_string(old.value.shape())),
                        .remedy = "use parameters of the same network"});
    }
    return old;
  }
  Parameter made;
  made.role = role;
  made.value = Tensor(DType::kF32, shape);
  if (is_trainable(role)) made.gradient = Tensor(DType::kF32, shape);
  fill(made.value, name, seed_, initializer);
  return parameters_.emplace(name, std::move(made)).first->second;
}

Parameter& ParameterStore::at(const std::string& name) {
  return const_cast<Parameter&>(std::as_const(*this).at(name));
}

const Parameter& ParameterStore::at(const std::string& name) const {
  const auto found = parameters_.find(name);
  if (found == parameters_.end()) {
    throw ConfigError({.place = "parameters",
                       .expected = "a parameter " + name,
                       .found = "none of this name",
                       .remedy = "use parameters of the same network"});
  }
  return found->second;
}

}  // namespace bitloom::layers
