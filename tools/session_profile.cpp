#include "session_profile.h"

#include <algorithm>
#include <numeric>

#include "bitloom/core/error.h"
#include "bitloom/core/lap_clock.h"
#include "lap_mean.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using integer::LayerOp;
using Unit = DirectionWork::Unit;

constexpr double kMega = 1e6;
constexpr double kGiga = 1e9;
constexpr const char* kOutside = "input and logits";

bool is_product(const integer::Layer& layer) {
  return layer.op == LayerOp::kConv2d || layer.op == LayerOp::kLinear;
}

const integer::TensorInfo& tensor_of(const integer::Model& model, int index) {
  return model.tensors[static_cast<std::size_t>(index)];
}

std::string kind_of(const integer::Model& model, const integer::Layer& layer) {
  if (layer.op != LayerOp::kConv2d) return std::string(integer::to_word(layer.op));
  const std::int64_t channels = tensor_of(model, layer.inputs[0]).shape.c();
  std::string kind = cat(layer.window.kernel_h, "x", layer.window.kernel_w);
  if (channels <= 4) kind = "stem";
  if (layer.window.groups > 1) kind = layer.window.groups == channels ? "depthwise" : "grouped";
  return layer.inputs.size() == 2 ? kind + " + sum" : kind;
}

double mb_of(const integer::TensorInfo& tensor, std::int64_t batch) {
  return static_cast<double>(tensor.shape.elements() * batch) *
         static_cast<double>(size_of(tensor.dtype)) / kMega;
}

Unit unit_of(const integer::Layer& layer, const std::string& implementation) {
  const bool codes =
      layer.mode == integer::ComputeMode::kStatic || layer.mode == integer::ComputeMode::kDynamic;
  if (codes) return Unit::kInt8;
  return implementation.find("bf16") != std::string::npos ? Unit::kBf16 : Unit::kF32;
}

DirectionWork work_of(const integer::Model& model, const integer::Layer& layer,
                      const std::string& implementation, std::int64_t batch) {
  DirectionWork work;
  work.mb = mb_of(tensor_of(model, layer.output), batch);
  for (const int input : layer.inputs) work.mb += mb_of(tensor_of(model, input), batch);
  if (!is_product(layer)) return work;
  work.unit = unit_of(layer, implementation);
  // By the shapes of its tensors: a session may have freed the plain weights.
  const Shape& source = tensor_of(model, layer.inputs[0]).shape;
  const Shape& output = tensor_of(model, layer.output).shape;
  const std::int64_t taps =
      layer.op == LayerOp::kLinear
          ? source.elements()
          : source.c() / layer.window.groups * layer.window.kernel_h * layer.window.kernel_w;
  work.gflop = 2.0 * static_cast<double>(output.elements() * batch * taps) / kGiga;
  const double weight_bytes = layer.mode == integer::ComputeMode::kFloat ? 4.0 : 1.0;
  work.mb += weight_bytes * static_cast<double>(output.c() * taps) / kMega;
  return work;
}

std::string shape_words(const Shape& shape) {
  std::string text;
  for (int axis = 0; axis < shape.rank(); ++axis) text += cat(axis > 0 ? "x" : "", shape[axis]);
  return text;
}

Roofline roofline_of(const DirectionWork& work, const kernels::MachinePeaks& peaks) {
  return roofline({&work, 1}, work.ms, peaks);
}

/// Sums of all layers of a kind, in the order in which kinds first occur.
struct KindSum {
  std::string kind;
  int layers = 0;
  double gflop = 0.0, mb = 0.0, ms = 0.0;
  double least_ms = 0.0;
};

std::vector<KindSum> sums_by_kind(const SessionProfile& profile,
                                  const kernels::MachinePeaks& peaks) {
  std::vector<KindSum> sums;
  for (const SessionLayer& layer : profile.layers) {
    auto at = std::find_if(sums.begin(), sums.end(),
                           [&](const KindSum& sum) { return sum.kind == layer.kind; });
    if (at == sums.end()) at = sums.insert(sums.end(), KindSum{.kind = layer.kind});
    ++at->layers;
    at->gflop += layer.work.gflop;
    at->mb += layer.work.mb;
    at->ms += layer.work.ms;
    at->least_ms += roofline_of(layer.work, peaks).share * layer.work.ms;
  }
  return sums;
}

}  // namespace

double SessionProfile::gflop() const {
  return std::accumulate(
      layers.begin(), layers.end(), 0.0,
      [](double sum, const SessionLayer& layer) { return sum + layer.work.gflop; });
}

