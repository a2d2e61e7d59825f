// Whatever is wrong with the input: exit code 2 and a message that names the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void expect_bad(const Words& words, const std::vector<std::string>& parts) {
  const ChildEnd end = bitloom(words);
  EXPECT_EQ(end.signal, 0) << end.output;
  EXPECT_EQ(end.exit_code, 2) << end.output;
  for (const std::string& part : parts) EXPECT_THAT(end.output, HasSubstr(part));
  EXPECT_THAT(end.output, Not(HasSubstr("unexpected error")));
}

TEST(BadInput, CommandLine) {
  const Folder folder;
  expect_bad({}, {"usage: bitloom"});
  expect_bad({"trian"}, {"did you mean 'train'?"});
  expect_bad({"--verison"}, {"did you mean '--version'?"});
  expect_bad(train_words(folder / "x", {"--train.epoch=3", "--quant.weight_bits=33"}),
             {"2 errors", "did you mean 'train.epochs'?", "quant.weight_bits: expected 1 .. 8"});
  expect_bad(train_words(folder / "x", {"--quant.weight_bits=0"}),
             {"quant.weight_bits: expected 1 .. 8, found '0'"});
  expect_bad(train_words(folder / "x", {"--quant.activation_bits=33"}),
             {"quant.activation_bits: expected 1 .. 8 or 32, found '33'"});
  expect_bad(train_words(folder / "x", {"--isa=mmx"}), {"isa", "avx2", "'mmx'"});
  expect_bad(train_words(folder / "x", {"--quant.method=ptq-static"}), {"bitloom quantize"});
  expect_bad({"eval", "--model", folder / "none.h5"}, {"none.h5"});
  expect_bad({"eval", "--model", tiny_config()}, {"synthetic_tiny.cfg"});
  expect_bad({"bench"}, {"--model FILE"});
  expect_bad({"quantize", "--checkpoint", "x", "--method", "qat", "--out", "y"}, {"ptq-static"});
  expect_bad({"inspect"}, {"a FILE, --network N or --number X"});
  expect_bad({"inspect", "--network", "lenet6"}, {"lenet5", "'lenet6'"});
  expect_bad({"train", "--resume", folder / "no_run"},
             {"no_run", "expected a folder with checkpoint.h5", "--out of the run"});
  expect_bad(train_words(folder / "x", {"--model.network=lenet"}), {"did you mean 'lenet5'?"});
  EXPECT_FALSE(std::filesystem::exists(folder / "x")) << "a refused run left a folder behind";
}

TEST(BadInput, ConfigFileNamesLineAndNearestKey) {
  const Folder folder;
  io::write_whole_file(folder / "bad.cfg", "sed = 1\n[train]\nepochs = -1\n");
  expect_bad({"train", "--config", folder / "bad.cfg", "--out", folder / "x"},
             {"2 errors", "bad.cfg:1", "did you mean 'seed'?", "bad.cfg:3: train.epochs"});
  expect_bad({"compare", "--config", folder / "none.cfg", "--out", folder / "x"}, {"none.cfg"});
}

/// An IDX header for `count` images of 12 x 12 and `held` of them.
std::string idx_images(unsigned char count, int held) {
  std::string text{0, 0, 8, 3, 0, 0, 0, static_cast<char>(count), 0, 0, 0, 12, 0, 0, 0, 12};
  return text + std::string(static_cast<std::size_t>(held) * 144, '\7');
}

std::string idx_labels(unsigned char count, char label) {
  std::string text{0, 0, 8, 1, 0, 0, 0, static_cast<char>(count)};
  return text + std::string(count, label);
}

TEST(BadInput, DataMissingTruncatedOrOfAnotherKind) {
  const Folder folder;
  const Words idx = {"--data.reader=idx", "--data.path", folder / "data",
                     "--data.validation_images=2"};
  const auto train = [&] { return train_words(folder / "x", idx); };
  expect_bad(train(), {folder / "data"});

  std::filesystem::create_directories(folder / "data");
  expect_bad(train(), {"images-idx3-ubyte"});
  const auto write = [&](const std::string& stem, const std::string& images,
                         const std::string& labels) {
    io::write_whole_file(folder / ("data/" + stem + "-images-idx3-ubyte"), images);
    io::write_whole_file(folder / ("data/" + stem + "-labels-idx1-ubyte"), labels);
  };
  write("train", idx_images(40, 40), idx_labels(40, 1));
  write("t10k", idx_images(10, 9), idx_labels(10, 1));
  expect_bad(train(), {"t10k-images-idx3-ubyte"});
  write("t10k", "not an IDX file at all", idx_labels(10, 1));
  expect_bad(train(), {"t10k-images-idx3-ubyte"});
  write("t10k", idx_images(10, 10), idx_labels(10, 77));
  expect_bad(train(), {"t10k-labels-idx1-ubyte", "77"});
  write("t10k", idx_images(10, 10), idx_labels(10, 1));
  Words good = train();
  good.insert(good.end(), {"--train.epochs=1", "--train.batch=8"});
  EXPECT_EQ(bitloom(good).exit_code, 0);  // the frame of this test is sound
}

