#include "bitloom/io/hdf5_array.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "bitloom/core/error.h"
#include "hdf5_handle.h"
#include "isolated_read.h"

namespace bitloom::io {
namespace {

// The most that deflate can shrink: a length-258 match takes two bits.
// Source: zlib's technical details, "Maximum Compression Factor".
constexpr std::int64_t kDeflateRatio = 1032;
// A chunk is read whole, however little of it the array takes.
constexpr std::int64_t kMostChunkBytes = std::int64_t{1} << 30;

class ArrayReader {
 public:
  ArrayReader(const std::filesystem::path& file, const std::string& name)
      : file_(file), name_(name) {}

  Tensor read(DType dtype, std::int64_t most_bytes) const;

 private:
  [[noreturn]] void fail(std::string expected, std::string found,
                         std::string remedy = "take another copy of the file") const {
    throw FormatError({.place = cat(file_.string(), ": ", name_),
                       .expected = std::move(expected),
                       .found = std::move(found),
                       .remedy = std::move(remedy)});
  }
  void check(bool ok) const {
    if (!ok) fail("readable content", "a damaged file");
  }

  File open_file() const;
  Dataset open_dataset(hid_t file) const;
  void require_type(hid_t dataset, DType dtype) const;
  std::vector<std::int64_t> read_dims(hid_t dataset) const;
  /// Bytes that the file can hold for this array.
  std::int64_t capacity(hid_t dataset, std::int64_t item_bytes) const;
  Shape shape_of(const std::vector<std::int64_t>& dims) const;

  std::filesystem::path file_;
  std::string name_;
};

File ArrayReader::open_file() const {
  std::error_code ignored;
  if (!std::filesystem::exists(file_, ignored)) {
    throw FormatError({file_.string(), "an HDF5 file", "no such file", "set data.path"});
  }
  if (!std::filesystem::is_regular_file(file_, ignored) || H5Fis_hdf5(file_.c_str()) <= 0) {
    throw FormatError({file_.string(), "an HDF5 file", "another kind of file", "check the path"});
  }
  const Properties access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
  // Nobody writes a data set while it is trained on; a lock would only fail on network disks.
  H5Pset_file_locking(access.get(), false, true);
  File file(H5Fopen(file_.c_str(), H5F_ACC_RDONLY, access.get()));
  if (!file.ok()) {
    throw FormatError({file_.string(), "a whole HDF5 file", "a truncated or damaged one",
                       "take another copy of the file"});
  }
  return file;
}

Dataset ArrayReader::open_dataset(hid_t file) const {
  H5L_info_t link;
  if (H5Lexists(file, name_.c_str(), H5P_DEFAULT) <= 0) {
    fail("a dataset of this name", "none", "see README.md of datasets for the layout");
  }
  check(H5Lget_info(file, name_.c_str(), &link, H5P_DEFAULT) >= 0);
  if (link.type != H5L_TYPE_HARD) {
    fail("a dataset in this file", "a soft or external link", "copy what it points to");
  }
  H5O_info_t info;
  check(H5Oget_info_by_name2(file, name_.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0);
  if (info.type != H5O_TYPE_DATASET) fail("a dataset", "a group or type", "");
  Dataset dataset(H5Dopen2(file, name_.c_str(), H5P_DEFAULT));
  check(dataset.ok());
  return dataset;
}

void ArrayReader::require_type(hid_t dataset, DType dtype) const {
  const Type type(H5Dget_type(dataset));
  check(type.ok());
  const bool whole = H5Tget_class(type.get()) == H5T_INTEGER && H5Tget_size(type.get()) <= 8;
  if (dtype == DType::kS64) {
    if (!whole) fail("integers", "another type", "write them as integers");
    return;
  }
  BITLOOM_ASSERT(dtype == DType::kU8);
  if (!whole || H5Tget_size(type.get()) != 1 || H5Tget_sign(type.get()) != H5T_SGN_NONE) {
    fail("unsigned bytes (u8)", "another type", "write pixels as 0 to 255");
  }
}

std::vector<std::int64_t> ArrayReader::read_dims(hid_t dataset) const {
  const Space space(H5Dget_space(dataset));
  check(space.ok());
  const int rank = H5Sis_simple(space.get()) > 0 ? H5Sget_simple_extent_ndims(space.get()) : -1;
  if (rank != 1 && rank != 2 && rank != 4) {
    fail("1, 2 or 4 dimensions", rank < 0 ? "no shape" : cat(rank), "");
  }
  std::array<hsize_t, 4> dims{};
  check(H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) == rank);
  std::vector<std::int64_t> out;
  for (int axis = 0; axis < rank; ++axis) {
    constexpr hsize_t kMost = hsize_t{1} << 40;
    out.push_back(static_cast<std::int64_t>(std::min(dims[static_cast<std::size_t>(axis)], kMost)));
  }
  return out;
}

std::int64_t ArrayReader::capacity(hid_t dataset, std::int64_t item_bytes) const {
  const Properties made(H5Dget_create_plist(dataset));
  check(made.ok());
  const auto in_file = static_cast<std::int64_t>(
      std::min<std::uintmax_t>(std::filesystem::file_size(file_), std::uintmax_t{1} << 50));
  const auto stored = std::min<std::int64_t>(
      in_file,
      static_cast<std::int64_t>(std::min<hsize_t>(H5Dget_storage_size(dataset), hsize_t{1} << 50)));
  const H5D_layout_t layout = H5Pget_layout(made.get());
  if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT && layout != H5D_CHUNKED) {
    fail("storage in this file", "a virtual dataset", "copy what it refers to");
  }
  if (H5Pget_external_count(made.get()) != 0) {
    fail("storage in this file", "external files", "copy them into it");
  }
  std::int64_t ratio = 1;
  const int filters = H5Pget_nfilters(made.get());
  check(filters >= 0);
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(made.get(), static_cast<unsigned>(i), &flags,
                                               &values, nullptr, 0, nullptr, nullptr);
    if (filter == H5Z_FILTER_DEFLATE) {
      // Twice through deflate would be allowed to shrink by the square.
      if (ratio != 1) fail("one pass of deflate", "more", "");
      ratio = kDeflateRatio;
    } else if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32) {
      fail("no filter but deflate, shuffle and fletcher32", cat("filter ", filter),
           "write it with compression=\"gzip\" or without");
    }
  }
  const std::int64_t most = stored * ratio;
  if (layout == H5D_CHUNKED) {
    std::array<hsize_t, 4> chunk{};
    const int rank = H5Pget_chunk(made.get(), 4, chunk.data());
    check(rank > 0);
    double bytes = static_cast<double>(item_bytes);
    for (int axis = 0; axis < rank; ++axis) {
      bytes *= static_cast<double>(chunk[static_cast<std::size_t>(axis)]);
    }
    if (bytes > static_cast<double>(std::min(most, kMostChunkBytes))) {
      fail(cat("chunks of at most ", std::min(most, kMostChunkBytes), " bytes"),
           cat(static_cast<std::int64_t>(std::fmin(bytes, 0x1p60)) >> 20, " MiB"),
           "write it again with smaller chunks");
    }
  }
  return most;
}

