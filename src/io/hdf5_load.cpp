#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "archive_format.h"
#include "bitloom/io/hdf5_archive.h"
#include "hdf5_handle.h"
#include "isolated_read.h"
#include "packed_archive.h"

namespace bitloom::io {
namespace {

// Far above any real file; stops groups that hold themselves by hard links.
constexpr int kMaxObjects = 100000;

using Object = Handle<H5Oclose>;

class Reader {
 public:
  Reader(const std::filesystem::path& file, std::int64_t file_bytes, bool compare_checksum)
      : file_(file), bytes_left_(file_bytes), compare_checksum_(compare_checksum) {}

  Archive read();

 private:
  [[noreturn]] void fail(const std::string& path, std::string expected, std::string found,
                         std::string remedy = "the file was not written by bitloom") const {
    throw FormatError({.place = path.empty() ? file_.string() : cat(file_.string(), ": ", path),
                       .expected = std::move(expected),
                       .found = std::move(found),
                       .remedy = std::move(remedy)});
  }
  void check(bool ok, const std::string& path) const {
    if (!ok) fail(path, "readable content", "a damaged file", kDamagedRemedy);
  }

  void read_root(hid_t root);
  void read_group(hid_t group, const std::string& path, int depth);
  void read_dataset(hid_t dataset, const std::string& path);
  void read_attributes(hid_t object, const std::string& path);
  void require_plain_storage(hid_t dataset, const std::string& path) const;
  void claim_bytes(hid_t dataset, std::int64_t declared, const std::string& path);
  Shape read_shape(hid_t dataset, const std::string& path) const;
  DType read_dtype(hid_t dataset, const std::string& path) const;
  AttributeValue read_attribute(hid_t object, const std::string& path,
                                const std::string& name) const;
  /// Takes `name` out of what read_attributes() collected for `path`.
  AttributeValue take(const std::string& path, const std::string& name);
  std::string take_text(const std::string& path, const std::string& name);

  static constexpr const char* kDamagedRemedy = "take another copy of the file";

  std::filesystem::path file_;
  std::int64_t bytes_left_;
  bool compare_checksum_;
  int objects_ = 0;
  std::string checksum_;
  Archive archive_;
  std::map<std::string, std::map<std::string, AttributeValue>> attributes_;
};

Archive Reader::read() {
  if (H5Fis_hdf5(file_.c_str()) <= 0) {
    fail("", "an HDF5 file", "another kind of file", "check the path");
  }
  const Properties access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
  // Files are replaced by renaming, never changed in place: a lock would only fail on network
  // disks.
  H5Pset_file_locking(access.get(), false, true);
  const File file(H5Fopen(file_.c_str(), H5F_ACC_RDONLY, access.get()));
  if (!file.ok()) fail("", "a whole HDF5 file", "a truncated or damaged one", kDamagedRemedy);
  const Group root(H5Gopen2(file.get(), "/", H5P_DEFAULT));
  check(root.ok(), "");
  read_root(root.get());
  return std::move(archive_);
}

void Reader::read_root(hid_t root) {
  for (const char* name : {kSchemaName, kSchemaVersion, kChecksum}) {
    if (H5Aexists(root, name) <= 0) fail("", cat("attribute '", name, "'"), "none");
  }
  read_attributes(root, "");
  const std::string schema = take_text("", kSchemaName);
  const AttributeValue version = take("", kSchemaVersion);
  const auto* number = std::get_if<std::int64_t>(&version);
  if (number == nullptr || *number < 0 || *number > 1000000) {
    fail("", "a whole schema_version", "another value");
  }
  archive_ = Archive(schema, static_cast<int>(*number));
  archive_.set_source(file_.string());
  const std::string stored = take_text("", kChecksum);
  read_group(root, "", 0);
  for (auto& [path, entries] : attributes_) {
    for (auto& [name, value] : entries) archive_.put_attribute(path, name, std::move(value));
  }
  if (!compare_checksum_) return;
  const std::string found = content_checksum(archive_);
  if (stored != found) {
    fail("", cat("checksum ", stored), cat(found, ": the file is damaged"), kDamagedRemedy);
  }
}

std::vector<std::string> link_names(hid_t group) {
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    auto& list = *static_cast<std::vector<std::string>*>(out);
    list.emplace_back(name);
    return list.size() > kMaxObjects ? -1 : 0;
  };
  if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &names) < 0) return {""};
  return names;
}

