#include "bitloom/io/hdf5_archive.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>

#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"
#include "support/tensor_matchers.h"

namespace bitloom::io {
namespace {

/// f32 values 0, 1, 2, ... in memory order.
Tensor counted(const Shape& shape) {
  Tensor tensor(DType::kF32, shape);
  for (std::int64_t i = 0; i < tensor.elements(); ++i)
    tensor.data<float>()[i] = static_cast<float>(i);
  return tensor;
}

Archive sample() {
  Archive archive("bitloom.sample", 3);
  archive.put("parameters/conv1.weight", counted({4, 3, 2, 5}), "OHWI", "weight");
  archive.put("parameters/fc.weight", matrix({{1, -2}, {3, 4}}), "OI");
  archive.put("codes", matrix_as<std::int8_t>({{-128, 127}}), "OI", "code");
  archive.put("scalar", make_tensor<double>({}, std::vector<double>{0.1}), "", "s");
  archive.put("empty", Tensor(DType::kS32, Shape{0}), "C");
  archive.put("half", Tensor(DType::kBf16, Shape{3}), "C");
  archive.put("counts", make_tensor<std::int64_t>({2}, std::vector<std::int64_t>{1, -1}), "C");
  archive.put("pixels", Tensor(DType::kU8, Shape{2}), "C");
  archive.put("sums", Tensor(DType::kS32, Shape{2}), "C");
  archive.put_text("graph", "conv1 \xC3\xA9\n");
  archive.put_text("none", "");
  archive.put_text("long", std::string(200000, 'x'));
  archive.put_attribute("", "network", std::string("lenet5"));
  archive.put_attribute("parameters", "step", std::int64_t{-7});
  archive.put_attribute("parameters/fc.weight", "scale", 0.1);
  archive.put_attribute("state/loader", "epoch", std::int64_t{1} << 60);
  return archive;
}

TEST(Hdf5Archive, GoesThereAndBack) {
  const TempDir dir;
  const Archive written = sample();
  save_archive(dir / "a.h5", written);
  const Archive read = load_archive(dir / "a.h5");
  EXPECT_EQ(read.schema_name(), "bitloom.sample");
  EXPECT_EQ(read.schema_version(), 3);
  EXPECT_EQ(read.source(), (dir / "a.h5").string());
  ASSERT_EQ(read.tensors().size(), 9U);
  for (const auto& [path, entry] : written.tensors()) {
    EXPECT_THAT(read.tensor(path), TensorEq(entry.tensor)) << path;
    EXPECT_EQ(read.tensors().at(path).axes, entry.axes);
    EXPECT_EQ(read.tensors().at(path).unit, entry.unit);
  }
  EXPECT_EQ(read.texts(), written.texts());
  EXPECT_EQ(read.attributes(), written.attributes());
  EXPECT_EQ(content_checksum(read), content_checksum(written));
}

TEST(Hdf5Archive, EqualArchivesGiveEqualFiles) {
  const TempDir dir;
  save_archive(dir / "a.h5", sample());
  save_archive(dir / "b.h5", load_archive(dir / "a.h5"));
  EXPECT_EQ(read_whole_file(dir / "a.h5"), read_whole_file(dir / "b.h5"));
}

TEST(Hdf5Archive, ManyEntriesGoThereAndBack) {
  const TempDir dir;
  Archive written("many", 1);
  for (int i = 0; i < 300; ++i) {
    written.put(cat("t/", i), row({static_cast<float>(i)}), "OI");
    written.put_attribute("t", cat("a", i), std::int64_t{i});
  }
  save_archive(dir / "a.h5", written);
  const Archive read = load_archive(dir / "a.h5");
  EXPECT_EQ(read.tensors().size(), 300U);
  EXPECT_EQ(content_checksum(read), content_checksum(written));
}

TEST(Hdf5Archive, ChecksumTellsEveryPartApart) {
  const std::string base = content_checksum(sample());
  std::vector<Archive> others;
  for (int i = 0; i < 6; ++i) others.push_back(sample());
  others[0].put("codes", matrix_as<std::int8_t>({{-128, 126}}), "OI", "code");
  others[1].put("codes", matrix_as<std::int8_t>({{-128, 127}}), "OI", "1");
  others[2].put("codes", matrix_as<std::uint8_t>({{128, 127}}), "OI", "code");
  others[3].put_text("graph", "conv2");
  others[4].put_attribute("parameters", "step", -7.0);
  others[5].put_attribute("parameters", "other", std::int64_t{0});
  for (const Archive& other : others) EXPECT_NE(content_checksum(other), base);
}

TEST(Hdf5Archive, RefusesNamesThatCannotStand) {
  const TempDir dir;
  const auto refused = [&dir](const char* path, const char* part) {
    Archive archive("a", 1);
    archive.put(path, row({1}), "OI");
    EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", archive), part);
  };
  refused("", "1 to 16 parts");
  refused("/a", "parts that are names");
  refused("a/", "parts that are names");
  refused("a//b", "parts that are names");
  refused("a/../b", "parts that are names, found '..'");
  refused("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "1 to 16 parts");

  Archive both("a", 1);
  both.put("a", row({1}), "OI");
  both.put_text("a", "x");
  EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", both), "a tensor or a text, found both");
  Archive nested("a", 1);
  nested.put("a", row({1}), "OI");
  nested.put("a/b", row({1}), "OI");
  EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", nested), "a group or a dataset, found both");
  Archive below("a", 1);
  below.put("a", row({1}), "OI");
  below.put_attribute("a/b", "n", std::int64_t{1});
  EXPECT_THROW(save_archive(dir / "a.h5", below), FormatError);
  Archive axes("a", 1);
  axes.put("a", row({1}), "O");
  EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", axes), "each of 2 dimensions, found 'O'");
  Archive reserved("a", 1);
  reserved.put_attribute("", "checksum", std::int64_t{1});
  EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", reserved), "not reserved, found 'checksum'");
  Archive large("a", 1);
  large.put_attribute("", "text", std::string(60001, 'x'));
  EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", large), "at most 60000 bytes");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Hdf5Archive, LargestAttributesFit) {
  const TempDir dir;
  Archive archive("a", 1);
  for (const char* name : {"a", "b", "c"}) {
    archive.put_attribute("", name, std::string(60000, 'x'));
  }
  save_archive(dir / "a.h5", archive);
  EXPECT_EQ(load_archive(dir / "a.h5").word("", "b").size(), 60000U);
}

// A file size limit stands for a full disk; it is tried at many places of the file.
TEST(Hdf5Archive, FailedWriteKeepsTheOldFile) {
  const TempDir dir;
  save_archive(dir / "a.h5", sample());
  const std::string before = read_whole_file(dir / "a.h5");
  Archive large = sample();
  large.put("more", Tensor(DType::kF32, {300, 1000}), "OI");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  int failed = 0;
  for (rlim_t limit = 100; limit < 1400000; limit = limit * 3 / 2) {
    const rlimit small{.rlim_cur = limit, .rlim_max = old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", large), "a.h5", "File too large");
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
    ASSERT_EQ(read_whole_file(dir / "a.h5"), before);
    ASSERT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
    ++failed;
  }
  EXPECT_GT(failed, 15);
  save_archive(dir / "a.h5", large);
  EXPECT_TRUE(load_archive(dir / "a.h5").has("more"));
}

// h5py sees memory order: the dimensions of [O=4, I=3, KH=2, KW=5] are (4, 2, 5, 3).
TEST(Hdf5Archive, PythonReadsLayoutAxesAndChecksum) {
  const TempDir dir;
  save_archive(dir / "a.h5", sample());
  write_whole_file(dir / "check.py", R"(
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[2])
import h5py, numpy, bitloom_archive
with h5py.File(sys.argv[1]) as f:
    w = f["parameters/conv1.weight"]
    assert w.shape == (4, 2, 5, 3) and w.dtype == numpy.float32, (w.shape, w.dtype)
    assert w.attrs["axes"] == b"OHWI" and w.attrs["unit"] == b"weight", dict(w.attrs)
    assert (w[...].ravel() == numpy.arange(120)).all()
    assert f["codes"][0, 0] == -128 and f["scalar"][()] == 0.1
    assert f["graph"][()].decode() == "conv1 \u00e9\n" and len(f["long"][()]) == 200000
    assert f.attrs["schema_name"] == b"bitloom.sample" and f.attrs["schema_version"] == 3
    assert f["state/loader"].attrs["epoch"] == 1 << 60
a = bitloom_archive.read_archive(sys.argv[1])
assert len(a.tensors) == 9 and a.attributes["parameters"]["step"] == -7
bitloom_archive.write_archive(
    sys.argv[3], a.schema_name, a.schema_version,
    {p: (t, a.axes[p], a.units[p]) for p, t in a.tensors.items()}, a.attributes, a.texts)
)");
  const std::string command =
      cat("/usr/bin/python3 ", (dir / "check.py").string(), " ", (dir / "a.h5").string(),
          " " BITLOOM_SOURCE_DIR "/tools/golden ", (dir / "b.h5").string());
  ASSERT_EQ(std::system(command.c_str()), 0) << "needs python3-h5py";
  EXPECT_EQ(content_checksum(load_archive(dir / "b.h5")), content_checksum(sample()));
}

}  // namespace
}  // namespace bitloom::io
