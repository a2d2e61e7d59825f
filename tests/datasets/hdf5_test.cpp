// HDF5 data sets as h5py writes them. One run of Python makes all files of a test.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/io/hdf5_array.h"
#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"
#include "support/tensor_matchers.h"

// HDF5 1.10 itself loses a few bytes when it gives up on damaged metadata; our own leaks still
// show.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }  // NOLINT

namespace bitloom::datasets {
namespace {

constexpr const char* kHead = R"(
import sys, os, h5py, numpy as np
def file(folder, name='test.h5'):
    os.makedirs(sys.argv[1] + '/' + folder, exist_ok=True)
    return h5py.File(sys.argv[1] + '/' + folder + '/' + name, 'w')
def plain(folder, images, labels):
    for name in ('train.h5', 'test.h5'):
        with file(folder, name) as f:
            f['images'], f['labels'] = images, labels
images = np.arange(4 * 2 * 3 * 3, dtype='u1').reshape(4, 2, 3, 3)
labels = np.array([0, 1, 2, 1])
)";

void run_python(const TempDir& dir, const std::string& body) {
  io::write_whole_file(dir / "make.py", kHead + body);
  const std::string command =
      cat("/usr/bin/python3 ", (dir / "make.py").string(), " ", dir.path().string());
  ASSERT_EQ(std::system(command.c_str()), 0) << body;
}

DataOptions options_for(const TempDir& dir, const char* folder) {
  return {.reader = "hdf5", .path = (dir / folder).string(), .classes = 3, .validation_images = 1};
}

TEST(Hdf5Reader, ReadsPlainAndCompressedFiles) {
  const TempDir dir;
  run_python(dir, R"(
plain('plain', images, labels)
with file('packed') as f:
    f.create_dataset('images', data=images, chunks=(2, 2, 3, 3), compression='gzip', shuffle=True,
                     fletcher32=True, maxshape=(None, 2, 3, 3))
    f.create_dataset('labels', data=labels.astype('>u2'), chunks=(3,))
)");
  const Dataset data = load_dataset(options_for(dir, "plain"));
  EXPECT_EQ(data.image_shape, (Shape{1, 3, 2, 3}));
  EXPECT_EQ(data.train.size(), 3);
  EXPECT_EQ(data.validation.size(), 1);
  for (const char* folder : {"plain", "packed"}) {
    const ImageSet test = load_test_set(options_for(dir, folder));
    EXPECT_EQ(test.labels, (std::vector<std::int32_t>{0, 1, 2, 1})) << folder;
    ASSERT_EQ(test.images.elements(), 72) << folder;
    for (std::int64_t i = 0; i < 72; ++i) ASSERT_EQ(test.images.data<std::uint8_t>()[i], i);
  }
}

struct Broken {
  const char* folder;
  const char* python;
  const char* message;
};

// Sizes in `bomb*` would take 2^38 bytes and more; nothing of them was ever written.
constexpr Broken kBroken[] = {
    {"label", "plain('label', images, np.array([0, 1, 3, 1]))",
     "labels: expected labels 0 to 2, found 3 for image 2; set data.classes"},
    {"negative", "plain('negative', images, np.array([0, -1, 2, 1]))", "found -1 for image 1"},
    {"huge_label", "plain('huge_label', images, np.full(4, 1 << 63, 'u8'))", "for image 0"},
    {"fewer", "plain('fewer', images, labels[:3])", "shape [4], a label an image, found [3]"},
    {"one_hot", "plain('one_hot', images, np.eye(4, 3, dtype='u1'))", "found [4, 3]"},
    {"float_labels", "plain('float_labels', images, labels.astype('f4'))",
     "labels: expected integers"},
    {"float_images", "plain('float_images', images / 255., labels)", "unsigned bytes"},
    {"signed_images", "plain('signed_images', images.astype('i1'), labels)", "unsigned bytes"},
    {"rank3", "plain('rank3', images[0], labels)", "1, 2 or 4 dimensions, found 3"},
    {"rank2", "plain('rank2', images[0, 0], labels)",
     "expected 4 dimensions [N, H, W, C], found 2"},
    {"none", "plain('none', images[:0], labels[:0])", "at least one image"},
    {"channels", "plain('channels', np.zeros((4, 3, 2, 65), 'u1'), labels)", "1 to 64 channels"},
    {"no_labels", "file('no_labels')['images'] = images", "labels: expected a dataset"},
    {"group", "file('group').create_group('images')", "images: expected a dataset, found a group"},
    {"soft", "file('soft')['images'] = h5py.SoftLink('/x')", "soft or external link"},
    {"external", "file('external')['images'] = h5py.ExternalLink('/etc/hostname', '/')",
     "soft or external link"},
    {"outside",
     "file('outside').create_dataset('images', (1, 1, 1, 9), 'u1', "
     "external=[('/etc/passwd', 0, 9)])",
     "external files"},
    {"virtual",
     "l = h5py.VirtualLayout((4, 2, 3, 3), 'u1'); l[:] = h5py.VirtualSource('x', 'y', (4, 2, 3, 3))"
     "; file('virtual').create_virtual_dataset('images', l)",
     "virtual dataset"},
    {"lzf", "file('lzf').create_dataset('images', data=images, compression='lzf')", "filter"},
    {"bomb", "file('bomb').create_dataset('images', (1 << 20, 512, 512, 1), 'u1')",
     "as many as the file can hold"},
    {"bomb_chunks",
     "file('bomb_chunks').create_dataset('images', (1 << 20, 512, 512, 1), 'u1', "
     "chunks=(1, 512, 512, 1), compression='gzip')[0] = 1",
     "expected "},
    {"bomb_chunk",
     "file('bomb_chunk').create_dataset('images', (1, 1, 1, 1), 'u1', maxshape=(None,) * 4, "
     "chunks=(1 << 10, 1 << 10, 1 << 10, 1), compression='gzip')",
     "chunks of at most"},
    {"bomb_shape", "file('bomb_shape').create_dataset('images', (1 << 40, 9, 9, 9), 'u1')",
     "expected a shape that fits"},
};

TEST(Hdf5Reader, NamesWhatIsWrong) {
  const TempDir dir;
  std::string python;
  for (const Broken& broken : kBroken) python += cat(broken.python, "\n");
  run_python(dir, python);
  int seen = 0;
  for (const Broken& broken : kBroken) {
    SCOPED_TRACE(broken.folder);
    EXPECT_ERROR(FormatError, load_test_set(options_for(dir, broken.folder)), "test.h5",
                 broken.message);
    ++seen;
  }
  EXPECT_GT(seen, 20);
}

TEST(Hdf5Reader, NamesMissingAndOtherFiles) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "set");
  const DataOptions options = options_for(dir, "set");
  EXPECT_ERROR(FormatError, load_test_set(options), "test.h5: expected an HDF5 file, found no such",
               "data.path");
  io::write_whole_file(dir / "set/test.h5", "hello");
  EXPECT_ERROR(FormatError, load_test_set(options), "found another kind of file");
  std::filesystem::remove(dir / "set/test.h5");
  std::filesystem::create_directories(dir / "set/test.h5");
  EXPECT_ERROR(FormatError, load_test_set(options), "found another kind of file");
}

