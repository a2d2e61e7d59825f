// eval and bench: exported models on a backend.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "backend_options.h"
#include "bench_layer.h"
#include "bench_training.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/trainers/config_keys.h"
#include "child_process.h"
#include "child_rows.h"
#include "command.h"
#include "evaluate.h"
#include "global_options.h"
#include "measure.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

constexpr std::int64_t kMostBatch = 65'536;

void save_logits(const std::filesystem::path& path, const Evaluation& evaluation) {
  Archive archive("bitloom.logits", 1);
  archive.put("logits", evaluation.logits.clone(), "NC", "1");
  io::save_archive(path, archive);
}

std::vector<std::string> model_files(const Arguments& arguments) {
  if (!arguments.has("model")) {
    throw ConfigError({"bitloom bench", "--model FILE, --layer L, or --training --network N",
                       "none of them", "bitloom bench --help shows an example"});
  }
  std::vector<std::string> paths = split_files(arguments.options.at("model"));
  if (paths.empty()) throw ConfigError({"--model", "at least one file", "none", ""});
  return paths;
}

/// @throws ConfigError for what means nothing to exported models.
void require_no_training_options(const Arguments& arguments) {
  std::string found;
  for (const OptionSpec& option : training_bench_options()) {
    if (arguments.has(option.name)) found += cat(found.empty() ? "--" : ", --", option.name);
  }
  for (const std::string& override : arguments.overrides) {
    const bool sectioned = override.find('.') < override.find('=');
    if (sectioned) found += cat(found.empty() ? "--" : ", --", override);
  }
  if (found.empty()) return;
  throw ConfigError({"bitloom bench", "--training beside them", found,
                     "leave them out: they would change nothing in exported models and layers"});
}

/// Peak memory of one model alone: the highest use of a process that loads, plans and runs it,
/// above what the process used when it started.
nlohmann::json peak_memory_in_child(const Arguments& arguments, const std::string& model) {
  std::vector<std::string> words = {"bench",
                                    "--model",
                                    model,
                                    "--runs",
                                    "10",
                                    "--backend",
                                    backend_option(arguments),
                                    "--batch",
                                    arguments.value("batch", "1"),
                                    cat("--threads=", threads())};
  if (fallback_option(arguments)) words.insert(words.end(), {"--fallback", "reference"});
  const std::string isa = arguments.override_value("isa");
  if (!isa.empty()) words.push_back("--isa=" + isa);
  return run_for_rows(own_program(), words).rows.at(0).at("peak_memory_bytes");
}

}  // namespace

int run_eval(const Arguments& arguments) {
  const ModelFile file = load_model_file(arguments.value("model"));
  require_profile(file, arguments.override_value("profile"));
  const trainers::Config config = trainers::with_overrides(file.config, arguments.overrides);
  prepare_machine(arguments);
  const EvaluateOptions options{.backend = backend_option(arguments),
                                .batch = arguments.integer("batch", 1, kMostBatch, 100),
                                .parity = arguments.has("parity"),
                                .fallback_to_reference = fallback_option(arguments)};
  const Evaluation evaluation = evaluate(file.model, datasets::load_test_set(config.data), options);
  if (arguments.has("logits")) save_logits(arguments.value("logits"), evaluation);

  nlohmann::json row = model_row(file, options.backend);
  row["batch"] = options.batch;
  row["images"] = evaluation.images;
  row["top1"] = evaluation.top1;
  // Sums of reals have no one right order, so their bits are not asked for.
  const bool exact = multiplies_integers(file.model);
  if (evaluation.parity && exact) row["parity_identical"] = *evaluation.parity;
  if (evaluation.largest_difference) row["largest_difference"] = *evaluation.largest_difference;
  row["plan"] = plan_json(evaluation.plan);
  write_json_option(arguments, {row});
  say(arguments, plan_table(evaluation.plan));
  say(arguments, cat("top-1 ", fixed(evaluation.top1, 2), " % of ", evaluation.images,
                     " images on ", options.backend, "\n"));
  if (!arguments.has("parity")) return kExitDone;
  if (!exact) {
    say(arguments, cat("largest difference: ", *evaluation.largest_difference,
                       " from the reference's logits; sums of reals have no one right order\n"));
    return kExitDone;
  }
  say(arguments, cat("parity: ", fixed(100.0 * *evaluation.parity, 2),
                     " % of the images have the reference's logits bit for bit\n"));
  return *evaluation.parity < 1.0 ? kExitCheckFailed : kExitDone;
}

int run_bench(const Arguments& arguments) {
  if (arguments.has("training")) return run_training_bench(arguments);
  require_no_training_options(arguments);
  if (arguments.has("layer")) return run_layer_bench(arguments);
  if (arguments.has("kernel")) {
    throw ConfigError({"--kernel", "--layer beside it", arguments.value("kernel"),
                       "the kernels of an exported model are those of its layers"});
  }
  prepare_machine(arguments);
  const std::string backend = backend_option(arguments);
  const std::int64_t batch = arguments.integer("batch", 1, kMostBatch, 1);
  const std::int64_t runs = arguments.integer("runs", 1, 1'000'000, 200);
  const std::vector<std::string> paths = model_files(arguments);

  std::vector<ModelFile> files;
  for (const std::string& path : paths) {
    files.push_back(load_model_file(path));
    require_profile(files.back(), arguments.override_value("profile"));
  }
  std::vector<backends::Session> sessions;
  for (const ModelFile& file : files) {
    sessions.emplace_back(
        file.model, backends::SessionOptions{.backend = backend,
                                             .batch = batch,
                                             .fallback_to_reference = fallback_option(arguments)});
  }
  std::vector<TimedModel> timed;
  for (std::size_t i = 0; i < files.size(); ++i) timed.push_back({&files[i].model, &sessions[i]});
  const std::vector<Latency> latencies = measure_latency(timed, batch, runs);

  std::vector<nlohmann::json> rows;
  TextTable table{{"model", "method", "bits", "p50 ms", "p90 ms", "size", "peak memory"}, {}};
  for (std::size_t i = 0; i < files.size(); ++i) {
    const nlohmann::json peak = files.size() == 1
                                    ? nlohmann::json(process_memory().peak_bytes - startup_memory())
                                    : peak_memory_in_child(arguments, paths[i]);
    nlohmann::json row = model_row(files[i], backend);
    row["model"] = paths[i];
    row["batch"] = batch;
    row["runs"] = runs;
    row["latency_ms_p50"] = number_or_null(latencies[i].p50_ms);
    row["latency_ms_p90"] = number_or_null(latencies[i].p90_ms);
    row["peak_memory_bytes"] = peak;
    row["plan"] = plan_json(sessions[i].plan());
    say(arguments, cat(paths[i], "\n", plan_table(sessions[i].plan()), "\n"));
    table.rows.push_back({paths[i], files[i].model.method, files[i].model.weights_label,
                          fixed(latencies[i].p50_ms, 4), fixed(latencies[i].p90_ms, 4),
                          bytes_text(files[i].size_bytes), bytes_text(peak.get<std::int64_t>())});
    rows.push_back(std::move(row));
  }
  say(arguments, format_table(table));
  say(arguments, cat(runs, " runs each, in turns, ", backend, ", batch ", batch, ", ", threads(),
                     threads() == 1 ? " thread\n" : " threads\n"));
  write_json_option(arguments, rows);
  return kExitDone;
}

}  // namespace bitloom::tools
