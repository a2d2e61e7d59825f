#include "bitloom/quant/step_statistics.h"

#include <algorithm>
#include <cmath>

#include "bitloom/layers/network.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"
#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

constexpr double kMargin = 0.15;  // of the grid's width, shown on either side of it

// What a node has seen so far.
class Step {
 public:
  Step(const Graph& graph, const Node& node, const ParameterStore& store)
      : input_(node.inputs[0]), scale_(store.at(scale_name(node)).value) {
    const std::string scale = scale_name(node);
    const std::string owner = scale.substr(0, scale.rfind('.'));
    of_.node = node.name;
    of_.quantizer = graph.find(owner)->word("quantizer", "static");
    of_.is_weight = quantizes_weight(node);
    of_.format = format_of(node);
    of_.zero_point = of_.format.zero_point;
    if (const std::string learned = owner + ".zero_point"; store.has(learned)) {
      of_.zero_point = store.at(learned).value.data<float>()[0];
    }
    const auto [least, largest] =
        std::minmax_element(scale_.span<float>().begin(), scale_.span<float>().end());
    of_.least_scale = *least;
    of_.largest_scale = *largest;
    rounds_its_input_ = !(of_.is_weight && of_.quantizer == "dorefa");
    const double margin = std::max(kMargin * (last() - first()), 0.5);
    of_.low = first() - margin;
    of_.high = last() + margin;
    if (rounds_its_input_) of_.counts.assign(StepStatistics::kBins, 0);
  }

  void see(const layers::Network& network) {
    if (!rounds_its_input_ || (of_.is_weight && values_ > 0)) return;
    const auto x = network.tensor(input_).span<float>();
    const auto y = network.tensor(of_.node).span<float>();
    const auto channels = static_cast<std::size_t>(scale_.elements());
    const std::size_t of_one = x.size() / channels;
    const double bins_of_one = StepStatistics::kBins / (of_.high - of_.low);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double difference = double{y[i]} - double{x[i]};
      signal_ += double{x[i]} * double{x[i]};
      noise_ += difference * difference;
      const double steps = double{x[i]} / double{scale_.data<float>()[i / of_one]};
      outside_ += steps < first() - 0.5 || steps > last() + 0.5 ? 1 : 0;
      const double bin = std::clamp((steps - of_.low) * bins_of_one, 0.0,
                                    static_cast<double>(StepStatistics::kBins - 1));
      ++of_.counts[static_cast<std::size_t>(bin)];
    }
    values_ += static_cast<std::int64_t>(x.size());
  }

  StepStatistics done() {
    if (values_ > 0) {
      of_.sqnr_db = to_db(signal_, noise_);
      if (of_.format.grid == integer::Grid::kAffine) {
        of_.outside_percent = 100.0 * static_cast<double>(outside_) / static_cast<double>(values_);
      }
    }
    return std::move(of_);
  }

 private:
  double first() const { return of_.format.range.qmin - of_.zero_point; }
  double last() const { return of_.format.range.qmax - of_.zero_point; }

  StepStatistics of_;
  std::string input_;
  const Tensor& scale_;
  bool rounds_its_input_ = true;
  double signal_ = 0.0;
  double noise_ = 0.0;
  std::int64_t outside_ = 0;
  std::int64_t values_ = 0;
};

}  // namespace

std::vector<StepStatistics> step_statistics(const Graph& graph, ParameterStore& store,
                                            const CalibrationBatches& batches, std::int64_t batch) {
  const auto quantizes = [](const Node& node) { return is_fake_quant(node); };
  if (std::none_of(graph.nodes().begin(), graph.nodes().end(), quantizes)) return {};
  layers::Network network(graph, quantized_layers(), store,
                          {.batch = batch, .training = false, .keep_all_tensors = true});
  std::vector<Step> steps;
  bool ran = false;
  batches([&](ConstTensorView images) {
    network.forward(images, layers::Phase::kEvaluate);
    if (!ran) {  // scales are settled by the first pass
      for (const Node& node : graph.nodes()) {
        if (is_fake_quant(node)) steps.emplace_back(graph, node, store);
      }
    }
    ran = true;
    for (Step& step : steps) step.see(network);
  });
  std::vector<StepStatistics> found;
  for (Step& step : steps) found.push_back(step.done());
  return found;
}

}  // namespace bitloom::quant