SessionProfile profile_session(const integer::Model& model, backends::Session& session,
                               ConstTensorView images, std::int64_t runs) {
  const std::int64_t batch = images.shape().n();
  const integer::TensorInfo& last = model.tensors.back();
  Tensor output(last.dtype, last.shape.with_batch(batch));
  session.run(images, output);
  std::vector<LapClock> clocks(static_cast<std::size_t>(std::max<std::int64_t>(runs, 1)),
                               LapClock(model.layers.size()));
  for (LapClock& clock : clocks) {
    clock.start();
    session.run(images, output, &clock);
  }
  const std::vector<double> ms = mean_laps(clocks);
  SessionProfile profile;
  profile.run_ms = std::accumulate(ms.begin(), ms.end(), 0.0);
  const auto node_ms = [&](std::size_t node) {
    const auto begin = ms.begin() + static_cast<std::ptrdiff_t>(node * kLaps);
    return std::accumulate(begin, begin + kLaps, 0.0);
  };
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const integer::Layer& layer = model.layers[i];
    const backends::PlanRow& plan = session.plan()[i];
    SessionLayer row{.layer = layer.name,
                     .op = plan.op,
                     .mode = plan.mode,
                     .kind = kind_of(model, layer),
                     .implementation = plan.implementation,
                     .output = shape_words(tensor_of(model, layer.output).shape.with_batch(batch)),
                     .work = work_of(model, layer, plan.implementation, batch)};
    row.work.ms = node_ms(i);
    profile.layers.push_back(std::move(row));
  }
  profile.outside_ms = node_ms(model.layers.size());
  return profile;
}

nlohmann::json layers_json(const SessionProfile& profile, const kernels::MachinePeaks& peaks) {
  nlohmann::json rows = nlohmann::json::array();
  for (const SessionLayer& layer : profile.layers) {
    const Roofline roof = roofline_of(layer.work, peaks);
    rows.push_back({{"layer", layer.layer},
                    {"op", layer.op},
                    {"mode", layer.mode},
                    {"kind", layer.kind},
                    {"implementation", layer.implementation},
                    {"output", layer.output},
                    {"gflop", layer.work.gflop},
                    {"mb", layer.work.mb},
                    {"ms", layer.work.ms},
                    {"share_of_peak", number_or_null(roof.share)},
                    {"limit", roof.by_compute ? "compute" : "memory"}});
  }
  rows.push_back({{"layer", ""},
                  {"op", ""},
                  {"mode", ""},
                  {"kind", kOutside},
                  {"implementation", "bitloom"},
                  {"output", ""},
                  {"gflop", 0.0},
                  {"mb", nullptr},
                  {"ms", profile.outside_ms},
                  {"share_of_peak", nullptr},
                  {"limit", "memory"}});
  return rows;
}

std::string layer_table(const SessionProfile& profile, const kernels::MachinePeaks& peaks) {
  TextTable table{
      {"layer", "kind", "output", "implementation", "GFLOP", "MB", "ms", "% of peak", "limit"}, {}};
  for (const SessionLayer& layer : profile.layers) {
    const Roofline roof = roofline_of(layer.work, peaks);
    table.rows.push_back({layer.layer, layer.kind, layer.output, layer.implementation,
                          fixed(layer.work.gflop, 3), fixed(layer.work.mb, 2),
                          fixed(layer.work.ms, 4), fixed(100.0 * roof.share, 0),
                          roof.by_compute ? "compute" : "memory"});
  }
  table.rows.push_back({kOutside, "", "", "", "", "", fixed(profile.outside_ms, 4), "-", "memory"});
  return format_table(table);
}

std::string kind_table(const SessionProfile& profile, const kernels::MachinePeaks& peaks) {
  TextTable table{{"kind", "layers", "GFLOP", "MB", "ms", "% of run", "% of peak"}, {}};
  for (const KindSum& sum : sums_by_kind(profile, peaks)) {
    table.rows.push_back({sum.kind, cat(sum.layers), fixed(sum.gflop, 3), fixed(sum.mb, 2),
                          fixed(sum.ms, 4), fixed(100.0 * sum.ms / profile.run_ms, 1),
                          fixed(100.0 * sum.least_ms / sum.ms, 0)});
  }
  table.rows.push_back({kOutside, "", "", "", fixed(profile.outside_ms, 4),
                        fixed(100.0 * profile.outside_ms / profile.run_ms, 1), "-"});
  table.rows.push_back({"run", cat(profile.layers.size()), fixed(profile.gflop(), 3), "",
                        fixed(profile.run_ms, 4), "100.0", "-"});
  return format_table(table);
}

}  // namespace bitloom::tools
