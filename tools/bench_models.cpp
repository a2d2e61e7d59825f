#include "bench_models.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "backend_options.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "child_process.h"
#include "child_rows.h"
#include "evaluate.h"
#include "global_options.h"
#include "machine_state.h"
#include "model_file.h"
#include "network_models.h"
#include "row_formats.h"
#include "session_profile.h"
#include "text_table.h"
#include "tune_file.h"

namespace bitloom::tools {
namespace {

using Clock = std::chrono::steady_clock;
using Tell = std::function<void(const std::string&)>;

constexpr std::int64_t kMostBatch = 65'536;
constexpr std::int64_t kMostRuns = 1'000'000;
constexpr std::int64_t kMostSeconds = 3600;

/// What only a process with one model can say of its memory and of its start.
constexpr const char* kAlone[] = {"peak_memory_bytes", "resident_memory_bytes",
                                  "first_inference_ms"};

/// One model, planned, with what its row holds so far.
class Bench {
 public:
  Bench(const BenchedModel& wanted, const ModelBenchOptions& options)
      : wanted_(wanted), options_(options) {
    const Clock::time_point began = Clock::now();
    ModelFile file = load_model_file(wanted.path);
    row_ = model_row(file, wanted.backend);
    if (!wanted.method.empty()) row_["method"] = wanted.method;
    row_["model"] = wanted.path.string();
    row_["batch"] = options.batch;
    exact_ = multiplies_integers(file.model);
    label_ = file.model.weights_label;
    images_ = random_images(file.model, options.batch);
    if (options.parity && exact_) expected_ = reference_logits(file.model);
    // The session keeps the weights in its kernels' own layouts alone.
    session_.emplace_back(
        std::move(file.model),
        backends::SessionOptions{.backend = wanted.backend,
                                 .batch = options.batch,
                                 .fallback_to_reference = options.fallback_to_reference});
    Tensor logits(DType::kF32, Shape{options.batch, model().classes()});
    session().run(images_, logits);
    row_["first_inference_ms"] =
        std::chrono::duration<double, std::milli>(Clock::now() - began).count();
    if (!expected_.empty()) check_parity(logits);
    row_["plan"] = plan_json(session().plan());
  }

  backends::Session& session() { return session_.front(); }
  const integer::Model& model() const { return session_.front().model(); }
  nlohmann::json& row() { return row_; }
  bool differs() const {
    const nlohmann::json& parity = row_.at("parity_identical");
    return parity.is_number() && parity.get<double>() < 1.0;
  }

  void add_memory() {
    const ProcessMemory memory = process_memory();
    row_["peak_memory_bytes"] = memory.peak_bytes - startup_memory();
    row_["resident_memory_bytes"] = memory.resident_bytes - startup_memory();
  }

  void add_latency(const Latency& latency, const MachineState& before, const MachineState& after) {
    row_["runs"] = latency.runs;
    row_["latency_ms_p50"] = number_or_null(latency.p50_ms);
    row_["latency_ms_p90"] = number_or_null(latency.p90_ms);
    row_["latency_ms_p99"] = number_or_null(latency.p99_ms);
    const nlohmann::json state = machine_state_json(before, after);
    row_.update(state);
    const auto cores = static_cast<int>(std::thread::hardware_concurrency());
    row_["noisy"] = is_noisy(latency.p50_ms, latency.p90_ms, share_of_others(before, after, cores));
  }

  /// --per-layer: the row's "layers" and "peaks". @return their tables.
  std::string add_layers() {
    static const kernels::MachinePeaks peaks = kernels::measure_peaks();
    constexpr double kProfiledMs = 2000.0;
    const double p50_ms = row_.at("latency_ms_p50").get<double>();
    const auto runs = static_cast<std::int64_t>(std::clamp(kProfiledMs / p50_ms, 4.0, 20.0));
    const SessionProfile profile = profile_session(model(), session(), images_, runs);
    row_["layers"] = layers_json(profile, peaks);
    row_["peaks"] = peaks_json(peaks);
    return cat(layer_table(profile, peaks), "\n", kind_table(profile, peaks), "\n");
  }

