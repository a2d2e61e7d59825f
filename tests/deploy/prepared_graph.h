// A small float graph made ready for export: parameters, statistics, quantizers, grids.
#pragma once

#include <cstring>
#include <string>

#include "bitloom/core/cpu.h"
#include "bitloom/core/random.h"
#include "bitloom/deploy/lower.h"
#include "bitloom/integer/profile.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/passes.h"

namespace bitloom::deploy {

inline constexpr std::int64_t kBatch = 6;

struct Variant {
  std::string name;
  quant::QuantOptions options;
  std::string profile = "int8";
};

/// A graph with pixels, calibrated grids, and weights, batch norm and biases that are not the
/// first ones.
struct PreparedGraph {
  PreparedGraph(const std::string& text, const Variant& variant)
      : float_graph(layers::Graph::parse(text, "test")) {
    const Shape shape = float_graph.nodes().front().shape("shape");
    pixels = Tensor(DType::kU8, shape.with_batch(kBatch));
    images = Tensor(DType::kF32, pixels.shape());
    table = Tensor(DType::kF32, Shape{shape.c(), 256});
    const RandomStream random(5, "pixels");
    for (std::int64_t i = 0; i < table.elements(); ++i) {
      table.data<float>()[i] = static_cast<float>(i % 256 - 110) / 60.0F;
    }
    for (std::int64_t i = 0; i < pixels.elements(); ++i) {
      const auto pixel =
          static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(i), 256));
      pixels.data<std::uint8_t>()[i] = pixel;
      images.data<float>()[i] = table.data<float>()[i % shape.c() * 256 + pixel];
    }
    layers::Network network(float_graph, layers::float_layers(), store, {.batch = kBatch});
    for (auto& [name, parameter] : store.all()) {
      const RandomStream values(6, name);
      const bool beta = name.ends_with(".beta") || name.ends_with(".bias");
      const bool gamma = name.ends_with(".gamma");
      for (std::int64_t i = 0; (beta || gamma) && i < parameter.value.elements(); ++i) {
        const float normal = values.normal(static_cast<std::uint64_t>(i));
        parameter.value.data<float>()[i] = beta ? 0.4F * normal : 1.0F + 0.3F * normal;
      }
    }
    for (int step = 0; step < 3; ++step)
      network.forward(images, layers::Phase::kTrain);  // statistics
    if (variant.options.fold_batch_norm) float_graph = quant::fold_batch_norm(float_graph, store);
    graph = quant::insert_fake_quant(float_graph, variant.options,
                                     integer::profile_named(variant.profile), true);
    graph = quant::calibrate(
        graph, store, [&](const auto& use) { use(images.view()); }, kBatch,
        quant::calibration_options(variant.options));
  }

  integer::Model lowered(const Variant& variant) const {
    return lower(graph, store,
                 {.network = "t",
                  .method = variant.options.method,
                  .profile = variant.profile,
                  .normalization = table});
  }

  layers::Graph float_graph, graph;
  layers::ParameterStore store{9};
  Tensor pixels, images, table;
};

inline bool same_bytes(ConstTensorView a, ConstTensorView b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// False where this CPU (or its cap) computes the profile wrongly.
inline bool runs_here(const Variant& variant) {
  return profile_objection(integer::profile_named(variant.profile), effective_isa()).empty();
}

}  // namespace bitloom::deploy
