#include "bench_suite.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/core/parallel.h"
#include "bitloom/io/json_rows.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/models/networks.h"
#include "bitloom/trainers/config_keys.h"
#include "child_process.h"
#include "child_rows.h"
#include "global_options.h"
#include "model_file.h"
#include "network_models.h"
#include "report_devices.h"
#include "row_formats.h"
#include "step_progress.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kDefaultMethods = "float,bf16,ptq-dynamic,ptq-static,ptq-weight-only,qat";

/// How long a network takes, in no unit: what is about the same for all, and its weights.
double cost_of(const std::string& network) {
  constexpr double kRest = 30e6;
  double weights = 0.0;
  const layers::Graph graph = models::build_network(network, models::native_shape(network));
  for (const layers::Node& node : graph.nodes()) {
    if (node.op == "parameter") weights += static_cast<double>(node.shape("shape").elements());
  }
  return kRest + weights;
}

/// The methods of one network that one cap can run, and rows that say why it cannot run others.
struct Contenders {
  std::vector<BenchedModel> models;
  std::vector<Json> reasons;
  bool qat = false;
};

class Suite {
 public:
  explicit Suite(const Arguments& arguments)
      : arguments_(arguments),
        out_(arguments.value("out")),
        name_(arguments.value("suite")),
        networks_(suite_networks(name_)),
        methods_(listed_words("--methods", arguments.value("methods", kDefaultMethods),
                              bench_method_words())),
        isas_(suite_isas(arguments.override_value("isa"))),
        batch_(arguments.integer("batch", 1, 65'536, 1)),
        runs_(arguments.integer("runs", 1, 1'000'000, 50)),
        seconds_(arguments.integer("seconds", 1, 3600, 10)) {
    if (arguments.value("out").empty()) {
      throw ConfigError({"bitloom bench --suite", "--out DIR", "none", "name a new folder"});
    }
  }

  int run();

 private:
  void run_network(const std::string& network, StepProgress& progress);
  Contenders contenders(const std::string& network, Isa isa, const NetworkModels& files) const;
  /// False after Ctrl-C.
  bool measure(const std::string& network, Isa isa, const Contenders& contenders);
  Json reason_row(const std::string& network, Isa isa, const std::string& method,
                  const std::string& reason) const;
  void add(Json row);
  int report();

  const Arguments& arguments_;
  fs::path out_;
  std::string name_;
  std::vector<std::string> networks_;
  std::vector<std::string> methods_;
  std::vector<Isa> isas_;
  std::int64_t batch_, runs_, seconds_;
  std::vector<Json> rows_;
  bool interrupted_ = false;
  bool failed_ = false;
};

Json Suite::reason_row(const std::string& network, Isa isa, const std::string& method,
                       const std::string& reason) const {
  Json row = machine_row();
  row["isa"] = to_word(isa);
  row["network"] = network;
  row["method"] = method;
  row["batch"] = batch_;
  row["latency_ms_p50"] = nullptr;
  row["reason"] = reason;
  return row;
}

void Suite::add(Json row) {
  row["suite"] = name_;
  rows_.push_back(std::move(row));
}

Contenders Suite::contenders(const std::string& network, Isa isa,
                             const NetworkModels& files) const {
  const std::string profile = has_exact_u8s8(isa) ? "int8" : "int8-reduced";
  Contenders found;
  for (const std::string& method : methods_) {
    if (isa > detected_isa()) {
      found.reasons.push_back(
          reason_row(network, isa, method, cat("this CPU has no ", to_word(isa))));
    } else if (method == "bf16" && !has_bf16(isa)) {
      found.reasons.push_back(
          reason_row(network, isa, method, cat("no bf16 instructions under ", to_word(isa))));
    } else if (method == "qat") {
      found.qat = true;
    } else {
      found.models.push_back(files.model(method, profile));
    }
  }
  return found;
}

bool Suite::measure(const std::string& network, Isa isa, const Contenders& contenders) {
  std::vector<std::string> words = {"bench", "--parity", "--per-layer"};
  std::string backends;
  for (const BenchedModel& model : contenders.models) {
    words.insert(words.end(), {"--model", model.path.string()});
    backends += (backends.empty() ? "" : ",") + model.backend;
  }
  words.insert(words.end(),
               {"--backend", backends, "--batch", cat(batch_), "--runs", cat(runs_), "--seconds",
                cat(seconds_), cat("--isa=", to_word(isa)), cat("--threads=", threads())});
  ChildRows result;
  try {
    result = run_for_rows(own_program(), words);
  } catch (const BackendError& error) {
    failed_ = true;
    for (const BenchedModel& model : contenders.models) {
      add(reason_row(network, isa, model.method, error.what()));
    }
    return true;
  }
  if (result.interrupted) return false;
  failed_ = failed_ || result.exit_code != kExitDone;
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    Json& row = result.rows[i];
    row["method"] = contenders.models.at(i).method;
    row.erase("model");  // a file that is gone
    const bool repeated = contenders.qat && row["method"] == "ptq-static";
    add(row);
    if (!repeated) continue;
    for (const char* key : {"layers", "plan", "peaks"}) row.erase(key);
    row["method"] = "qat";
    row["same_as"] = "ptq-static";
    add(row);
  }
  return true;
}

void Suite::run_network(const std::string& network, StepProgress& progress) {
  const double cost = cost_of(network);
  const ScratchFolder folder;
  const NetworkModels files(network, folder.path());
  const double share = cost / static_cast<double>(isas_.size() + 1);
  std::vector<Contenders> all;
  progress.step(cat(network, ": making its models"), share);
  for (const Isa isa : isas_) all.push_back(contenders(network, isa, files));
  for (std::size_t i = 0; i < isas_.size() && !interrupted_; ++i) {
    progress.step(cat(network, ", ", to_word(isas_[i])), share);
    for (const Json& row : all[i].reasons) add(row);
    if (all[i].models.empty()) continue;
    interrupted_ = !measure(network, isas_[i], all[i]) || interrupted();
  }
}

int Suite::report() {
  write_json_option(arguments_, rows_);
  write_other_formats(arguments_, rows_);
  io::write_whole_file(out_ / "report.html", devices_html(rows_));
  say(arguments_, devices_text(rows_));
  say(arguments_, cat("rows:   ", (out_ / "rows.jsonl").string(),
                      "\nreport: ", (out_ / "report.html").string(), "\n"));
  return interrupted_ ? kExitInterrupted : failed_ ? kExitCheckFailed : kExitDone;
}

int Suite::run() {
  if (fs::exists(out_ / "rows.jsonl")) {
    throw ConfigError({"--out " + out_.string(), "a folder without rows.jsonl", "one with it",
                       "choose another folder: rows of two runs do not mix"});
  }
  fs::create_directories(out_);
  double cost = 0.0;
  for (const std::string& network : networks_) cost += cost_of(network);
  StepProgress progress(cost, arguments_.has("quiet"));
  for (const std::string& network : networks_) {
    if (interrupted_) break;
    run_network(network, progress);
    io::write_whole_file(out_ / "rows.jsonl", io::json_lines(rows_));
  }
  progress.end();
  if (interrupted_) log_warning("interrupted; the rows so far are whole");
  return report();
}

}  // namespace