Shape ArrayReader::shape_of(const std::vector<std::int64_t>& dims) const {
  try {
    if (dims.size() == 1) return {dims[0]};
    if (dims.size() == 2) return {dims[0], dims[1]};
    return {dims[0], dims[3], dims[1], dims[2]};
  } catch (const ShapeError& error) {
    fail("a shape that fits the file", error.what());
  }
}

Tensor ArrayReader::read(DType dtype, std::int64_t most_bytes) const {
  const File file = open_file();
  const Dataset dataset = open_dataset(file.get());
  require_type(dataset.get(), dtype);
  const Shape shape = shape_of(read_dims(dataset.get()));
  const Type type(H5Dget_type(dataset.get()));
  const auto item_bytes = static_cast<std::int64_t>(H5Tget_size(type.get()));
  const std::int64_t held = capacity(dataset.get(), item_bytes);
  if (shape.elements() * item_bytes > held) {
    fail(cat("at most ", held, " bytes, as many as the file can hold"),
         cat("a shape of ", shape.elements() * item_bytes, " bytes"));
  }
  const std::int64_t wanted = shape.elements() * static_cast<std::int64_t>(size_of(dtype));
  if (wanted > most_bytes) {
    fail(cat("at most ", most_bytes, " bytes, which is what memory has room for"), cat(wanted),
         "use a part of the set or smaller images");
  }
  Tensor tensor(dtype, shape);
  if (tensor.elements() == 0) return tensor;
  const hid_t memory_type = dtype == DType::kU8 ? H5T_NATIVE_UINT8 : H5T_NATIVE_INT64;
  check(H5Dread(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.raw()) >= 0);
  return tensor;
}

}  // namespace

Tensor read_hdf5_array(const std::filesystem::path& file, const std::string& name, DType dtype,
                       std::int64_t most_bytes) {
  const QuietHdf5 quiet;  // in the parent too: the child must not find the lock taken by a thread
  return read_isolated(file, [&] { return ArrayReader(file, name).read(dtype, most_bytes); });
}

}  // namespace bitloom::io
