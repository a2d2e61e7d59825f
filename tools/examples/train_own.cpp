// An own network on an own data set, from float to a 4-bit integer model: train_own FOLDER
// Prints the validation accuracy of each run; expect above 90 % in a few seconds.
#include <exception>
#include <filesystem>
#include <iostream>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/models/networks.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config.h"

namespace {

using namespace bitloom;

// Noise with one bright quarter; the label says which.
datasets::ImageSet read_quarters(const datasets::DataOptions& options, datasets::Split split) {
  const bool test = split == datasets::Split::kTest;
  const std::int64_t count = test ? 200 : 800;
  constexpr std::int64_t kSide = 12;
  const RandomStream random(1, test ? "quarters test" : "quarters train");
  datasets::ImageSet set{.images = Tensor(DType::kU8, Shape{count, 1, kSide, kSide}),
                         .labels = {},
                         .classes = options.classes};
  auto* pixel = set.images.data<std::uint8_t>();
  std::uint64_t drawn = 0;
  for (std::int64_t image = 0; image < count; ++image) {
    const auto label = static_cast<std::int32_t>(image % options.classes);
    set.labels.push_back(label);
    for (std::int64_t at = 0; at < kSide * kSide; ++at) {
      const std::int64_t quarter = 2 * (at / kSide / (kSide / 2)) + at % kSide / (kSide / 2);
      const std::uint32_t light = quarter == label ? 60 : 0;
      *pixel++ = static_cast<std::uint8_t>(random.below(drawn++, 190) + light);
    }
  }
  return set;
}

// Graph text: one node a line; `bitloom inspect --network lenet5 --text` shows more of it.
layers::Graph small_network(const models::NetworkShape& shape) {
  const std::int64_t features = 8 * (shape.height / 2) * (shape.width / 2);
  return layers::Graph::parse(cat("bitloom-graph 1\n"
                                  "input = input(shape=",
                                  shape.channels, "x", shape.height, "x", shape.width,
                                  ")\n"
                                  "conv1.weight = parameter(shape=8x",
                                  shape.channels,
                                  "x3x3)\n"
                                  "conv1 = conv2d(input, conv1.weight, pad=1)\n"
                                  "bn1 = batch_norm(conv1)\n"
                                  "relu1 = relu(bn1)\n"
                                  "pool1 = max_pool(relu1, kernel=2)\n"
                                  "flatten = flatten(pool1)\n"
                                  "fc.weight = parameter(shape=",
                                  shape.classes, "x", features,
                                  ")\n"
                                  "fc = linear(flatten, fc.weight, bias=1)\n"),
                              "small");
}

}  // namespace

int main(int argc, char** argv) try {
  const std::filesystem::path out = argc > 1 ? argv[1] : "own";
  datasets::register_dataset("quarters", read_quarters);
  models::register_network("small", small_network);

  trainers::Config config = trainers::load_config(
      "", {"data.reader=quarters", "data.classes=4", "data.validation_images=160", "data.mean=0.4",
           "data.stddev=0.25", "model.network=small", "train.epochs=3", "train.qat_epochs=2",
           "train.batch=32"});
  const auto trained = trainers::train({.config = config, .out = out / "float"});
  std::cout << "float " << trained.validation_top1 << " %\n";

  config.quant.method = "qat";
  config.quant.weight_bits = 4;
  config.quant.activation_bits = 4;
  const auto quantized =
      trainers::train({.config = config, .out = out / "w4a4", .init = trained.checkpoint});
  std::cout << "w4a4 " << quantized.validation_top1 << " %\n";
  trainers::export_model({.checkpoint = quantized.checkpoint, .out = out / "model.h5"});
  return 0;
} catch (const std::exception& error) {
  std::cerr << "train_own: " << error.what() << "\n";
  return 2;
}