/// `archive` under another version.
Archive with_version(const Archive& archive, int version) {
  Archive other(archive.schema_name(), version);
  for (const auto& [path, entry] : archive.tensors()) {
    other.put(path, entry.tensor.clone(), entry.axes, entry.unit);
  }
  for (const auto& [path, text] : archive.texts()) other.put_text(path, text);
  for (const auto& [path, attributes] : archive.attributes()) {
    for (const auto& [name, value] : attributes) other.put_attribute(path, name, value);
  }
  return other;
}

/// Puts `value` into the first f32 tensor whose path contains `part`; @return that path.
std::string poison(Archive& archive, const std::string& part,
                   float value = std::numeric_limits<float>::quiet_NaN()) {
  for (const auto& [path, entry] : archive.tensors()) {
    if (path.find(part) == std::string::npos || entry.tensor.dtype() != DType::kF32) continue;
    Tensor poisoned = entry.tensor.clone();
    poisoned.data<float>()[0] = value;
    const std::string found = path;
    archive.put(found, std::move(poisoned), entry.axes, entry.unit);
    return found;
  }
  throw FormatError(cat("no tensor like ", part));
}

TEST(BadInput, CheckpointsAndModels) {
  const Folder folder;
  ASSERT_EQ(bitloom(train_words(folder / "run", {"--train.epochs=1"})).exit_code, 0);
  const std::string checkpoint = folder / "run/checkpoint.h5";
  const std::string model = folder / "model.h5";
  ASSERT_EQ(bitloom({"export", "--checkpoint", checkpoint, "--out", model}).exit_code, 0);

  expect_bad(train_words(folder / "run"), {"--resume"});
  expect_bad({"train", "--resume", folder / "run", "--train.epochs=9"}, {"train.epochs: 1 -> 9"});
  expect_bad(train_words(folder / "x", {"--init", checkpoint, "--model.network=resnet8"}),
             {checkpoint, "resnet8", "lenet5"});
  expect_bad({"eval", "--model", checkpoint},
             {checkpoint, "bitloom.model", "bitloom.checkpoint", "bitloom export makes a model"});
  expect_bad({"export", "--checkpoint", model, "--out", folder / "y.h5"},
             {model, "bitloom.checkpoint", "take the checkpoint that it was made from"});
  expect_bad({"eval", "--model", folder / "run"}, {"found a folder; name a file in it"});
  expect_bad({"eval", "--model", model, "--backend", "tpu"}, {"onednn", "reference", "'tpu'"});
  expect_bad({"eval", "--model", model, "--data.synthetic_height=14"}, {"test images", "12", "14"});

  const std::string text = io::read_whole_file(checkpoint);
  io::write_whole_file(folder / "short.h5", text.substr(0, text.size() / 2));
  expect_bad({"export", "--checkpoint", folder / "short.h5", "--out", folder / "y.h5"},
             {"short.h5"});
  std::string flipped = text;
  flipped[flipped.size() - flipped.size() / 3] ^= 0x10;
  io::write_whole_file(folder / "flipped.h5", flipped);
  expect_bad({"export", "--checkpoint", folder / "flipped.h5", "--out", folder / "y.h5"},
             {"flipped.h5"});

  for (const std::string& file : {checkpoint, model}) {
    io::save_archive(folder / "newer.h5", with_version(io::load_archive(file), 99));
    expect_bad({"inspect", folder / "newer.h5"}, {"newer.h5", "99"});
  }
  expect_bad({"eval", "--model", folder / "newer.h5"}, {"newer.h5", "99"});

  Archive poisoned = io::load_archive(checkpoint);
  EXPECT_THAT(poison(poisoned, "conv1.weight"), HasSubstr("conv1.weight"));
  poison(poisoned, "parameters/conv1.weight");
  io::save_archive(folder / "nan.h5", poisoned);
  expect_bad({"export", "--checkpoint", folder / "nan.h5", "--out", folder / "y.h5"}, {"conv1"});
  expect_bad({"quantize", "--checkpoint", folder / "nan.h5", "--method", "ptq-static", "--out",
              folder / "y.h5"},
             {"conv1"});
  expect_bad(train_words(folder / "x", {"--init", folder / "nan.h5"}), {"conv1"});
  Archive poisoned_model = io::load_archive(model);
  poison(poisoned_model, "/weight");
  io::save_archive(folder / "nan_model.h5", poisoned_model);
  expect_bad({"eval", "--model", folder / "nan_model.h5"}, {"conv1"});

  // Scales that no quantizer sets, behind a right checksum.
  ASSERT_EQ(bitloom({"quantize", "--checkpoint", checkpoint, "--method", "ptq-static", "--out",
                     folder / "ptq.h5"})
                .exit_code,
            0);
  for (const float scale : {-1.0F, 0.0F, std::numeric_limits<float>::infinity()}) {
    for (const char* part : {"conv2.weight.q.scale", "relu1.q.scale"}) {
      SCOPED_TRACE(cat(part, " ", scale));
      Archive bent = io::load_archive(folder / "ptq.h5");
      EXPECT_THAT(poison(bent, part, scale), HasSubstr(part));
      io::save_archive(folder / "bent.h5", bent);
      expect_bad({"export", "--checkpoint", folder / "bent.h5", "--out", folder / "y.h5"},
                 {"scale"});
    }
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "y.h5")) << "a refused command left a file behind";
}

}  // namespace
}  // namespace bitloom::tools