void Reader::read_group(hid_t group, const std::string& path, int depth) {
  for (const std::string& name : link_names(group)) {
    const std::string child = path.empty() ? name : path + "/" + name;
    check(!name.empty(), path);
    if (depth >= kMaxDepth || ++objects_ > kMaxObjects) {
      fail(child, "a plain tree of groups", "too many or too deep ones");
    }
    H5L_info_t link;
    check(H5Lget_info(group, name.c_str(), &link, H5P_DEFAULT) >= 0, child);
    if (link.type != H5L_TYPE_HARD) fail(child, "a dataset or group", "a soft or external link");
    const Object object(H5Oopen(group, name.c_str(), H5P_DEFAULT));
    check(object.ok(), child);
    switch (H5Iget_type(object.get())) {
      case H5I_GROUP:
        read_attributes(object.get(), child);
        read_group(object.get(), child, depth + 1);
        break;
      case H5I_DATASET:
        read_attributes(object.get(), child);
        read_dataset(object.get(), child);
        break;
      default:
        fail(child, "a dataset or group", "another object");
    }
  }
}

void Reader::require_plain_storage(hid_t dataset, const std::string& path) const {
  const Properties made(H5Dget_create_plist(dataset));
  check(made.ok(), path);
  const H5D_layout_t layout = H5Pget_layout(made.get());
  if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) {
    fail(path, "contiguous storage", "chunked or virtual storage");
  }
  if (H5Pget_nfilters(made.get()) != 0) fail(path, "storage without filters", "filters");
  if (H5Pget_external_count(made.get()) != 0) fail(path, "storage in this file", "external files");
}

/// A dataset cannot hold more than the file does: stops shapes that would eat all memory.
void Reader::claim_bytes(hid_t dataset, std::int64_t declared, const std::string& path) {
  const auto stored = H5Dget_storage_size(dataset);
  if (declared > bytes_left_ || stored != static_cast<hsize_t>(declared)) {
    fail(path,
         cat("at most ", std::min<hsize_t>(stored, static_cast<hsize_t>(bytes_left_)),
             " bytes, as many as the file holds"),
         cat("a shape of ", declared, " bytes"), kDamagedRemedy);
  }
  bytes_left_ -= declared;
}

Shape Reader::read_shape(hid_t dataset, const std::string& path) const {
  const Space space(H5Dget_space(dataset));
  const H5S_class_t kind = H5Sget_simple_extent_type(space.get());
  const int rank = kind == H5S_SCALAR ? 0 : H5Sget_simple_extent_ndims(space.get());
  if ((kind != H5S_SCALAR && kind != H5S_SIMPLE) || rank < 0 || rank == 3 || rank > 4) {
    fail(path, "0, 1, 2 or 4 dimensions", kind == H5S_NULL ? "none" : cat(rank));
  }
  std::array<hsize_t, 4> dims{};
  if (rank > 0) check(H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) == rank, path);
  std::array<std::int64_t, 4> d{};
  for (std::size_t axis = 0; axis < 4; ++axis) {
    d[axis] = static_cast<std::int64_t>(std::min<hsize_t>(dims[axis], hsize_t{1} << 62));
  }
  try {
    switch (rank) {
      case 0:
        return {};
      case 1:
        return {d[0]};
      case 2:
        return {d[0], d[1]};
      default:
        return {d[0], d[3], d[1], d[2]};
    }
  } catch (const ShapeError& error) {
    fail(path, "a shape that fits the file", error.what(), kDamagedRemedy);
  }
}

DType Reader::read_dtype(hid_t dataset, const std::string& path) const {
  const Type type(H5Dget_type(dataset));
  check(type.ok(), path);
  for (const DType dtype : kDTypes) {
    if (H5Tequal(type.get(), file_type(dtype)) > 0) return dtype;
  }
  fail(path, "little-endian f32, f64, u8, s8, s32, s64, u16 (bf16) or a text", "another type");
}

