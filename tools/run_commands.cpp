// eval and bench: exported models on a backend.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "backend_options.h"
#include "bench_layer.h"
#include "bench_models.h"
#include "bench_suite.h"
#include "bench_training.h"
#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "evaluate.h"
#include "global_options.h"
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

/// @throws ConfigError for what means nothing to exported models.
void require_no_training_options(const Arguments& arguments) {
  std::string found;
  for (const OptionSpec& option : training_bench_options()) {
    const bool shared = option.name == "network" || option.name == "method";
    if (arguments.has(option.name) && !(shared && !arguments.has("layer")))
      found += cat(found.empty() ? "--" : ", --", option.name);
  }
  for (const std::string& override : arguments.overrides) {
    const bool sectioned = override.find('.') < override.find('=');
    if (sectioned) found += cat(found.empty() ? "--" : ", --", override);
  }
  if (found.empty()) return;
  throw ConfigError({"bitloom bench", "--training beside them", found,
                     "leave them out: they would change nothing in exported models and layers"});
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
  std::optional<double> validation;
  if (arguments.has("validation")) {
    EvaluateOptions only_run = options;
    only_run.parity = false;
    validation =
        evaluate(file.model, datasets::load_dataset(config.data).validation, only_run).top1;
  }
  if (arguments.has("logits")) save_logits(arguments.value("logits"), evaluation);

  nlohmann::json row = model_row(file, options.backend);
  row["batch"] = options.batch;
  row["images"] = evaluation.images;
  row["top1"] = evaluation.top1;
  if (validation) row["validation_top1"] = *validation;
  // Sums of reals have no one right order, so their bits are not asked for.
  const bool exact = multiplies_integers(file.model);
  if (evaluation.parity && exact) row["parity_identical"] = *evaluation.parity;
  if (evaluation.largest_difference) row["largest_difference"] = *evaluation.largest_difference;
  row["plan"] = plan_json(evaluation.plan);
  write_json_option(arguments, {row});
  say(arguments, plan_table(evaluation.plan));
  say(arguments, cat("top-1 ", fixed(evaluation.top1, 2), " % of ", evaluation.images,
                     " images on ", options.backend, "\n"));
  if (validation) say(arguments, cat("validation top-1 ", fixed(*validation, 2), " %\n"));
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
  if (arguments.has("suite")) return run_suite(arguments);
  if (arguments.has("model") == arguments.has("network")) {
    throw ConfigError({"bitloom bench",
                       "one of --model FILE, --network N, --suite S, --layer L and --training",
                       arguments.has("model") ? "--model and --network" : "none of them",
                       "bitloom bench --help shows examples"});
  }
  return run_model_bench(arguments);
}

}  // namespace bitloom::tools
