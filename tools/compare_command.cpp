// compare: trains, quantizes, exports, evaluates and times what [compare] lists, and reports it.
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/core/parallel.h"
#include "bitloom/integer/profile.h"
#include "bitloom/io/json_rows.h"
#include "bitloom/io/sha256.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/commands.h"
#include "child_process.h"
#include "child_rows.h"
#include "command.h"
#include "compare.h"
#include "global_options.h"
#include "model_file.h"
#include "progress.h"
#include "report.h"
#include "report_files.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;

/// One comparison on its way through the steps.
class Comparison {
 public:
  Comparison(const Arguments& arguments, trainers::Config config)
      : arguments_(arguments), config_(std::move(config)), out_(arguments.value("out")) {}

  int run();

 private:
  /// Makes checkpoint and model of a run. @return false if it was interrupted.
  bool make(const PlannedRun& run);
  bool train(const PlannedRun& run, RunRecord& record);
  /// The float run is the checkpoint of --init. @throws ConfigError if it is of another kind.
  void take_trained(const PlannedRun& run, RunRecord& record);
  /// Configuration and --init in one word: what makes a finished run fit to be reused.
  std::string record_hash(const PlannedRun& run) const;
  nlohmann::json evaluate(const PlannedRun& run);
  std::vector<std::string> machine_words() const;
  void add_latencies(std::vector<nlohmann::json>& rows);
  int report(const std::vector<nlohmann::json>& rows);

  fs::path folder(const PlannedRun& run) const { return out_ / run.name; }
  fs::path checkpoint(const PlannedRun& run) const { return folder(run) / "checkpoint.h5"; }
  fs::path model(const PlannedRun& run) const { return folder(run) / "model.h5"; }
  void tell(const std::string& text) const { say(arguments_, text + "\n"); }

  const Arguments& arguments_;
  trainers::Config config_;
  fs::path out_;
  std::vector<PlannedRun> runs_;
  bool interrupted_ = false;
};

bool Comparison::train(const PlannedRun& run, RunRecord& record) {
  trainers::TrainRequest request;
  request.config = run.config;
  request.out = folder(run);
  request.resume = fs::exists(checkpoint(run));  // left by an interrupted comparison
  if (!request.resume && !run.start.empty()) request.init = out_ / run.start / "checkpoint.h5";
  Progress progress(run.title, arguments_.has("quiet"));
  request.watcher = [&](const trainers::StepReport& step) { progress.watch(step); };
  const trainers::TrainResult result = trainers::train(request);
  record.minutes = result.minutes;  // of the whole run, resumed or not
  return !result.interrupted;
}

std::string Comparison::record_hash(const PlannedRun& run) const {
  const std::string hash = trainers::config_hash(run.config);
  if (!arguments_.has("init")) return hash;
  return cat(hash, "+",
             io::sha256_hex(io::read_whole_file(arguments_.value("init"))).substr(0, 12));
}

void Comparison::take_trained(const PlannedRun& run, RunRecord& record) {
  const fs::path init = arguments_.value("init");
  const trainers::CheckpointSummary summary = trainers::summarize_checkpoint(init);
  if (summary.method != "float" || summary.network != trainers::network_name(run.config)) {
    throw ConfigError({init.string(),
                       cat("a float checkpoint of ", trainers::network_name(run.config)),
                       cat("a ", summary.method, " checkpoint of ", summary.network),
                       "give --init the run that trained the float network, or leave it out"});
  }
  fs::copy_file(init, checkpoint(run), fs::copy_options::overwrite_existing);
  record.minutes = summary.minutes;
}

bool Comparison::make(const PlannedRun& run) {
  const std::string hash = record_hash(run);
  RunRecord record = load_record(folder(run));
  if (!record.config_hash.empty() && record.config_hash != hash) {
    throw ConfigError({folder(run).string(), cat("a run of configuration ", hash),
                       record.config_hash, "choose another --out"});
  }
  if (record.finished) {
    tell(cat(run.title, ": taken from ", folder(run).string()));
    return true;
  }
  tell(cat(run.title, ":"));
  fs::create_directories(folder(run));
  record.config_hash = hash;
  save_record(folder(run), record);
  if (run.config.quant.method.starts_with("ptq-")) {
    const auto began = std::chrono::steady_clock::now();
    trainers::quantize({checkpoint(runs_.front()), run.config, checkpoint(run)});
    record.minutes =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() / 60.0;
  } else if (run.start.empty() && arguments_.has("init")) {
    take_trained(run, record);
  } else if (!train(run, record)) {
    save_record(folder(run), record);
    return false;
  }
  trainers::export_model({checkpoint(run), run.config.profile, model(run)});
  record.finished = true;
  save_record(folder(run), record);
  return true;
}

