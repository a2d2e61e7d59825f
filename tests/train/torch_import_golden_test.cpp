// PyTorch's weights in our networks: tools/import/torch_state_dict.py there and back, and the
// logits that PyTorch gives with them (tools/golden/torch_import.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>

#include "bitloom/datasets/normalization.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/models/networks.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/evaluate.h"
#include "support/temp_dir.h"

namespace bitloom::train {
namespace {

constexpr const char* kImporter = BITLOOM_SOURCE_DIR "/tools/import/torch_state_dict.py";
constexpr const char* kMaker = BITLOOM_SOURCE_DIR "/tools/golden/torch_import.py";

struct Ran {
  int status = -1;
  std::string output;
};

/// Debian's Python with a script and its arguments; output and errors together.
template <typename... Words>
Ran run_python(const Words&... words) {
  std::string command = "/usr/bin/python3";
  for (const std::string& word : {std::string(words)...}) command += " '" + word + "'";
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  Ran ran;
  std::array<char, 4096> piece{};
  while (const std::size_t count = std::fread(piece.data(), 1, piece.size(), pipe)) {
    ran.output.append(piece.data(), count);
  }
  ran.status = ::pclose(pipe) >> 8;
  return ran;
}

class TorchImport : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("/usr/bin/python3 -c 'import h5py, numpy' 2> /dev/null") != 0) {
      GTEST_SKIP() << "needs Debian's python3-h5py";
    }
  }

  std::string path(const std::string& name) const { return (dir_ / name).string(); }
  void write_graph(const std::string& network, const Shape& image, std::int64_t classes) const {
    const models::NetworkShape shape{
        .channels = image.c(), .height = image.h(), .width = image.w(), .classes = classes};
    io::write_whole_file(path("graph.net"), models::build_network(network, shape).to_text());
  }
  Ran import_state(const std::string& network, const std::string& state,
                   const std::string& checkpoint) const {
    return run_python(kImporter, "--network", network, "--graph", path("graph.net"), path(state),
                      path(checkpoint));
  }

  const Archive golden_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/torch_import.h5");
  const TempDir dir_;
};

class TorchImportOf : public TorchImport, public ::testing::WithParamInterface<const char*> {};

TEST_P(TorchImportOf, GivesPyTorchsLogitsAndComesBackUnchanged) {
  const std::string network = GetParam();
  const Tensor& stored = golden_.tensor(cat("logits/", network));
  const Tensor& pixels = golden_.tensor(cat("images/", network));
  write_graph(network, pixels.shape(), stored.shape().c());
  ASSERT_EQ(run_python(kMaker, "state", network, path("state.npz")).status, 0);
  const Ran ran = import_state(network, "state.npz", "imported.h5");
  ASSERT_EQ(ran.status, 0) << ran.output;

  Checkpoint checkpoint = load_trained(path("imported.h5"));
  EXPECT_EQ(checkpoint.network, network);
  EXPECT_EQ(checkpoint.method, "float");
  const datasets::ImageSet images{
      .images = pixels.clone(), .labels = {0}, .classes = stored.shape().c()};
  layers::Network ours(checkpoint.graph, layers::float_layers(), checkpoint.parameters,
                       {.batch = 1, .training = false});
  const Tensor logits =
      network_logits(ours, 1, datasets::normalization_table({}, pixels.shape().c()), images);
  const auto wanted = stored.span<float>();
  const auto found = logits.span<float>();
  ASSERT_EQ(found.size(), wanted.size());
  const float largest = std::abs(*std::max_element(
      wanted.begin(), wanted.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
  EXPECT_GT(largest, 0.01F);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_NEAR(found[i], wanted[i], 1e-4F * largest) << i;
  }

  ASSERT_EQ(run_python(kImporter, "--export", path("imported.h5"), path("back.npz")).status, 0);
  const Ran same = run_python(kMaker, "same", path("state.npz"), path("back.npz"));
  EXPECT_EQ(same.status, 0) << same.output;
}

INSTANTIATE_TEST_SUITE_P(Networks, TorchImportOf,
                         ::testing::Values("lenet5", "resnet20", "squeezenet1_1"),
                         [](const auto& param) { return std::string(param.param); });

// torchvision's own networks for ImageNet: every tensor has a place, in the shape it has there.
TEST_F(TorchImport, KnowsEveryNameOfTorchvision) {
  int networks = 0;
  const std::string suffix = "_imagenet";
  for (const auto& [key, text] : golden_.texts()) {
    if (!key.ends_with(suffix)) continue;
    const std::string network = key.substr(6, key.size() - 6 - suffix.size());  // behind "names/"
    SCOPED_TRACE(network);
    write_graph(network, Shape{1, 3, 224, 224}, 1000);
    const Ran ran =
        run_python(kImporter, "--names", "--network", network, "--graph", path("graph.net"));
    ASSERT_EQ(ran.status, 0) << ran.output;
    const auto tensors = [](const std::string& lines) {
      std::set<std::string> out;
      std::istringstream stream(lines);
      for (std::string line; std::getline(stream, line);) {
        out.insert(line.substr(0, line.find(' ', line.find(' ') + 1)));  // name and shape
      }
      return out;
    };
    EXPECT_EQ(tensors(ran.output), tensors(text));
    ++networks;
  }
  EXPECT_EQ(networks, 5);
}

// All mistakes of a state dict are told at once, by their names there.
TEST_F(TorchImport, NamesWhatDoesNotFit) {
  write_graph("resnet8", Shape{1, 3, 32, 32}, 10);
  io::write_whole_file(path("break.py"), R"(
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
import torch_state_dict as t
entries = t.entries_of('resnet8', open(sys.argv[2]).read())
state = {e.torch_name: np.ones(e.shape, 'f4') for e in entries.values()}
np.savez(sys.argv[3] + '/good.npz', **{'module.' + k: v for k, v in state.items()},
         **{'module.stem.bn.num_batches_tracked': np.array(3)})
state['fc.weight'] = np.ones((100, 64), 'f4')
state['extra.weight'] = state.pop('block2.bn1.running_var')
state['fc.bias'][3] = np.nan
np.savez(sys.argv[3] + '/bad.npz', **state)
)");
  const Ran made = run_python(path("break.py"), std::string(BITLOOM_SOURCE_DIR "/tools/import"),
                              path("graph.net"), dir_.path().string());
  ASSERT_EQ(made.status, 0) << made.output;
  EXPECT_EQ(import_state("resnet8", "good.npz", "good.h5").status, 0);
  const Ran bad = import_state("resnet8", "bad.npz", "bad.h5");
  EXPECT_EQ(bad.status, 2);
  for (const char* part :
       {"missing: block2.bn1.running_var", "expected no other tensors, found 1: extra.weight",
        "fc.weight: expected shape [10, 64], found [100, 64]; check --image and --classes",
        "fc.bias: expected finite values"}) {
    EXPECT_NE(bad.output.find(part), std::string::npos) << part << "\n" << bad.output;
  }
  EXPECT_FALSE(std::filesystem::exists(path("bad.h5")));
  const Ran none = import_state("resnet8", "none.npz", "bad.h5");
  EXPECT_EQ(none.status, 2);
  EXPECT_NE(none.output.find("none.npz"), std::string::npos) << none.output;
}

}  // namespace
}  // namespace bitloom::train
