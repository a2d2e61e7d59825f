// Archives that lie on disk in a few datasets: the same content, and nothing else is let in.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"
#include "support/tensor_matchers.h"

namespace bitloom::io {
namespace {

/// Every type and rank, attributes of every kind.
Archive sample() {
  Archive archive("bitloom.sample", 3);
  Tensor maps(DType::kF32, Shape{4, 3, 2, 5});
  for (std::int64_t i = 0; i < maps.elements(); ++i) maps.data<float>()[i] = static_cast<float>(i);
  archive.put("b/maps", std::move(maps), "OHWI", "weight");
  archive.put("a/reals", matrix({{1, -2}, {3, 4}}), "OI");
  archive.put("codes", matrix_as<std::int8_t>({{-128, 127}}), "OI", "code");
  archive.put("scalar", make_tensor<double>({}, std::vector<double>{0.1}), "", "s");
  archive.put("empty", Tensor(DType::kS32, Shape{0}), "C");
  archive.put("half", Tensor(DType::kBf16, Shape{3}), "C");
  archive.put("list", make_tensor<std::int64_t>({2}, std::vector<std::int64_t>{1, -1}), "C");
  archive.put("long_list", Tensor(DType::kS64, Shape{40}), "C");
  archive.put_text("graph", std::string(3000, 'x') + "\xC3\xA9\n");
  archive.put_text("config", "seed = 1\n");
  archive.put_attribute("", "network", std::string("r\xC3\xA9seau"));
  archive.put_attribute("a", "step", std::int64_t{-7});
  archive.put_attribute("a/reals", "third", 1.0 / 3.0);
  archive.put_attribute("a/reals", "one", 1.0);
  archive.put_attribute("a/none", "most", std::int64_t{1} << 62);
  return archive;
}

Archive packed_sample() {
  Archive archive = sample();
  archive.set_packed(true);
  return archive;
}

TEST(PackedArchive, GoesThereAndBack) {
  const TempDir dir;
  const Archive written = sample();
  save_archive(dir / "a.h5", packed_sample());
  const Archive read = load_archive(dir / "a.h5");
  EXPECT_TRUE(read.is_packed());
  EXPECT_EQ(read.source(), (dir / "a.h5").string());
  for (const auto& [path, entry] : written.tensors()) {
    EXPECT_THAT(read.tensor(path), TensorEq(entry.tensor)) << path;
  }
  EXPECT_EQ(read.attributes(), written.attributes());
  EXPECT_EQ(content_checksum(read), content_checksum(written));
  save_archive(dir / "b.h5", read);
  EXPECT_EQ(read_whole_file(dir / "b.h5"), read_whole_file(dir / "a.h5"));
}

TEST(PackedArchive, TakesAFractionOfTheBytesOfManySmallPieces) {
  const TempDir dir;
  Archive many("many", 1);
  for (int i = 0; i < 200; ++i) {
    many.put(cat("t/", i), row({static_cast<float>(i)}), "OI");
    many.put_attribute(cat("t/", i), "number", std::int64_t{i});
  }
  save_archive(dir / "plain.h5", many);
  many.set_packed(true);
  save_archive(dir / "packed.h5", many);
  const auto bytes = [&dir](const char* name) { return std::filesystem::file_size(dir / name); };
  EXPECT_LT(bytes("packed.h5") * 10, bytes("plain.h5"));
  EXPECT_EQ(content_checksum(load_archive(dir / "packed.h5")), content_checksum(many));
}

// 65,536 numbers are 256 KiB: one more, and they lie plain. Noise does not get smaller.
TEST(PackedArchive, DeflatesFewValuesThatGetSmaller) {
  const TempDir dir;
  const auto bytes = [&](std::int64_t elements, bool noise) {
    Archive archive("values", 1);
    Tensor values(DType::kS32, Shape{elements});
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < elements; ++i) {
      state = state * 1664525U + 1013904223U;
      const std::uint32_t mixed = (state ^ (state >> 16U)) * 0x45d9f3bU;
      values.data<std::int32_t>()[i] = static_cast<std::int32_t>(noise ? mixed : i);
    }
    archive.put("v", std::move(values), "C");
    archive.set_packed(true);
    save_archive(dir / "v.h5", archive);
    EXPECT_EQ(content_checksum(load_archive(dir / "v.h5")), content_checksum(archive));
    return static_cast<std::int64_t>(std::filesystem::file_size(dir / "v.h5"));
  };
  EXPECT_LT(bytes(65536, false), 65536);
  EXPECT_GT(bytes(65537, false), 4 * 65537);
  EXPECT_GT(bytes(1000, true), 4 * 1000);
}

TEST(PackedArchive, RefusesToWriteWhatItCannotHold) {
  const TempDir dir;
  const auto refused = [&dir](const auto& change, const char* part) {
    Archive archive = packed_sample();
    change(archive);
    EXPECT_ERROR(FormatError, save_archive(dir / "a.h5", archive), part);
  };
  refused([](Archive& a) { a.put_attribute("a", "n", std::nan("")); }, "a finite 'n'");
  refused([](Archive& a) { a.put_attribute("a", "n", std::string("\xFF")); }, "texts in UTF-8");
  refused([](Archive& a) { a.put_text("graph", std::string(5 << 20, 'x')); }, "at most 4194304");
  refused([](Archive& a) { a.put_attribute("", "storage", std::int64_t{1}); }, "not reserved");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

/// Runs `body` of Python, which may write `folder`/NAME.h5 with tools/golden/bitloom_archive.py.
void run_python(const TempDir& dir, const std::string& body) {
  write_whole_file(dir / "run.py",
                   "import sys\nsys.dont_write_bytecode = True\n"
                   "sys.path.insert(0, '" BITLOOM_SOURCE_DIR
                   "/tools/golden')\n"
                   "import json, zlib, h5py, numpy, bitloom_archive\nfolder = sys.argv[1] + '/'\n" +
                       body);
  const std::string command =
      cat("/usr/bin/python3 ", (dir / "run.py").string(), " ", dir.path().string());
  ASSERT_EQ(std::system(command.c_str()), 0) << body;
}

TEST(PackedArchive, PythonReadsTheSamePaths) {
  const TempDir dir;
  save_archive(dir / "a.h5", packed_sample());
  run_python(dir, R"(
with h5py.File(folder + "a.h5") as f:
    index = json.loads(zlib.decompress(f["index"][:].tobytes()))
    place = index["tensors"]["b/maps"]
    assert "values/f32" not in f and "values/s8" in f
    apart = numpy.frombuffer(zlib.decompress(f["shuffled/f32"][:].tobytes()), numpy.uint8)
    values = apart.reshape(4, -1).T.copy().view(numpy.float32).ravel()
    maps = values[place["at"]:][:120].reshape(place["shape"])
    assert maps.shape == (4, 2, 5, 3) and (maps.ravel() == numpy.arange(120)).all()
    assert index["texts"]["graph"].endswith("x\u00e9\n")
a = bitloom_archive.read_archive(folder + "a.h5")
assert a.attributes["a"] == {"step": -7} and a.attributes["a/reals"]["third"] == 1 / 3
assert a.texts["config"] == "seed = 1\n"
assert (a.tensors["list"] == [1, -1]).all() and a.tensors["scalar"] == 0.1
bitloom_archive.write_archive(
    folder + "b.h5", a.schema_name, a.schema_version,
    {p: (t, a.axes[p], a.units[p]) for p, t in a.tensors.items()}, a.attributes, a.texts)
)");
  EXPECT_EQ(content_checksum(load_archive(dir / "b.h5")), content_checksum(sample()));
}

struct Hostile {
  const char* name;
  const char* python;  ///< changes index, values or root of a file that is whole otherwise
  const char* message;
};

constexpr Hostile kHostile[] = {
    {"whole", "", ""},
    {"storage", "root['storage'] = 'zip'", "expected 'packed', found 'zip'"},
    {"root", "root['more'] = 1", "root: expected attributes in the index"},
    {"foreign", "values['more'] = (ones(2), 'V', '1')", "more: expected values of one type"},
    {"type", "values['values/f64'] = values.pop('values/f32')", "values/f64: expected values of"},
    {"no_values", "del values['values/f32']", "values/f32"},
    {"shuffled_too", "values['shuffled/f32'] = (ones(8).view('u1'), 'B', '1')",
     "shuffled/f32: expected values of a type once"},
    {"shuffled_type", "values['shuffled/f16'] = (ones(8).view('u1'), 'B', '1')",
     "shuffled/f16: expected a type of values"},
    {"shuffled_reals", "values['shuffled/f64'] = (ones(8), 'V', '1')",
     "shuffled/f64: expected values of one type"},
    {"shuffled_torn", "values = {'shuffled/f32': (ones(8).view('u1'), 'B', '1')}",
     "shuffled/f32: expected whole elements"},
    {"shuffled_odd", "values = {'shuffled/f32': bytes_of(b'1' * 33)}", "expected whole elements"},
    {"shuffled_bomb", "values = {'shuffled/f32': bytes_of(b'1' * 262148)}",
     "expected whole elements of at most 262144 bytes"},
    {"shuffled_more", "values = {'shuffled/f32': bytes_of(b'1' * 36)}",
     "shuffled/f32: expected 8 elements"},
    {"stray_text", "texts['graph'] = 'conv'", "graph: expected texts in the index"},
    {"plain", "index = b'{}'", "index: expected at most 4194304 bytes behind zlib's deflate"},
    {"torn", "index = zlib.compress(b' ' * 9999)[:-5]", "behind zlib's deflate"},
    {"index_bomb", "index = zlib.compress(b' ' * 4194305)", "behind zlib's deflate"},
    {"text", "index = 'seed = 1'", "attributes, tensors and texts in JSON"},
    {"list", "index = '[]'", "attributes, tensors and texts in JSON"},
    {"deep", "index = '[' * 100000", "attributes, tensors and texts in JSON"},
    {"no_texts", "del index['texts']", "attributes, tensors and texts in JSON"},
    {"lists", "index['attributes'] = [{'n': 1}]", "attributes, tensors and texts in JSON"},
    {"attribute", "index['attributes'] = {'a': {'n': [1]}}", "attribute 'n': expected a number"},
    {"large", "index['attributes'] = {'a': {'n': 1 << 63}}", "attribute 'n': expected a number"},
    {"no_axes", "del t['w']['axes']", "JSON"},
    {"axes", "t['w']['axes'] = 'O'", "w: expected axes with one letter for each of 2"},
    {"dtype", "t['w']['dtype'] = 'f16'", "w: expected a type of values, found 'f16'"},
    {"rank", "t['w']['shape'] = [1, 2, 3]", "w: expected 0, 1, 2 or 4 dimensions, found 3"},
    {"negative", "t['w']['shape'] = [-2, -3]", "w: expected a shape"},
    {"bomb", "t['w']['shape'] = [1 << 40, 1 << 40]", "w: expected a shape"},
    {"beyond", "t['w']['shape'] = [2, 4]", "w: expected elements from 2 to at most 8, found 8"},
    {"short", "t['w']['shape'] = [2, 2]", "values/f32: expected 6 elements"},
    {"overlap", "t['w']['at'] = 1", "w: expected elements from 2 to at most 8, found 6 from 1"},
    {"before", "t['w']['at'] = -1", "6 from -1"},
    {"listed", "t['l']['shape'] = [3]", "l: expected s64 [2], as its values"},
    {"listed_type", "t['l']['dtype'] = 'f32'", "l: expected s64 [2], as its values"},
    {"long", "t['l']['values'] = [1] * 17", "at most 16 values, found 17"},
    {"real", "t['l']['values'] = ['1', 2]", "JSON"},
};

TEST(PackedArchive, RefusesAnIndexThatDoesNotFitItsValues) {
  const TempDir dir;
  std::string body = R"(
def ones(n): return numpy.ones(n, numpy.float32)
def bytes_of(b): return (numpy.frombuffer(zlib.compress(b), numpy.uint8), "B", "1")
def case(name, change):
    index = {"attributes": {"a": {"n": 1}}, "tensors": {
        "b": {"axes": "C", "dtype": "f32", "shape": [2], "unit": "1", "at": 0},
        "w": {"axes": "OI", "dtype": "f32", "shape": [2, 3], "unit": "1", "at": 2},
        "l": {"axes": "C", "dtype": "s64", "shape": [2], "unit": "1", "values": [1, 2]}},
        "texts": {"graph": "conv"}}
    scope = {"index": index, "t": index["tensors"], "root": {"storage": "packed"}, "ones": ones,
             "zlib": zlib, "bytes_of": bytes_of, "texts": {}, "values": {"values/f32": (ones(8), "V", "1")}}
    exec(change, scope)
    held = scope["index"]
    if not isinstance(held, (str, bytes)): held = json.dumps(held)
    if not isinstance(held, bytes): held = zlib.compress(held.encode())
    values = scope["values"] | {"index": (numpy.frombuffer(held, numpy.uint8), "B", "1")}
    bitloom_archive.write_archive(folder + name + ".h5", "s", 1, values, {"": scope["root"]},
                                  scope["texts"])
)";
  for (const Hostile& hostile : kHostile) {
    body += cat("case('", hostile.name, "', \"", hostile.python, "\")\n");
  }
  run_python(dir, body);
  EXPECT_THAT(load_archive(dir / "whole.h5").tensor("w"), TensorEq(matrix({{1, 1, 1}, {1, 1, 1}})));
  for (const Hostile& hostile : kHostile) {
    const auto path = dir / cat(hostile.name, ".h5");
    SCOPED_TRACE(hostile.name);
    if (*hostile.message == '\0') continue;
    EXPECT_ERROR(FormatError, load_archive(path), path.string(), hostile.message);
  }
}

}  // namespace
}  // namespace bitloom::io
