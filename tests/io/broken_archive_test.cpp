// No file, however broken, gives anything but a FormatError.
#include <gtest/gtest.h>

#include <cstdlib>

#include "bitloom/core/random.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"
#include "support/tensor_matchers.h"

// HDF5 1.10 itself loses a few bytes when it gives up on damaged metadata; our own leaks still
// show.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }  // NOLINT

namespace bitloom::io {
namespace {

Archive small() {
  Archive archive("small", 1);
  archive.put("group/weight", matrix({{1, 2, 3}, {4, 5, 6}}), "OI", "weight");
  archive.put_text("graph", "conv");
  archive.put_attribute("group", "step", std::int64_t{5});
  return archive;
}

/// Runs `body` of Python on a file of small(); `f` is open for writing.
std::filesystem::path changed(const TempDir& dir, const std::string& body) {
  const auto path = dir / "a.h5";
  save_archive(path, small());
  write_whole_file(dir / "change.py",
                   "import sys, h5py, numpy\nf = h5py.File(sys.argv[1], 'r+')\n" + body);
  const std::string command =
      cat("/usr/bin/python3 ", (dir / "change.py").string(), " ", path.string());
  EXPECT_EQ(std::system(command.c_str()), 0) << body;
  return path;
}

struct Change {
  const char* name;
  const char* python;
  const char* message;
};

void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }

class BrokenArchive : public ::testing::TestWithParam<Change> {};

TEST_P(BrokenArchive, IsRefused) {
  const TempDir dir;
  const auto path = changed(dir, GetParam().python);
  EXPECT_ERROR(FormatError, load_archive(path), path.string(), GetParam().message);
}

constexpr Change kChanges[] = {
    {"value", "f['group/weight'][0, 0] = 9", "damaged"},
    {"text", "f['graph'][()] = b'cone'", "damaged"},
    {"attribute", "f['group'].attrs.modify('step', 6)", "damaged"},
    {"unit", "f['group/weight'].attrs.modify('unit', numpy.bytes_(b'weighs'))", "damaged"},
    {"added", "f['group'].attrs.create('n', 1, dtype='<i8')", "damaged"},
    {"removed", "del f['graph']", "damaged"},
    {"renamed", "f.move('graph', 'graph2')", "damaged"},
    {"version", "f.attrs.modify('schema_version', 2)", "damaged"},
    {"no_schema", "del f.attrs['schema_name']", "expected attribute 'schema_name', found none"},
    {"no_version", "del f.attrs['schema_version']", "'schema_version'"},
    {"no_checksum", "del f.attrs['checksum']", "'checksum'"},
    {"text_version", "f.attrs['schema_version'] = numpy.bytes_(b'1')", "schema_version"},
    {"no_axes", "del f['group/weight'].attrs['axes']", "group/weight: expected attribute 'axes'"},
    {"wrong_axes", "f['group/weight'].attrs['axes'] = numpy.bytes_(b'O')", "2 dimensions"},
    {"soft_link", "f['l'] = h5py.SoftLink('/graph')",
     "l: expected a dataset or group, found a soft"},
    {"external_link", "f['l'] = h5py.ExternalLink('/etc/hostname', '/')", "soft or external link"},
    {"hard_link", "f['l'] = f['graph']", "damaged"},
    {"virtual",
     "l = h5py.VirtualLayout((3,), 'f4'); l[:] = h5py.VirtualSource('/etc/hostname', 'x', (3,))\n"
     "f.create_virtual_dataset('d', l)",
     "virtual storage"},
    {"cycle", "f['group/self'] = f['group']", "too many or too deep"},
    {"named_type", "f['t'] = numpy.dtype('f4')", "another object"},
    {"chunked", "f.create_dataset('d', data=numpy.ones(9), chunks=(3,))", "chunked"},
    {"filter", "f.create_dataset('d', data=numpy.ones(9), compression='gzip')", "chunked"},
    {"external", "f.create_dataset('d', (9,), 'u1', external=[('/etc/passwd', 0, 9)])",
     "external files"},
    {"rank", "f['d'] = numpy.ones((1, 2, 3))", "d: expected 0, 1, 2 or 4 dimensions, found 3"},
    {"rank5", "f['d'] = numpy.ones((1, 1, 1, 1, 1))", "found 5"},
    {"null", "f['d'] = h5py.Empty('f4')", "found none"},
    {"big_endian", "f['d'] = numpy.ones(3, '>f4')", "little-endian"},
    {"half", "f['d'] = numpy.ones(3, 'f2')", "little-endian"},
    {"compound", "f['d'] = numpy.zeros(3, [('a', 'f4')])", "little-endian"},
    {"variable_text", "f['d'] = 'text'", "fixed length"},
    {"text_array", "f['d'] = numpy.array([b'a', b'b'])", "fixed length"},
    {"array_attribute", "f.attrs['n'] = numpy.ones(3)", "attribute 'n': expected a scalar"},
    {"int_attribute", "f.attrs['n'] = numpy.int16(3)", "found another type"},
    {"variable_attribute", "f.attrs['n'] = 'text'", "found another type"},
    // Declares 2^38 floats; nothing was ever written.
    {"bomb", "f.create_dataset('d', (1 << 19, 1 << 19), 'f4')", "as many as the file holds"},
    {"bomb2", "f.create_dataset('d', (1 << 31, 1 << 29), 'u1')", "2^40"},
    // The same bytes under many names: each fits the file, all together do not.
    {"aliases",
     "f['w'] = numpy.bytes_(b'x' * 100000)\n"
     "[f.__setitem__(f'w{i}', f['w']) for i in range(50)]",
     "as many as the file holds"},
};

INSTANTIATE_TEST_SUITE_P(Changes, BrokenArchive, ::testing::ValuesIn(kChanges),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(BrokenFile, NamesWhatIsMissingOrOfAnotherKind) {
  const TempDir dir;
  EXPECT_ERROR(FormatError, load_archive(dir / "none.h5"), "none.h5", "No such file");
  EXPECT_ERROR(FormatError, load_archive(dir.path()), "expected a regular file");
  write_whole_file(dir / "text.h5", "hello");
  EXPECT_ERROR(FormatError, load_archive(dir / "text.h5"), "expected an HDF5 file");
  write_whole_file(dir / "empty.h5", "");
  EXPECT_ERROR(FormatError, load_archive(dir / "empty.h5"), "expected an HDF5 file");
}

TEST(BrokenFile, CutAnywhereIsRefused) {
  const TempDir dir;
  save_archive(dir / "a.h5", small());
  const std::string whole = read_whole_file(dir / "a.h5");
  int cuts = 0;
  for (std::size_t size = 0; size < whole.size(); size += 37, ++cuts) {
    write_whole_file(dir / "b.h5", std::string_view(whole).substr(0, size));
    ASSERT_THROW(load_archive(dir / "b.h5"), FormatError) << size;
  }
  EXPECT_GT(cuts, 20);
}

// Metadata carries HDF5's checksums, data ours; bytes that nobody reads may change.
TEST(BrokenFile, FlippedBytesAreRefusedOrHarmless) {
  const TempDir dir;
  save_archive(dir / "a.h5", small());
  const std::string whole = read_whole_file(dir / "a.h5");
  const std::string sum = content_checksum(small());
  int refused = 0;
  const RandomStream random(1, "flip");
  for (std::size_t at = 0; at < whole.size(); at += 3) {
    std::string broken = whole;
    broken[at] = static_cast<char>(broken[at] ^ (1 << random.below(at, 8)));
    std::filesystem::remove(dir / "b.h5");
    write_whole_file(dir / "b.h5", broken);
    try {
      ASSERT_EQ(content_checksum(load_archive(dir / "b.h5")), sum) << at;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace bitloom::io
