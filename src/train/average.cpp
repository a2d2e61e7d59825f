#include "bitloom/train/average.h"

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kGrain = 32768;

}  // namespace

Averages start_averages(const layers::ParameterStore& store) {
  Averages averages;
  for (const auto& [name, parameter] : store.all()) {
    if (layers::is_trainable(parameter.role) || parameter.role == layers::Role::kStatistic) {
      averages.emplace(name, parameter.value.clone());
    }
  }
  return averages;
}

void update_averages(const layers::ParameterStore& store, double decay, Averages& averages) {
  const auto share = static_cast<float>(1.0 - decay);
  for (auto& [name, average] : averages) {
    float* to = average.data<float>();
    const float* from = store.at(name).value.data<float>();
    parallel_for(average.elements(), kGrain, [=](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) to[i] += share * (from[i] - to[i]);
    });
  }
}

void put_averages(const Averages& averages, const std::string& source,
                  layers::ParameterStore& store) {
  for (const auto& [name, average] : averages) {
    if (!store.has(name) || store.at(name).value.shape() != average.shape()) {
      throw FormatError(
          ErrorText{cat(source, ": averages/", name),
                    cat("a parameter of this name and shape ", to_string(average.shape())),
                    store.has(name) ? to_string(store.at(name).value.shape()) : std::string("none"),
                    "the checkpoint is not of this network"});
    }
    copy(average, store.at(name).value);
  }
}

}  // namespace bitloom::train