void Reader::read_dataset(hid_t dataset, const std::string& path) {
  require_plain_storage(dataset, path);
  const Type type(H5Dget_type(dataset));
  const Shape shape = read_shape(dataset, path);
  if (H5Tget_class(type.get()) == H5T_STRING) {
    if (shape.rank() != 0 || H5Tis_variable_str(type.get()) > 0) {
      fail(path, "a scalar string of fixed length", "an array or a variable length");
    }
    const std::size_t size = H5Tget_size(type.get());
    claim_bytes(dataset, static_cast<std::int64_t>(size), path);
    std::string text(size, '\0');
    check(H5Dread(dataset, type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) >= 0, path);
    if (H5Tget_strpad(type.get()) == H5T_STR_NULLTERM) text.resize(size - 1);
    archive_.put_text(path, std::move(text));
    return;
  }
  const DType dtype = read_dtype(dataset, path);
  claim_bytes(dataset, shape.elements() * static_cast<std::int64_t>(size_of(dtype)), path);
  Tensor tensor(dtype, shape);
  if (tensor.elements() > 0) {
    check(H5Dread(dataset, file_type(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.raw()) >= 0,
          path);
  }
  std::string axes = take_text(path, kAxes);
  if (static_cast<int>(axes.size()) != shape.rank()) {
    fail(path, cat("axes with one letter for each of ", shape.rank(), " dimensions"),
         cat("'", axes, "'"));
  }
  std::string unit = take_text(path, kUnit);
  archive_.put(path, std::move(tensor), std::move(axes), std::move(unit));
}

void Reader::read_attributes(hid_t object, const std::string& path) {
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
    auto& list = *static_cast<std::vector<std::string>*>(out);
    list.emplace_back(name);
    return list.size() > kMaxObjects ? -1 : 0;
  };
  check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &names) >= 0, path);
  for (const std::string& name : names) {
    attributes_[path][name] = read_attribute(object, path, name);
  }
}

AttributeValue Reader::read_attribute(hid_t object, const std::string& path,
                                      const std::string& name) const {
  const std::string place = cat(path.empty() ? "root" : path, ", attribute '", name, "'");
  const Attribute attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT));
  check(attribute.ok(), place);
  const Type type(H5Aget_type(attribute.get()));
  const Space space(H5Aget_space(attribute.get()));
  if (H5Sget_simple_extent_type(space.get()) != H5S_SCALAR ||
      H5Aget_storage_size(attribute.get()) > 2 * kMaxAttributeBytes) {
    fail(place, "a scalar", "an array");
  }
  if (H5Tequal(type.get(), H5T_STD_I64LE) > 0) {
    std::int64_t value = 0;
    check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) >= 0, place);
    return value;
  }
  if (H5Tequal(type.get(), H5T_IEEE_F64LE) > 0) {
    double value = 0;
    check(H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &value) >= 0, place);
    return value;
  }
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) > 0) {
    fail(place, "an int64, a double or a string of fixed length", "another type");
  }
  std::string text(H5Tget_size(type.get()), '\0');
  check(H5Aread(attribute.get(), type.get(), text.data()) >= 0, place);
  if (H5Tget_strpad(type.get()) == H5T_STR_NULLTERM) text.pop_back();
  return text;
}

AttributeValue Reader::take(const std::string& path, const std::string& name) {
  auto& entries = attributes_[path];
  const auto entry = entries.find(name);
  if (entry == entries.end()) fail(path, cat("attribute '", name, "'"), "none");
  AttributeValue value = std::move(entry->second);
  entries.erase(entry);
  return value;
}

std::string Reader::take_text(const std::string& path, const std::string& name) {
  AttributeValue value = take(path, name);
  auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) fail(path, cat("attribute '", name, "' with a text"), "a number");
  return std::move(*text);
}

}  // namespace

Archive load_archive(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw FormatError({.place = path.string(),
                       .expected = "a file",
                       .found = std::strerror(errno),
                       .remedy = "check the path"});
  }
  if (!S_ISREG(status.st_mode)) {
    throw FormatError({.place = path.string(),
                       .expected = "a regular file",
                       .found = S_ISDIR(status.st_mode) ? "a folder" : "a device or pipe",
                       .remedy = S_ISDIR(status.st_mode) ? "name a file in it" : "check the path"});
  }
  const QuietHdf5 quiet;  // in the parent too: the child must not find the lock taken by a thread
  read_isolated(path, [&] {
    Reader(path, status.st_size, false).read();
    return Tensor(DType::kU8, Shape{0});
  });
  Archive archive = Reader(path, status.st_size, true).read();
  return archive.has_attribute("", kStorage) ? unpacked(archive) : std::move(archive);
}

}  // namespace bitloom::io