TEST(Hdf5Reader, RefusesMoreThanMemoryHasRoomFor) {
  const TempDir dir;
  run_python(dir, "plain('plain', images, labels)");
  const auto file = dir / "plain/test.h5";
  EXPECT_EQ(io::read_hdf5_array(file, "images", DType::kU8, 72).elements(), 72);
  EXPECT_ERROR(FormatError, io::read_hdf5_array(file, "images", DType::kU8, 71), "at most 71 bytes",
               "found 72");
}

TEST(Hdf5Reader, CutAnywhereIsRefused) {
  const TempDir dir;
  run_python(dir, "plain('plain', images, labels)");
  const std::string whole = io::read_whole_file(dir / "plain/test.h5");
  int cuts = 0;
  for (std::size_t size = 0; size < whole.size(); size += 97, ++cuts) {
    io::write_whole_file(dir / "plain/test.h5", std::string_view(whole).substr(0, size));
    EXPECT_THROW(load_test_set(options_for(dir, "plain")), FormatError) << size;
  }
  EXPECT_GT(cuts, 15);
}

// HDF5 1.10 divides by the sizes of a chunk when it opens a dataset, before anybody can look at
// them.
TEST(Hdf5Reader, CrashInsideHdf5IsAnErrorThatNamesTheFile) {
  const TempDir dir;
  run_python(dir, R"(
with file('packed') as f:
    f.create_dataset('images', data=images, chunks=(2, 2, 3, 3), compression='gzip')
    f['labels'] = labels
path = sys.argv[1] + '/packed/test.h5'
data = open(path, 'rb').read()
chunk = np.array([2, 2, 3, 3, 1], '<u4').tobytes()
assert data.count(chunk) == 1
open(path, 'wb').write(data.replace(chunk, bytes(20)))
)");
  EXPECT_ERROR(FormatError, load_test_set(options_for(dir, "packed")), "test.h5", "a damaged file",
               "take another copy");
}

// Plain h5py files keep no checksums of their metadata. Whatever a flipped bit makes of it, the
// reader answers with a set or with an error that names the file.
TEST(Hdf5Reader, SurvivesFlippedBytes) {
  const TempDir dir;
  run_python(dir, R"(
plain('plain', images, labels)
with file('packed') as f:
    f.create_dataset('images', data=images, chunks=(2, 2, 3, 3), compression='gzip')
    f.create_dataset('labels', data=labels, chunks=(3,))
)");
  const RandomStream random(1, "flip");
  int refused = 0;
  int taken = 0;
  for (const char* folder : {"plain", "packed"}) {
    const auto path = dir / cat(folder, "/test.h5");
    const std::string whole = io::read_whole_file(path);
    for (std::size_t at = 0; at < whole.size(); at += 223) {
      std::string broken = whole;
      broken[at] = static_cast<char>(broken[at] ^ (1 << random.below(at, 8)));
      std::ofstream(path, std::ios::binary) << broken;
      try {
        EXPECT_GT(load_test_set(options_for(dir, folder)).images.elements(), 0);
        ++taken;
      } catch (const FormatError& error) {
        EXPECT_NE(std::string(error.what()).find("test.h5"), std::string::npos) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused + taken, 40);
  EXPECT_GT(taken, 5);
}

}  // namespace
}  // namespace bitloom::datasets