const std::vector<std::string>& seven_networks() {
  static const std::vector<std::string> networks = {
      "mobilenet_v1", "inception_v3", "resnet50", "resnet101", "resnet152", "vgg16", "vgg19"};
  return networks;
}

std::vector<std::string> suite_networks(const std::string& text) {
  if (text == "seven") return seven_networks();
  return listed_words("--suite seven, or --suite", text, models::network_names());
}

std::vector<Isa> suite_isas(const std::string& text) {
  if (text.empty()) return {effective_isa()};
  std::vector<Isa> isas;
  for (const std::string& word : listed_words("--isa", text, isa_words())) {
    isas.push_back(isa_from_word(word));
  }
  return isas;
}

const std::vector<OptionSpec>& suite_options() {
  static const std::vector<OptionSpec> options = {
      {"suite", "S", "seven, or N,N: names of networks", false, {"seven"}},
      {"out", "DIR", "of --suite: folder for rows.jsonl and report.html"},
      {"methods", "M,M", "of --suite: float, bf16, ptq-dynamic, ptq-static, ptq-weight-only, qat"}};
  return options;
}

int run_suite(const Arguments& arguments) {
  std::vector<std::string> overrides;  // caps are the children's
  for (const std::string& each : arguments.overrides) {
    if (!each.starts_with("isa=")) overrides.push_back(each);
  }
  trainers::Config config = trainers::with_overrides(trainers::Config(), overrides);
  config.pin_threads = false;  // the children's too: a binding is inherited
  prepare_machine(config);
  catch_interrupts();
  return Suite(arguments).run();
}

}  // namespace bitloom::tools
