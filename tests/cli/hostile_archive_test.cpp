// Checkpoints, exported models and data sets in HDF5 that somebody made to do harm.
#include <cstdlib>
#include <limits>
#include <string_view>
#include <tuple>

#include "bitloom/io/hdf5_archive.h"
#include "cli/hostile.h"

namespace bitloom::tools {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A checkpoint, a model, and what hostile_files.py makes of it; once for all tests.
class HostileArchive : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new Folder;
    const Words quiet = {"--train.epochs=1", "--quiet"};
    ASSERT_EQ(bitloom(train_words(*folder_ / "run", quiet)).exit_code, 0);
    const std::string quantized = *folder_ / "ptq.h5";
    ASSERT_EQ(bitloom({"quantize", "--checkpoint", *folder_ / "run/checkpoint.h5", "--method",
                       "ptq-static", "--out", quantized})
                  .exit_code,
              0);
    ASSERT_EQ(
        bitloom({"export", "--checkpoint", quantized, "--out", *folder_ / "model.h5"}).exit_code,
        0);
    const std::string command =
        cat("/usr/bin/python3 ", BITLOOM_SOURCE_DIR, "/tests/cli/hostile_files.py ",
            *folder_ / "run/checkpoint.h5", " ", *folder_ / "hostile");
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::string in(const std::string& name) { return *folder_ / name; }

  /// Every file of `kind` has a row in the table and the other way round.
  static void expect_all(const std::string& kind, const std::vector<Hostile>& table) {
    const std::filesystem::directory_iterator made(in("hostile/" + kind));
    EXPECT_EQ(static_cast<std::size_t>(std::distance(begin(made), end(made))), table.size());
  }

  static Folder* folder_;
};

Folder* HostileArchive::folder_ = nullptr;

TEST_F(HostileArchive, StructureIsRefused) {
  const std::string link = "expected a dataset or group, found a soft or external link";
  const std::vector<Hostile> table = {
      {"soft_link", {"config2: " + link}},
      {"soft_link_cycle", {"a: " + link}},
      {"hard_link", {"expected checksum", "the file is damaged", "take another copy"}},
      {"hard_link_cycle", {"parameters/again", "too many or too deep ones"}},
      {"external_link", {"x: " + link, "not written by bitloom"}},
      {"external_storage", {"x: expected storage in this file, found external files"}},
      {"virtual_dataset", {"x: expected contiguous storage, found chunked or virtual storage"}},
      {"filter", {"x: expected contiguous storage"}},
      {"shape_bomb", {"x: expected at most", "found a shape of 274877906944 bytes"}},
      {"shape_bomb_chunks", {"x: expected contiguous storage"}},
      {"text_bomb", {"x: expected at most", "bytes, as many as the file holds"}},
      {"many_names", {"as many as the file holds"}},
      {"deep_groups", {"g/g/g", "too many or too deep ones"}},
      {"wrong_type", {"parameters/bn1.beta: expected little-endian f32", "found another type"}},
      {"wrong_kind", {"parameters: expected attribute 'axes', found none"}},
      {"data_changed", {"expected checksum", "the file is damaged"}},
      {"checksum_changed", {"expected checksum 0000", "the file is damaged"}},
      {"checksum_missing", {"expected attribute 'checksum', found none"}},
  };
  for (const Hostile& hostile : table) {
    SCOPED_TRACE(hostile.name);
    const std::string file = cat("hostile/archive/", hostile.name, ".h5");
    std::vector<std::string> parts = hostile.parts;
    parts.push_back(in(file));
    expect_refused({"inspect", in(file)}, parts);
  }
  expect_all("archive", table);
}

TEST_F(HostileArchive, DataSetIsRefused) {
  const std::string link = "images: expected a dataset in this file, found a soft or external link";
  const std::vector<Hostile> table = {
      {"soft_link", {link, "copy what it points to"}},
      {"external_link", {link}},
      {"external_storage", {"images: expected storage in this file, found external files"}},
      {"virtual_dataset", {"images: expected storage in this file, found a virtual dataset"}},
      {"filter", {"filter 32000; write it with compression=\"gzip\""}},
      {"shape_bomb", {"found a shape of 274877906944 bytes"}},
      {"chunk_bomb", {"expected chunks of at most", "found 1024 MiB", "smaller chunks"}},
      {"zeros_bomb", {"memory"}},  // honest, and more than there is room for
      {"wrong_type", {"images: expected unsigned bytes (u8)", "write pixels as 0 to 255"}},
      {"label", {"labels: expected labels 0 to 3, found 90 for image 0; set data.classes"}},
  };
  for (const Hostile& hostile : table) {
    SCOPED_TRACE(hostile.name);
    if (hostile.name == std::string_view("zeros_bomb") && !limits_memory()) continue;
    const std::string set = in(cat("hostile/hdf5/", hostile.name));
    std::vector<std::string> parts = hostile.parts;
    parts.push_back(set + "/test.h5");
    expect_refused({"eval", "--model", in("model.h5"), "--data.reader=hdf5", "--data.path", set},
                   parts);
  }
  expect_all("hdf5", table);
}

