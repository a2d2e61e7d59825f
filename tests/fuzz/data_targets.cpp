// Readers of data sets.
#include <algorithm>

#include "../../datasets/image_file.h"
#include "bitloom/core/error.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "datasets/idx_files.h"
#include "fuzz/one_file.h"
#include "fuzz/target.h"

// HDF5 1.10 itself loses a few bytes when it gives up on damaged metadata.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }  // NOLINT

namespace bitloom::fuzz {
namespace {

datasets::DataOptions options_of(const std::string& reader, const std::string& folder) {
  return {.reader = reader, .path = folder, .classes = 10};
}

/// The images' file; the labels are right ones of ten images.
void run_idx(std::string_view bytes) {
  static const OneFile file("t10k-images-idx3-ubyte");
  static const bool labels = [] {
    io::write_whole_file(file.dir() / "t10k-labels-idx1-ubyte",
                         datasets::idx_bytes({10}, datasets::counted_bytes(10, 10)));
    return true;
  }();
  static_cast<void>(labels);
  file.with(bytes);
  datasets::load_test_set(options_of("idx", file.folder()));
}

std::vector<std::string> idx_seeds() {
  const std::string plain = datasets::idx_bytes({10, 2, 3}, datasets::counted_bytes(60));
  return {plain, datasets::gzipped(plain),
          datasets::gzipped(plain.substr(0, 20)) + datasets::gzipped(plain.substr(20))};
}

void run_cifar10(std::string_view bytes) {
  static const OneFile file("test_batch.bin");
  file.with(bytes);
  datasets::load_test_set(options_of("cifar10", file.folder()));
}

std::vector<std::string> cifar10_seeds() { return {std::string(3073, '\5')}; }

void run_picture(std::string_view bytes) {
  static const OneFile file("picture");
  file.with(bytes);
  // A few kilobytes may claim 89 megapixels, honestly; that is slow, not wrong.
  const datasets::Picture picture = datasets::read_picture(file.with(bytes), false);
  static_cast<void>(picture);
}

std::vector<std::string> picture_seeds() {
  const Archive archive = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/pictures.h5");
  std::vector<std::string> all;
  for (const auto& [path, entry] : archive.tensors()) {
    if (!path.starts_with("file/")) continue;
    all.emplace_back(static_cast<const char*>(entry.tensor.raw()), entry.tensor.bytes());
  }
  return all;
}

void run_hdf5(std::string_view bytes) {
  static const OneFile file("test.h5");
  file.with(bytes);
  datasets::load_test_set(options_of("hdf5", file.folder()));
}

/// An archive's tensors are datasets like any other.
std::vector<std::string> hdf5_seeds() {
  const OneFile file("seed.h5");
  Archive archive("data", 1);
  archive.put("images", Tensor(DType::kU8, Shape{4, 1, 2, 3}), "NHWC");
  archive.put("labels", Tensor(DType::kS64, Shape{4}), "N");
  const std::filesystem::path path = file.with("");
  io::save_archive(path, archive);
  return {io::read_whole_file(path)};
}

}  // namespace

Target idx_target() { return {"idx", run_idx, idx_seeds}; }
Target cifar10_target() { return {"cifar10", run_cifar10, cifar10_seeds}; }
Target picture_target() { return {"picture", run_picture, picture_seeds}; }
Target hdf5_target() { return {"hdf5", run_hdf5, hdf5_seeds}; }

}  // namespace bitloom::fuzz
