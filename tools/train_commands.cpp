// train, quantize, export: thin programs over bitloom/trainers/commands.h.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "global_options.h"
#include "model_file.h"
#include "progress.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;

/// `wanted` with what training resolves when a run starts: the profile, widths that it chose, and
/// the recipe of a qat that starts from a checkpoint.
trainers::Config as_resolved(trainers::Config wanted, const trainers::Config& stored) {
  if (wanted.profile.empty()) wanted.profile = stored.profile;
  if (wanted.quant.bits == "auto" && !stored.quant.layer_bits.empty()) {
    wanted.quant.bits = stored.quant.bits;
    wanted.quant.layer_bits = stored.quant.layer_bits;
  }
  const bool short_recipe = stored.quant.method == "qat" &&
                            stored.train.epochs == wanted.train.qat_epochs &&
                            stored.train.lr == wanted.train.qat_lr;
  if (short_recipe) {
    wanted.train.epochs = stored.train.epochs;
    wanted.train.lr = stored.train.lr;
  }
  return wanted;
}

/// What a resumed run may change: the machine it runs on, which training answers with a warning.
bool may_differ(const std::string& difference) {
  return difference.starts_with("threads:") || difference.starts_with("pin_threads:") ||
         difference.starts_with("isa:") || difference.starts_with("train.precision:");
}

/// Configuration of a run to continue: the checkpoint's. Asking for another one is an error, as it
/// would be ignored otherwise.
trainers::Config resumed_config(const Arguments& arguments, const fs::path& folder) {
  const trainers::Config stored =
      trainers::summarize_checkpoint(trainers::checkpoint_to_resume(folder)).config;
  const std::string file = arguments.value("config");
  const trainers::Config wanted =
      as_resolved(file.empty() ? trainers::with_overrides(stored, arguments.overrides)
                               : trainers::load_config(file, arguments.overrides),
                  stored);
  std::string changed;
  for (const std::string& difference : trainers::config_differences(stored, wanted)) {
    if (!may_differ(difference)) changed += (changed.empty() ? "" : ", ") + difference;
  }
  if (!changed.empty()) {
    throw ConfigError({"--resume " + folder.string(), "the configuration of its checkpoint",
                       changed, "leave --config and the keys out, or start a new run with --init"});
  }
  return wanted;
}

fs::path run_folder(const Arguments& arguments) {
  const fs::path out = arguments.value("out");
  const fs::path resume = arguments.value("resume");
  if (!resume.empty()) {
    if (!out.empty() && fs::weakly_canonical(out) != fs::weakly_canonical(resume)) {
      throw ConfigError({"--out", cat("the folder of --resume, ", resume.string()), out.string(),
                         "leave --out out: a resumed run goes on in its own folder"});
    }
    if (arguments.has("init")) {
      throw ConfigError({"--init", "nothing beside --resume", arguments.value("init"),
                         "a resumed run has its weights already"});
    }
    return resume;
  }
  if (out.empty() || arguments.value("config").empty()) {
    throw ConfigError({"bitloom train", "--config F and --out DIR, or --resume DIR", "neither",
                       "bitloom train --help shows an example"});
  }
  if (fs::exists(out / "checkpoint.h5")) {
    throw ConfigError(
        {"--out " + out.string(), "a folder without a run", "checkpoint.h5",
         cat("continue it with --resume ", out.string(), " or choose another folder")});
  }
  return out;
}

}  // namespace

int run_train(const Arguments& arguments) {
  trainers::TrainRequest request;
  request.out = run_folder(arguments);
  request.resume = arguments.has("resume");
  request.init = arguments.value("init");
  request.config = request.resume
                       ? resumed_config(arguments, request.out)
                       : trainers::load_config(arguments.value("config"), arguments.overrides);
  request.precision = request.config.train.precision;
  prepare_machine(request.config);
  say(arguments, trainers::to_ini(request.config) + "\n");
  catch_interrupts();
  Progress progress(request.config.quant.method, arguments.has("quiet"));
  request.watcher = [&](const trainers::StepReport& report) { progress.watch(report); };
  const trainers::TrainResult result = trainers::train(request);

  say(arguments, cat(result.interrupted ? "stopped" : "done", ": ", result.checkpoint.string(),
                     ", validation top-1 ", fixed(result.validation_top1, 2), " %, ",
                     fixed(result.minutes, 2), " minutes\n"));
  write_json_option(arguments, {{{"checkpoint", result.checkpoint.string()},
                                 {"method", request.config.quant.method},
                                 {"validation_top1", number_or_null(result.validation_top1)},
                                 {"epochs", result.epochs},
                                 {"minutes", result.minutes},
                                 {"interrupted", result.interrupted},
                                 {"config_hash", trainers::config_hash(request.config)}}});
  if (!result.interrupted) return kExitDone;
  log_warning(cat("interrupted; continue with: bitloom train --resume ", request.out.string()));
  return kExitInterrupted;
}

int run_quantize(const Arguments& arguments) {
  const std::string method = arguments.value("method");
  if (!method.starts_with("ptq-")) {
    throw ConfigError(
        {"--method",
         "a method of post-training quantization: ptq-static, ptq-dynamic or ptq-weight-only",
         cat("'", method, "'"), "train with --quant.method for qat"});
  }
  std::vector<std::string> overrides = arguments.overrides;
  overrides.push_back("quant.method=" + method);
  trainers::QuantizeRequest request;
  request.checkpoint = arguments.value("checkpoint");
  request.out = arguments.value("out");
  request.config = trainers::with_overrides(
      trainers::summarize_checkpoint(request.checkpoint).config, overrides);
  prepare_machine(request.config);
  trainers::quantize(request);
  say(arguments, cat("wrote ", request.out.string(), "\n"));
  write_json_option(arguments,
                    {{{"checkpoint", request.out.string()},
                      {"method", method},
                      {"weight_bits", request.config.quant.weight_bits},
                      {"activation_bits", quant::computed_activation_bits(request.config.quant)},
                      {"config_hash", trainers::config_hash(request.config)}}});
  return kExitDone;
}

int run_export(const Arguments& arguments) {
  prepare_machine(arguments);
  trainers::ExportRequest request;
  request.checkpoint = arguments.value("checkpoint");
  request.profile = arguments.value("profile");
  request.out = arguments.value("out");
  trainers::export_model(request);
  const ModelFile file = load_model_file(request.out);
  say(arguments, cat("wrote ", request.out.string(), ": ", file.model.network, " ",
                     file.model.method, " ", file.model.weights_label, ", profile ",
                     file.model.profile.empty() ? "-" : file.model.profile, ", ",
                     bytes_text(file.size_bytes), "\n"));
  write_json_option(arguments, {model_row(file, "")});
  return kExitDone;
}

}  // namespace bitloom::tools
