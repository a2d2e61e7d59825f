#include "bench_layer.h"

#include <algorithm>
#include <memory>
#include <sstream>

#include "backend_options.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/lap_clock.h"
#include "bitloom/core/parallel.h"
#include "evaluate.h"
#include "global_options.h"
#include "measure.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

constexpr std::int64_t kMostRuns = 1'000'000;

/// One problem with one kernel, planned, with its input and output.
class LayerCase {
 public:
  LayerCase(const LayerProblem& problem, LayerKernel kernel, const LayerBenchOptions& options)
      : problem_(problem),
        kernel_(kernel),
        options_(options),
        model_(one_layer_model(problem, kernel)),
        images_(random_images(model_, problem.batch)),
        output_(model_.tensors.back().dtype, problem.destination().with_batch(problem.batch)),
        clock_(1) {
    try {
      session_ = std::make_unique<backends::Session>(
          model_, backends::SessionOptions{.backend = options.backend,
                                           .batch = problem.batch,
                                           .fallback_to_reference = options.fallback_to_reference});
    } catch (const BackendError& error) {
      throw BackendError(cat(problem.text, ", ", to_word(kernel), ": ", error.what()));
    }
  }

  /// Milliseconds of the layer alone.
  double run() {
    clock_.start();
    session_->run(images_, output_, &clock_);
    return clock_.ms(0, Lap::kForward);
  }

  /// @pre run() was called.
  nlohmann::json row(const std::vector<double>& samples_ms) const;

 private:
  LayerProblem problem_;
  LayerKernel kernel_;
  LayerBenchOptions options_;
  integer::Model model_;
  Tensor images_;
  Tensor output_;
  LapClock clock_;
  std::unique_ptr<backends::Session> session_;
};

nlohmann::json LayerCase::row(const std::vector<double>& samples_ms) const {
  Tensor expected(output_.dtype(), output_.shape());
  backends::Session reference(model_, {.backend = "reference", .batch = problem_.batch});
  reference.run(images_, expected);

  const backends::PlanRow& plan = session_->plan().front();
  const double p50_ms = quantile(samples_ms, 0.5);
  const bool exact = kernel_ != LayerKernel::kFloat;
  const bool reals = output_.dtype() == DType::kF32;
  nlohmann::json row = machine_row();
  row["problem"] = problem_.text;
  row["kernel"] = to_word(kernel_);
  row["backend"] = options_.backend;
  row["batch"] = problem_.batch;
  row["runs"] = options_.runs;
  row["gmac"] = problem_.gmac();
  row["latency_ms_p50"] = p50_ms;
  row["latency_ms_p90"] = quantile(samples_ms, 0.9);
  row["gmac_per_s"] = 1e3 * problem_.gmac() / p50_ms;
  row["implementation"] = plan.implementation;
  row["declined"] = plan.declined;
  row["weight_bits"] = plan.weight_bits;
  row["activation_bits"] = plan.activation_bits;
  row["parity_identical"] =
      exact ? nlohmann::json(identical_rows(output_, expected)) : nlohmann::json(nullptr);
  row["largest_difference"] =
      reals ? nlohmann::json(largest_difference(output_, expected)) : nlohmann::json(nullptr);
  return row;
}

std::vector<LayerKernel> kernel_option(const Arguments& arguments) {
  std::string words = arguments.value("kernel", "int8");
  std::replace(words.begin(), words.end(), ',', ' ');
  std::vector<LayerKernel> kernels;
  std::istringstream list(words);
  for (std::string word; list >> word;) kernels.push_back(layer_kernel_from_word(word));
  if (kernels.empty()) throw ConfigError({"--kernel", "at least one", "none", ""});
  return kernels;
}

std::string table_of(const std::vector<nlohmann::json>& rows) {
  TextTable table{
      {"problem", "kernel", "p50 ms", "p90 ms", "GMAC/s", "parity", "implementation", "declined"},
      {}};
  for (const nlohmann::json& row : rows) {
    const nlohmann::json& parity = row["parity_identical"];
    const std::string said =
        parity.is_null() ? cat("within ", scientific(row["largest_difference"].get<double>()))
        : parity == 1.0  ? std::string("identical")
                         : std::string("differs");
    const auto declined = row["declined"].get<std::string>();
    table.rows.push_back(
        {row["problem"], row["kernel"], fixed(row["latency_ms_p50"].get<double>(), 4),
         fixed(row["latency_ms_p90"].get<double>(), 4), fixed(row["gmac_per_s"].get<double>(), 1),
         said, row["implementation"], declined.empty() ? "-" : declined});
  }
  return format_table(table);
}

}  // namespace

const std::vector<OptionSpec>& layer_bench_options() {
  static const std::vector<OptionSpec> options = {
      {"layer", "L",
       "time single layers: conv2d:n1,c256,h14,w14,o256,k3,s1,p1 or depthwise:... or "
       "linear:n1,c512,o10; several separated by spaces, or a file of them"},
      {"kernel", "K[,K]", "of --layer: int8 (default), float, binary, ternary"}};
  return options;
}

std::vector<nlohmann::json> measure_layers(const std::vector<LayerProblem>& problems,
                                           const std::vector<LayerKernel>& kernels,
                                           const LayerBenchOptions& options) {
  std::vector<std::unique_ptr<LayerCase>> cases;
  for (const LayerProblem& problem : problems) {
    for (const LayerKernel kernel : kernels) {
      cases.push_back(std::make_unique<LayerCase>(problem, kernel, options));
    }
  }
  const std::int64_t warm_up = std::max<std::int64_t>(3, options.runs / 10);
  std::vector<std::vector<double>> samples_ms(cases.size());
  for (std::int64_t round = 0; round < warm_up + options.runs; ++round) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const double ms = cases[i]->run();
      if (round >= warm_up) samples_ms[i].push_back(ms);
    }
  }
  std::vector<nlohmann::json> rows;
  for (std::size_t i = 0; i < cases.size(); ++i) rows.push_back(cases[i]->row(samples_ms[i]));
  return rows;
}

int run_layer_bench(const Arguments& arguments) {
  for (const char* name : {"model", "batch", "per-layer"}) {
    if (!arguments.has(name)) continue;
    throw ConfigError({cat("--", name), "nothing beside --layer", arguments.value(name),
                       "a problem's n is its batch; exported models have a bench of their own"});
  }
  prepare_machine(arguments);
  const LayerBenchOptions options{
      .backend = backend_option(arguments),
      .runs = arguments.integer("runs", 1, kMostRuns, LayerBenchOptions().runs),
      .fallback_to_reference = fallback_option(arguments)};
  const std::vector<nlohmann::json> rows = measure_layers(
      parse_layer_problems(arguments.value("layer")), kernel_option(arguments), options);
  say(arguments, table_of(rows));
  say(arguments,
      cat(options.runs, " runs each, in turns, ", options.backend, ", ", to_word(effective_isa()),
          ", ", threads(), threads() == 1 ? " thread\n" : " threads\n"));
  write_json_option(arguments, rows);
  const bool exact = std::all_of(rows.begin(), rows.end(), [](const nlohmann::json& row) {
    return row["parity_identical"].is_null() || row["parity_identical"] == 1.0;
  });
  return exact ? kExitDone : kExitCheckFailed;
}

}  // namespace bitloom::tools
