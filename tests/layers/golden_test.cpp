// Layers against PyTorch: values made by tools/golden/layers.py, which also says what a case holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/layers/network.h"

namespace bitloom::layers {
namespace {

// Both sides compute in f32, in other orders of sums: some 1e-7 of the largest value each.
constexpr double kTolerance = 1e-5;

const Archive& golden() {
  static const Archive archive = [] {
    Archive loaded = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/layers.h5");
    loaded.require_schema("bitloom.golden", 1);
    return loaded;
  }();
  return archive;
}

const std::vector<std::string> kCases{
    "avg_pool",    "avg_pool_counted", "batch_norm",     "concat",
    "conv_1x7",    "conv_7x1_stride",  "conv_depthwise", "conv_depthwise_stride",
    "conv_groups", "conv_same",        "conv_stride",    "global_avg_pool",
    "hardtanh",    "linear",           "max_pool",       "network",
    "relu6"};

// Tensors of the case below `word`: (name, tensor).
std::vector<std::pair<std::string, const Tensor*>> tensors_of(const std::string& prefix) {
  std::vector<std::pair<std::string, const Tensor*>> out;
  for (const auto& [path, stored] : golden().tensors()) {
    if (path.starts_with(prefix)) out.emplace_back(path.substr(prefix.size()), &stored.tensor);
  }
  return out;
}

void expect_near(ConstTensorView found, const Tensor& wanted, const std::string& what) {
  ASSERT_EQ(found.shape(), wanted.shape()) << what;
  double largest = 1e-3;
  for (const float value : wanted.span<float>()) {
    largest = std::max(largest, std::fabs(static_cast<double>(value)));
  }
  for (std::int64_t i = 0; i < wanted.elements(); ++i) {
    ASSERT_NEAR(found.data<float>()[i], wanted.data<float>()[i], kTolerance * largest)
        << what << "[" << i << "]";
  }
}

class LayersGolden : public testing::TestWithParam<std::string> {};

TEST_P(LayersGolden, StepMatchesPyTorch) {
  const std::string root = GetParam() + "/";
  const Graph graph = Graph::parse(golden().text(root + "graph"), GetParam());
  const Tensor& images = golden().tensor(root + "images");
  ParameterStore store(1);
  Network network(graph, float_layers(), store, {.batch = images.shape().n()});
  const auto parameters = tensors_of(root + "parameters/");
  ASSERT_EQ(parameters.size(), store.all().size());
  for (const auto& [name, tensor] : parameters) copy(*tensor, store.at(name).value);

  const ConstTensorView output = network.forward(images, Phase::kTrain);
  expect_near(output, golden().tensor(root + "output"), "output");
  Tensor gradient(DType::kF32, output.shape());
  if (golden().has(root + "labels")) {
    const double loss = softmax_cross_entropy(
        output, golden().tensor(root + "labels").span<std::int32_t>(), gradient);
    EXPECT_NEAR(loss, golden().real(GetParam(), "loss"), kTolerance * loss);
  } else {
    copy(golden().tensor(root + "output_gradient"), gradient);
  }
  network.backward(gradient);

  const auto gradients = tensors_of(root + "gradients/");
  EXPECT_FALSE(gradients.empty());
  for (const auto& [name, tensor] : gradients) expect_near(store.at(name).gradient, *tensor, name);
  for (const auto& [name, tensor] : tensors_of(root + "after/")) {
    expect_near(store.at(name).value, *tensor, name);
  }
  if (golden().has(root + "evaluated")) {
    expect_near(network.forward(images, Phase::kEvaluate), golden().tensor(root + "evaluated"),
                "evaluated");
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, LayersGolden, testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param; });

TEST(LayersGoldenFile, HoldsTheCasesOfThisTest) {
  std::vector<std::string> found;
  for (const auto& [path, text] : golden().texts()) found.push_back(path.substr(0, path.find('/')));
  EXPECT_EQ(found, kCases);
}

}  // namespace
}  // namespace bitloom::layers