struct Bent {
  const char* name;
  const char* path;       ///< of a tensor or a group of attributes
  const char* attribute;  ///< or "" for the tensor
  AttributeValue value;   ///< its first element, if a tensor
  std::vector<std::string> parts;
};

void bend(Archive& archive, const Bent& bent) {
  if (*bent.attribute != '\0') {
    archive.put_attribute(bent.path, bent.attribute, bent.value);
    return;
  }
  const ArchiveTensor& entry = archive.tensors().at(bent.path);
  Tensor changed = entry.tensor.clone();
  if (changed.dtype() == DType::kF32) {
    changed.data<float>()[0] = static_cast<float>(std::get<double>(bent.value));
  } else {
    changed.data<std::int64_t>()[0] = std::get<std::int64_t>(bent.value);
  }
  archive.put(bent.path, std::move(changed), entry.axes, entry.unit);
}

// Behind a right checksum: what a writer with a bug, or with bad intent, would send.
TEST_F(HostileArchive, FieldsOfAModelAreRefused) {
  using Integer = std::int64_t;
  const std::vector<Bent> table = {
      {"nan scale", "tensors/00001", "scale", kNan, {"relu1.q scale"}},
      {"negative scale", "tensors/00001", "scale", -1.0, {"relu1.q scale"}},
      {"zero scale", "tensors/00001", "scale", 0.0, {"relu1.q scale"}},
      {"nan weight scale", "layers/00000/weight_scale", "", kNan, {"conv1", "scale"}},
      {"negative weight scale", "layers/00000/weight_scale", "", -1.0, {"conv1", "scale"}},
      {"nan multiplier", "layers/00000/multiplier", "", kNan, {"conv1 multiplier"}},
      {"zero point above", "tensors/00001", "zero_point", Integer{300}, {"relu1.q", "zero point"}},
      {"zero point below", "tensors/00001", "zero_point", Integer{-1}, {"relu1.q", "zero point"}},
      {"range above", "tensors/00001", "qmax", Integer{1} << 40, {"qmax"}},
      {"bits", "tensors/00001", "bits", Integer{33}, {"2 to 8 bits"}},
      {"type word", "tensors/00001", "dtype", "f128", {"'f128'"}},
      {"type of a number", "tensors/00001", "scale", "0.5", {"scale"}},
      {"shape bomb", "tensors/00001/shape", "", Integer{1} << 62, {"tensors/00001"}},
      {"negative shape", "tensors/00001/shape", "", Integer{-1}, {"tensors/00001"}},
      {"too many layers", "", "layers", Integer{1} << 40, {"layers"}},
      {"no such layer", "", "layers", Integer{7}, {"layers"}},
      {"too many tensors", "", "tensors", Integer{1} << 40, {"tensors"}},
      {"input of nobody", "layers/00002/inputs", "", Integer{99}, {"conv2", "99"}},
      {"output of nobody", "layers/00002", "output", Integer{99}, {"conv2", "99"}},
      {"stride", "layers/00000", "stride", Integer{0}, {"conv1"}},
      {"kernel", "layers/00001", "kernel_h", Integer{1} << 40, {"kernel_h"}},
      {"operation", "layers/00000", "op", "conv3d", {"'conv3d'"}},
      {"mode", "layers/00000", "mode", "dynamite", {"'dynamite'"}},
      {"weight bits", "layers/00000", "weight_bits", Integer{99}, {"conv1"}},
  };
  for (const Bent& bent : table) {
    SCOPED_TRACE(bent.name);
    Archive archive = io::load_archive(in("model.h5"));
    bend(archive, bent);
    archive.set_packed(false);  // the form on disk that takes any number
    io::save_archive(in("bent.h5"), archive);
    expect_refused({"eval", "--model", in("bent.h5")}, bent.parts);
  }
}

TEST_F(HostileArchive, TextsOfACheckpointAreRefused) {
  const std::string checkpoint = in("run/checkpoint.h5");
  const std::string graph = io::load_archive(checkpoint).text("graph");
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = graph;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::vector<std::tuple<const char*, std::string, std::string>> table = {
      {"graph", "", "at least one node"},
      {"graph", std::string("\0\x1b[2J", 5), "\\x00\\x1b[2J"},
      {"graph", replaced("relu(", "reluu("), "found reluu of bn1"},
      {"graph", replaced("pad=2", "pad=-2"), "conv1"},
      {"config", "seed = x", "seed: expected"},
      {"config", std::string(100000, '['), "... ("},
      {"config", std::string("a\0b = \x07\n", 8), "1: expected"},
  };
  for (const auto& [path, text, part] : table) {
    SCOPED_TRACE(cat(path, ": ", printable(text)));
    Archive archive = io::load_archive(checkpoint);
    archive.put_text(path, text);
    io::save_archive(in("bent.h5"), archive);
    expect_refused({"export", "--checkpoint", in("bent.h5"), "--out", in("out.h5")}, {part});
  }
}

}  // namespace
}  // namespace bitloom::tools
