#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "bitloom/core/log.h"
#include "bitloom/io/json_rows.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/kernels/precision.h"
#include "bitloom/quant/code_statistics.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "experiment.h"
#include "probe.h"
#include "stages.h"
#include "width_schedule.h"

namespace bitloom::trainers {
namespace {

static_assert(std::atomic<bool>::is_always_lock_free, "request_stop runs in a signal handler");
std::atomic<bool> stop_requested{false};

// Chooses the widths in `config` where they are quant.bits = auto.
train::Checkpoint fresh_checkpoint(const TrainRequest& request, Config& config,
                                   const Experiment& experiment) {
  train::Checkpoint checkpoint = float_checkpoint(config, experiment);
  if (!request.init.empty()) start_from(checkpoint, config, experiment, request.init);
  require_reachable_size(config, experiment);
  const bool scheduled = config.schedule.kind != "none";
  if (config.quant.method == "qat" && !scheduled) resolve_auto_bits(config, checkpoint, experiment);
  advance_stage(checkpoint, config, experiment);
  checkpoint.config_text = to_ini(config);
  return checkpoint;
}

void warn_if_elsewhere(const train::RunEnvironment& then, const Config& config) {
  const train::RunEnvironment now = train::current_environment(config.train.precision);
  const auto check = [](const char* what, const auto& before, const auto& after) {
    if (before != after) {
      log_warning(cat("resume: ", what, " was ", before, ", is ", after,
                      "; the run will not continue bit for bit"));
    }
  };
  check("isa", then.isa, now.isa);
  check("threads", then.threads, now.threads);
  check("oneDNN", then.onednn_version, now.onednn_version);
  check("precision", then.precision, now.precision);
}

Config resolved(const TrainRequest& request) {
  Config config = request.config;
  if (config.quant.method != "float" && config.quant.method != "qat") {
    throw ConfigError(ErrorText{"quant.method", "float or qat", config.quant.method,
                                "post-training methods are `bitloom quantize`"});
  }
  config.profile = usable_profile(config.profile).name;
  if (!request.init.empty() && config.quant.method == "qat") {
    config.train.epochs = config.train.qat_epochs;
    config.train.lr = config.train.qat_lr;
  }
  require_possible_stages(config, !request.init.empty());
  return config;
}

void refuse_to_overwrite(const std::filesystem::path& checkpoint) {
  if (std::filesystem::exists(checkpoint)) {
    throw ConfigError(ErrorText{checkpoint.string(), "a folder without a checkpoint", "one",
                                "continue it with --resume, or choose another --out"});
  }
}

bool learns_from_a_teacher(const Config& config) {
  return config.quant.method == "qat" && config.quant.distill_weight > 0.0;
}

StepReport report_of(const train::Progress& progress, std::int64_t epochs) {
  const train::Position& position = progress.position;
  return {.epoch = position.epoch,
          .epochs = epochs,
          .step = position.step - 1,
          .steps = progress.steps,
          .loss = position.loss_sum / static_cast<double>(position.step),
          .train_top1 =
              100.0 * static_cast<double>(position.correct) / static_cast<double>(progress.images),
          .images_per_second = progress.images_per_second,
          .epoch_done = progress.epoch_done,
          .validation_top1 = position.validation_top1};
}

}  // namespace

std::filesystem::path checkpoint_to_resume(const std::filesystem::path& folder) {
  std::filesystem::path checkpoint = folder / "checkpoint.h5";
  if (std::filesystem::exists(checkpoint)) return checkpoint;
  const bool inside = std::filesystem::is_regular_file(folder);
  throw ConfigError({cat("--resume ", folder.string()), "a folder with checkpoint.h5",
                     inside ? "a file" : "none",
                     inside ? cat("name its folder: ", folder.parent_path().string())
                            : "name what was --out of the run"});
}

void request_stop() noexcept { stop_requested.store(true); }

TrainResult train(const TrainRequest& request) {
  const std::filesystem::path file = request.out / "checkpoint.h5";
  // A copy, so that the run resumes wherever the teacher's file went.
  const std::filesystem::path teacher_file = request.out / "teacher.h5";
  std::optional<train::Checkpoint> checkpoint;
  Config config;
  if (request.resume) {
    checkpoint.emplace(train::load_checkpoint(checkpoint_to_resume(request.out)));
    config = config_from_ini(checkpoint->config_text, file.string());
    if (!request.precision.empty()) config.train.precision = request.precision;
    warn_if_elsewhere(checkpoint->environment, config);
  } else {
    config = resolved(request);
    refuse_to_overwrite(file);
  }
  const kernels::Precision precision = kernels::usable_precision(config.train.precision);
  const Experiment experiment(config);
  if (request.resume) {
    require_same_network(*checkpoint, config, experiment, file);
    usable_profile(config.profile);
  } else {
    std::optional<train::Checkpoint> source;
    if (learns_from_a_teacher(config)) source = load_teacher(config, experiment, request.init);
    checkpoint.emplace(fresh_checkpoint(request, config, experiment));
    std::filesystem::create_directories(request.out);
    io::write_whole_file(request.out / "config.cfg", checkpoint->config_text);
    if (source) train::save_checkpoint(teacher_file, *source);
  }
  checkpoint->environment = train::current_environment(config.train.precision);

  std::unique_ptr<train::Teacher> teacher;
  if (learns_from_a_teacher(config)) {
    teacher = std::make_unique<train::Teacher>(train::load_trained(teacher_file),
                                               config.train.batch, precision);
  }

  quant::LevelCodes codes = quant::level_codes(checkpoint->graph, checkpoint->parameters);
  const auto on_step = [&](const train::Progress& progress) {
    const StepReport report = report_of(progress, config.train.epochs);
    if (report.epoch_done) {
      quant::LevelCodes now = quant::level_codes(checkpoint->graph, checkpoint->parameters);
      nlohmann::json row{{"epoch", report.epoch + 1},
                         {"loss", report.loss},
                         {"train_top1", report.train_top1},
                         {"validation_top1", report.validation_top1},
                         {"validation_loss", progress.position.validation_loss},
                         {"lr", progress.lr},
                         {"images_per_second", report.images_per_second},
                         {"loader_wait_ms", progress.loader_wait_ms},
                         {"seconds", progress.position.seconds}};
      // Weights of one and two bits whose code is another than an epoch (or the resume) ago.
      if (!now.empty()) row["code_changes"] = quant::changed_share(codes, now);
      codes = std::move(now);
      if (config.schedule.kind != "none") {
        add_widths(*checkpoint, row);
        if (report.epoch + 1 == report.epochs) {
          row["sqnr_db"] = sqnr_of_now_db(*checkpoint, config, experiment);
        }
      }
      io::append_row(request.out / "epochs.jsonl", row);
    }
    if (request.watcher) request.watcher(report);
  };
  const bool finished = train::run_loop(
      *checkpoint, experiment.dataset, experiment.normalization,
      {.train = config.train,
       .forward = config.quant.forward,
       .seed = config.seed,
       .augment = config.data.augment,
       .begin_epoch = [&] { return advance_stage(*checkpoint, config, experiment); },
       .teacher = teacher.get(),
       .distillation = {.weight = config.quant.distill_weight,
                        .temperature = config.quant.distill_temperature},
       .on_step = on_step,
       .save = [&] { train::save_checkpoint(file, *checkpoint); },
       .should_stop = [] { return stop_requested.exchange(false); }});
  if (config.train.epochs == 0) train::save_checkpoint(file, *checkpoint);
  return {.checkpoint = file,
          .validation_top1 = checkpoint->position.validation_top1,
          .epochs = checkpoint->position.epoch,
          .minutes = checkpoint->position.seconds / 60.0,
          .interrupted = !finished};
}

}  // namespace bitloom::trainers
