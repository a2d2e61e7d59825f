#include "bitloom/backends/tune.h"

#include <algorithm>
#include <chrono>

#include "backend.h"
#include "bitloom/backends/load_model.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"

namespace bitloom::backends {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLeastRounds = 5;

Tensor random_images(const integer::Model& model, std::int64_t batch) {
  Tensor images(DType::kU8, model.tensors.front().shape.with_batch(batch));
  const RandomStream random(1, "tune");
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<std::uint8_t>()[i] =
        static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(i), 256));
  }
  return images;
}

std::vector<std::string> chosen_of(const Session& session) {
  std::vector<std::string> names;
  for (const PlanRow& row : session.plan()) names.push_back(row.chosen);
  return names;
}

/// A way to run the model, and the milliseconds of its layers, [layer][run].
struct Way {
  Session session;
  std::vector<std::string> chosen;
  std::vector<std::vector<double>> ms;
};

/// The backend's own order first; then each of its implementations wherever it can, if that differs
/// from the ways before.
std::vector<Way> ways_of(const integer::Model& model, SessionOptions options) {
  std::vector<Way> ways;
  std::vector<std::string> names{""};
  for (const Implementation& implementation : backend_named(options.backend).implementations) {
    names.emplace_back(implementation.name);
  }
  for (const std::string& name : names) {
    options.prefer.assign(model.layers.size(), name);
    Session session(model, options);
    std::vector<std::string> chosen = chosen_of(session);
    const bool known =
        std::any_of(ways.begin(), ways.end(), [&](const Way& way) { return way.chosen == chosen; });
    if (known) continue;
    ways.push_back({.session = std::move(session),
                    .chosen = std::move(chosen),
                    .ms = std::vector<std::vector<double>>(model.layers.size())});
  }
  return ways;
}

void measure(std::vector<Way>& ways, const integer::Model& model, std::int64_t batch,
             double seconds) {
  const Tensor images = random_images(model, batch);
  const integer::TensorInfo& last = model.tensors.back();
  Tensor output(last.dtype, last.shape.with_batch(batch));
  LapClock clock(model.layers.size());
  for (Way& way : ways) way.session.run(images, output);
  const Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double>(seconds * static_cast<double>(ways.size())));
  for (int round = 0; round < kLeastRounds || Clock::now() < end; ++round) {
    for (Way& way : ways) {
      clock.start();
      way.session.run(images, output, &clock);
      for (std::size_t i = 0; i < way.ms.size(); ++i) {
        way.ms[i].push_back(clock.ms(i, Lap::kForward));
      }
    }
  }
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::vector<TunedLayer> tune(const integer::Model& model, const SessionOptions& session,
                             const TuneOptions& options) {
  std::vector<Way> ways = ways_of(model, session);
  measure(ways, model, session.batch, options.seconds);
  std::vector<TunedLayer> layers;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const double usual_ms = median(ways.front().ms[i]);
    TunedLayer layer{.layer = model.layers[i].name,
                     .usual = ways.front().chosen[i],
                     .chosen = ways.front().chosen[i],
                     .usual_ms = usual_ms,
                     .chosen_ms = usual_ms};
    for (const Way& way : ways) {
      const double ms = median(way.ms[i]);
      if (way.chosen[i] == layer.usual || ms > (1.0 - options.least_gain) * usual_ms ||
          ms >= layer.chosen_ms) {
        continue;
      }
      layer.chosen = way.chosen[i];
      layer.chosen_ms = ms;
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::vector<TunedLayer> tune_file(const std::filesystem::path& path, const SessionOptions& session,
                                  const TuneOptions& options) {
  integer::Model model = load_model(path);
  std::vector<TunedLayer> layers = tune(model, session, options);
  integer::put_tuned(model.tuned, tuned_plan(layers, session));
  io::save_archive(path, integer::to_archive(model));
  return layers;
}

integer::TunedFor tuned_for(const SessionOptions& session) {
  return {.cpu = cpu_name(),
          .isa = std::string(to_word(effective_isa())),
          .backend = session.backend,
          .threads = threads(),
          .batch = session.batch};
}

integer::TunedPlan tuned_plan(const std::vector<TunedLayer>& layers,
                              const SessionOptions& session) {
  integer::TunedPlan plan{.where = tuned_for(session), .implementations = {}};
  for (const TunedLayer& layer : layers) plan.implementations.push_back(layer.chosen);
  return plan;
}

}  // namespace bitloom::backends
