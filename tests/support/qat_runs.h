// Whole QAT runs on a tiny synthetic task, interrupted and resumed, and what must hold of them.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "bitloom/datasets/normalization.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "support/residual_graph.h"
#include "support/tiny_task.h"

namespace bitloom::trainers {

inline constexpr std::int64_t kStepsPerEpoch = 8;  // (320 - 64) / 32

class QatRuns : public testing::Test {
 protected:
  Config config(const Overrides& more, const std::string& method = "qat") const {
    Overrides all = {cat("quant.method=", method), "data.validation_images=64",
                     "data.synthetic_images=320",  "train.qat_epochs=4",
                     "train.qat_lr=0.05",          "quant.activation_bits=4",
                     "quant.calibration_images=64"};
    all.insert(all.end(), more.begin(), more.end());
    return dir_.config(all);
  }

  // Runs to the end, or stops after `stop` steps and resumes.
  TrainResult run(const Config& with, const std::string& name, std::int64_t stop = 0,
                  const std::filesystem::path& init = {}) const {
    TrainRequest request{.config = with, .out = dir_ / name, .init = init};
    std::int64_t steps = 0;
    request.watcher = [&](const StepReport&) {
      if (++steps == stop) request_stop();
    };
    TrainResult result = train(request);
    if (stop == 0) return result;
    EXPECT_TRUE(result.interrupted) << "after " << stop;
    request.resume = true;
    request.init.clear();
    result = train(request);
    EXPECT_EQ(steps, 4 * kStepsPerEpoch);
    return result;
  }

  // A float network that knows the task.
  const std::filesystem::path& float_checkpoint() {
    if (float_.empty()) float_ = run(config({}, "float"), "float").checkpoint;
    return float_;
  }

  void expect_same(const std::filesystem::path& a, const std::filesystem::path& b) const {
    const train::Checkpoint one = train::load_checkpoint(a);
    const train::Checkpoint two = train::load_checkpoint(b);
    EXPECT_EQ(one.graph.to_text(), two.graph.to_text());
    EXPECT_EQ(one.position.validation_top1, two.position.validation_top1);
    EXPECT_EQ(one.notes, two.notes);
    ASSERT_EQ(one.parameters.all().size(), two.parameters.all().size());
    for (const auto& [name, parameter] : one.parameters.all()) {
      expect_same_bytes(parameter.value, two.parameters.at(name).value, name);
    }
  }

  // Reference and oneDNN agree on every logit, and their accuracy is what training validated.
  void expect_exports_what_it_trained(const std::filesystem::path& file, const Config& with) const {
    const train::Checkpoint checkpoint = train::load_checkpoint(file);
    const Tensor table = datasets::normalization_table(with.data, 1);
    const integer::Model model = train::lower_checkpoint(checkpoint, table);
    for (const integer::Layer& layer : model.layers) {
      EXPECT_EQ(layer.mode, integer::ComputeMode::kStatic) << layer.name;
    }
    const datasets::Dataset data = datasets::load_dataset(with.data);
    const Tensor onednn = train::model_logits(model, {.backend = "onednn", .batch = 50}, data.test);
    const Tensor reference =
        train::model_logits(model, {.backend = "reference", .batch = 64}, data.test);
    EXPECT_EQ(train::identical_share(onednn, reference), 1.0);
    const Tensor validated =
        train::model_logits(model, {.backend = "reference", .batch = 64}, data.validation);
    EXPECT_EQ(train::top1_percent(validated, data.validation.labels),
              checkpoint.position.validation_top1);
    EXPECT_GT(checkpoint.position.validation_top1, 50.0);  // four classes: chance is 25
    if (with.quant.freeze_batch_norm_epochs > 0 || with.quant.fold_batch_norm) {
      expect_training_runs_the_export(file, data.test, table, reference);
    }
  }

  // Without statistics that move, the training network itself computes the exported logits.
  static void expect_training_runs_the_export(const std::filesystem::path& file,
                                              const datasets::ImageSet& images,
                                              ConstTensorView table, ConstTensorView exported) {
    train::Checkpoint checkpoint = train::load_trained(file);  // averages, where they are exported
    const layers::Graph graph = quant::training_graph(checkpoint.graph, "integer");
    EXPECT_EQ(graph.find("conv1")->op, "exported_conv2d");
    EXPECT_EQ(graph.find("conv2")->op, "exported_conv2d");
    EXPECT_EQ(graph.find("add1")->op, "exported_add");
    layers::Network network(graph, quant::quantized_layers(), checkpoint.parameters, {.batch = 50});
    EXPECT_EQ(train::identical_share(train::network_logits(network, 50, table, images), exported),
              1.0);
    Tensor batch(DType::kF32, images.images.shape().with_batch(50));
    datasets::normalize(images.view(0, 50), table, batch);
    const ConstTensorView trained = network.forward(batch, layers::Phase::kTrain);
    EXPECT_EQ(std::memcmp(trained.raw(), exported.raw(), trained.bytes()), 0);
  }

  TinyTask dir_{residual_text({.input = "1x12x12",
                               .stem_shape = "8x1x3x3",
                               .width = 8,
                               .tail = ResidualText::average_tail(8, 4)})};

 private:
  static void expect_same_bytes(const Tensor& a, const Tensor& b, const std::string& name) {
    ASSERT_EQ(a.bytes(), b.bytes()) << name;
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
  }

  std::filesystem::path float_;
};

}  // namespace bitloom::trainers