  std::vector<std::string> cells() const {
    return {wanted_.path.string(),
            row_.at("method").get<std::string>(),
            label_,
            fixed(row_.at("latency_ms_p50").get<double>(), 4),
            fixed(row_.at("latency_ms_p90").get<double>(), 4),
            bytes_text(row_.at("size_bytes").get<std::int64_t>()),
            bytes_text(row_.at("peak_memory_bytes").get<std::int64_t>()),
            row_.at("noisy").get<bool>() ? "noisy" : ""};
  }

 private:
  /// Of the first image; the reference executor is too slow for a batch of a large network.
  Tensor reference_logits(const integer::Model& model) const {
    Tensor logits(DType::kF32, Shape{1, model.classes()});
    backends::Session reference(model, {.backend = "reference"});
    reference.run(first_image(), logits);
    return logits;
  }
  ConstTensorView first_image() const {
    return {images_.dtype(), images_.shape().with_batch(1), images_.raw()};
  }
  void check_parity(const Tensor& logits) {
    const ConstTensorView first(DType::kF32, expected_.shape(), logits.raw());
    row_["parity_identical"] = identical_rows(first, expected_);
    row_["largest_difference"] = largest_difference(first, expected_);
    row_["parity_checked"] = "logits of 1 random image, whole network, bit for bit";
  }

  BenchedModel wanted_;
  ModelBenchOptions options_;
  nlohmann::json row_;
  std::string label_;
  bool exact_ = false;
  Tensor images_;
  Tensor expected_;
  std::vector<backends::Session> session_;  ///< one; made last
};

/// The row's keys of kAlone from a process that runs this one model.
void add_from_child(const BenchedModel& model, const ModelBenchOptions& options,
                    nlohmann::json& row) {
  std::vector<std::string> words = {"bench",
                                    "--model",
                                    model.path.string(),
                                    "--runs",
                                    "2",
                                    "--backend",
                                    model.backend,
                                    "--batch",
                                    cat(options.batch),
                                    cat("--threads=", threads()),
                                    cat("--isa=", row.at("isa").get<std::string>())};
  if (options.fallback_to_reference) words.insert(words.end(), {"--fallback", "reference"});
  const nlohmann::json alone = run_for_rows(own_program(), words).rows.at(0);
  for (const char* key : kAlone) row[key] = alone.at(key);
}

std::vector<std::string> backends_of(const Arguments& arguments, std::size_t models) {
  std::vector<std::string> words;
  const std::string text = arguments.value("backend", "onednn");
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    words.push_back(text.substr(begin, comma - begin));
    require_backend(words.back());
    begin = comma + 1;
  }
  if (words.size() == 1) words.resize(models, words.front());
  if (words.size() == models) return words;
  throw ConfigError({"--backend", cat("one for all, or one for each of ", models, " models"),
                     cat(words.size()), ""});
}

std::vector<BenchedModel> models_of_files(const Arguments& arguments) {
  for (const char* name : {"method"}) {
    if (!arguments.has(name)) continue;
    throw ConfigError({"--method", "--network beside it", arguments.value(name),
                       "a model file has the method that made it"});
  }
  const std::vector<std::string> paths = split_files(arguments.options.at("model"));
  if (paths.empty()) throw ConfigError({"--model", "at least one file", "none", ""});
  const std::vector<std::string> backends = backends_of(arguments, paths.size());
  std::vector<BenchedModel> models;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    require_profile(load_model_file(paths[i]), arguments.override_value("profile"));
    models.push_back({.path = paths[i], .method = "", .backend = backends[i]});
  }
  return models;
}

std::vector<BenchedModel> models_of_network(const Arguments& arguments,
                                            const ScratchFolder& folder) {
  if (arguments.has("backend")) {
    throw ConfigError({"--backend", "no --network beside it", arguments.value("backend"),
                       "give the methods: bf16 is one of them"});
  }
  const NetworkModels network(arguments.value("network"), folder.path());
  std::vector<BenchedModel> models;
  for (const std::string& method :
       listed_words("--method", arguments.value("method", "ptq-static"), bench_method_words())) {
    models.push_back(network.model(method, arguments.override_value("profile")));
  }
  return models;
}

}  // namespace