std::vector<std::string> Comparison::machine_words() const {
  std::vector<std::string> words = {"--backend", config_.compare.backend,
                                    cat("--threads=", threads())};
  if (!config_.isa.empty()) words.push_back("--isa=" + config_.isa);
  return words;
}

nlohmann::json Comparison::evaluate(const PlannedRun& run) {
  std::vector<std::string> words = machine_words();
  // A network taken from --init was trained elsewhere: its own data.path need not stand here.
  words.insert(words.begin(), {"eval", "--parity", "--validation", "--model", model(run).string(),
                               cat("--data.path=", run.config.data.path)});
  const ChildRows result = run_for_rows(own_program(), words);
  interrupted_ = interrupted_ || result.interrupted;
  if (interrupted_) return {};
  nlohmann::json row = result.rows.back();
  row.erase("plan");
  const RunRecord record = load_record(folder(run));
  row["method"] = run.method;
  row["minutes"] = record.minutes;
  row["precision"] = trainers::summarize_checkpoint(checkpoint(run)).precision;
  row["simulation_agreement"] = nullptr;
  if (run.config.quant.method != "float") {
    const bool post_training = run.config.quant.method.starts_with("ptq-");
    const fs::path reference = post_training ? checkpoint(runs_.front()) : fs::path();
    const trainers::QuantizationMeasure measure =
        trainers::measure_quantization(checkpoint(run), reference, run.config);
    row["sqnr_db"] = number_or_null(measure.sqnr_db);
    row["simulation_agreement"] = number_or_null(measure.simulation_agreement);
  }
  return row;
}

void Comparison::add_latencies(std::vector<nlohmann::json>& rows) {
  std::vector<std::string> words = machine_words();
  words.insert(words.begin(), {"bench", "--runs", cat(config_.compare.latency_runs)});
  for (const PlannedRun& run : runs_) words.insert(words.end(), {"--model", model(run).string()});
  const ChildRows result = run_for_rows(own_program(), words);
  interrupted_ = interrupted_ || result.interrupted;
  if (interrupted_) return;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const char* key :
         {"batch", "runs", "latency_ms_p50", "latency_ms_p90", "peak_memory_bytes", "plan"}) {
      rows[i][key] = result.rows.at(i).at(key);
    }
  }
}

int Comparison::report(const std::vector<nlohmann::json>& rows) {
  bool parity_failed = false;
  for (const nlohmann::json& row : rows) {
    const nlohmann::json& parity = row.at("parity_identical");
    parity_failed = parity_failed || (parity.is_number() && parity.get<double>() < 1.0);
  }
  io::write_whole_file(out_ / "rows.jsonl", io::json_lines(rows));
  io::write_whole_file(out_ / "report.html", report_html({.rows = rows,
                                                          .config_ini = trainers::to_ini(config_),
                                                          .epochs = read_epochs(out_, rows),
                                                          .layers = read_layers(out_)}));
  write_json_option(arguments_, rows);
  tell("\n" + report_text(rows));
  tell(cat("rows:   ", (out_ / "rows.jsonl").string(),
           "\nreport: ", (out_ / "report.html").string()));
  if (parity_failed) log_warning("a model's logits differ from the reference executor's");
  return parity_failed ? kExitCheckFailed : kExitDone;
}

int Comparison::run() {
  if (fs::exists(out_) && !fs::is_empty(out_) && !arguments_.has("reuse")) {
    throw ConfigError({"--out " + out_.string(), "an empty or a new folder", "files in it",
                       "choose another folder, or take what is finished with --reuse"});
  }
  runs_ = plan_runs(config_);
  fs::create_directories(out_);
  for (const PlannedRun& run : runs_) {
    if (!make(run) || interrupted()) {
      log_warning(cat("interrupted; continue with the same command and --reuse"));
      return kExitInterrupted;
    }
  }
  std::vector<nlohmann::json> rows;
  std::vector<nlohmann::json> layers;  // of layers.jsonl
  for (const PlannedRun& run : runs_) {
    tell(cat(run.title, ": evaluating"));
    rows.push_back(evaluate(run));
    if (interrupted_ || interrupted()) return kExitInterrupted;
    if (run.config.quant.method == "float") continue;
    layers.push_back(
        layers_row(run.name, run.title, trainers::measure_steps(checkpoint(run), run.config)));
  }
  tell("timing all models side by side");
  add_latencies(rows);
  if (interrupted_ || interrupted()) return kExitInterrupted;
  io::write_whole_file(out_ / "layers.jsonl", io::json_lines(layers));
  return report(rows);
}

}  // namespace

int run_compare(const Arguments& arguments) {
  trainers::Config config = trainers::load_config(arguments.value("config"), arguments.overrides);
  prepare_machine(config);
  if (config.profile.empty()) config.profile = integer::default_profile(effective_isa()).name;
  catch_interrupts();
  return Comparison(arguments, std::move(config)).run();
}

}  // namespace bitloom::tools