std::vector<nlohmann::json> bench_models(const std::vector<BenchedModel>& models,
                                         const ModelBenchOptions& options, const Tell& tell) {
  std::vector<Bench> benches;
  benches.reserve(models.size());
  for (const BenchedModel& model : models) benches.emplace_back(model, options);
  if (models.size() == 1 && !options.parity) benches.front().add_memory();

  std::vector<TimedModel> timed;
  for (Bench& bench : benches) timed.push_back({&bench.model(), &bench.session()});
  const MachineState before = machine_state();
  const std::vector<Latency> latencies = measure_latency(timed, options.batch, options.timing);
  const MachineState after = machine_state();

  std::vector<nlohmann::json> rows;
  TextTable table{{"model", "method", "bits", "p50 ms", "p90 ms", "size", "peak memory", ""}, {}};
  for (std::size_t i = 0; i < benches.size(); ++i) {
    Bench& bench = benches[i];
    bench.add_latency(latencies[i], before, after);
    tell(cat(models[i].path.string(), "\n", plan_table(bench.session().plan()), "\n"));
    if (options.per_layer) tell(bench.add_layers());
  }
  // Children last, so that they do not run beside what is timed.
  for (std::size_t i = 0; i < benches.size(); ++i) {
    if (models.size() > 1 || options.parity) {
      add_from_child(models[i], options, benches[i].row());
    }
    table.rows.push_back(benches[i].cells());
    rows.push_back(benches[i].row());
  }
  tell(format_table(table));
  return rows;
}

const std::vector<OptionSpec>& model_bench_options() {
  static const std::vector<OptionSpec> options = {
      {"model", "FILE[,FILE]", "exported models"},
      {"seconds", "S", "stop a model's runs after S seconds of its own, before --runs"},
      {"parity", "", "compare one image's logits with the reference executor's"},
      {"tune", "",
       "first measure what runs each layer fastest, with this batch, threads and ISA, and store "
       "that in the model's file"},
      {"csv", "FILE", "also write the rows as a table of commas; - is stdout"},
      {"benchmark-json", "FILE", "also write them as Google Benchmark does"}};
  return options;
}

int run_model_bench(const Arguments& arguments) {
  prepare_machine(arguments);
  ModelBenchOptions options{.batch = arguments.integer("batch", 1, kMostBatch, 1),
                            .timing = {},
                            .fallback_to_reference = fallback_option(arguments),
                            .per_layer = arguments.has("per-layer"),
                            .parity = arguments.has("parity")};
  const bool timed = arguments.has("seconds");
  options.timing.runs = arguments.integer("runs", 1, kMostRuns, timed ? 50 : 200);
  if (timed) {
    options.timing.most_seconds =
        static_cast<double>(arguments.integer("seconds", 1, kMostSeconds, 10));
    options.timing.least_seconds = 1.0;
  }
  const ScratchFolder folder;
  const std::vector<BenchedModel> models =
      arguments.has("network") ? models_of_network(arguments, folder) : models_of_files(arguments);
  if (arguments.has("tune")) {
    for (const BenchedModel& model : models) say(arguments, tune_file(model, options.batch));
  }
  const std::vector<nlohmann::json> rows =
      bench_models(models, options, [&](const std::string& text) { say(arguments, text); });
  say(arguments, cat(rows.front().at("runs").get<std::int64_t>(), " runs each, in turns, batch ",
                     options.batch, ", ", threads(), threads() == 1 ? " thread\n" : " threads\n"));
  write_json_option(arguments, rows);
  write_other_formats(arguments, rows);
  const bool differs = std::any_of(rows.begin(), rows.end(), [](const nlohmann::json& row) {
    const nlohmann::json& parity = row.at("parity_identical");
    return parity.is_number() && parity.get<double>() < 1.0;
  });
  return differs ? kExitCheckFailed : kExitDone;
}

}  // namespace bitloom::tools
