#include <functional>
#include <set>
#include <string_view>

#include "archive_format.h"
#include "atomic_file.h"
#include "bitloom/io/hdf5_archive.h"
#include "hdf5_handle.h"
#include "packed_archive.h"

namespace bitloom::io {
namespace {

constexpr std::size_t kGrowthBytes = std::size_t{4} << 20;

class Writer {
 public:
  Writer(const Archive& archive, std::string place) : archive_(archive), place_(std::move(place)) {}

  /// @throws FormatError if the archive's names cannot stand in one file.
  void require_valid() const;
  /// Builds the file in memory and hands its bytes to `use`.
  void write(const std::function<void(std::string_view)>& use);

 private:
  [[noreturn]] void fail(const std::string& path, std::string expected, std::string found) const {
    throw FormatError({.place = cat(place_, ": ", path.empty() ? "root" : path),
                       .expected = std::move(expected),
                       .found = std::move(found),
                       .remedy = ""});
  }
  void check(bool ok, const std::string& path) const {
    if (!ok) fail(path, "to write it", "an error of HDF5; is the memory full?");
  }

  void require_valid_path(const std::string& path) const;
  void require_valid_attribute(const std::string& path, const std::string& name,
                               const AttributeValue& value) const;
  void write_tensor(hid_t file, const std::string& path, const ArchiveTensor& entry);
  void write_text(hid_t file, const std::string& path, const std::string& text);
  void write_attributes(hid_t file, const std::string& path,
                        const std::map<std::string, AttributeValue>& entries);
  void write_attribute(hid_t object, const std::string& path, const std::string& name,
                       const AttributeValue& value);
  void write_scalar(hid_t object, const std::string& path, const std::string& name, hid_t type,
                    const void* value);

  const Archive& archive_;
  std::string place_;
};

// Fixed length: variable-length strings live in a heap that has no checksum of its own. One byte
// more than the text, since HDF5 has no strings of length 0.
Type string_type(std::size_t size) {
  Type type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), size + 1);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  H5Tset_strpad(type.get(), H5T_STR_NULLTERM);
  return type;
}

/// Without times, or two equal archives would give two different files.
Properties creation(hid_t kind) {
  Properties properties(H5Pcreate(kind));
  H5Pset_obj_track_times(properties.get(), false);
  return properties;
}

Properties dataset_creation() {
  Properties properties = creation(H5P_DATASET_CREATE);
  H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
  return properties;
}

Properties parents_made() {
  Properties properties(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(properties.get(), 1);
  return properties;
}

void Writer::require_valid_path(const std::string& path) const {
  const std::vector<std::string> parts = path_parts(path);
  if (parts.empty() || static_cast<int>(parts.size()) > kMaxDepth) {
    fail(path, cat("a path of 1 to ", kMaxDepth, " parts"), cat(parts.size()));
  }
  for (const std::string& part : parts) {
    if (part.empty() || part == "." || part == "..") {
      fail(path, "parts that are names", cat("'", part, "'"));
    }
    if (part.find('\0') != std::string::npos) fail(path, "parts without NUL", "NUL");
  }
}

void Writer::require_valid_attribute(const std::string& path, const std::string& name,
                                     const AttributeValue& value) const {
  const bool at_root = path.empty();
  const bool reserved = at_root ? name == kSchemaName || name == kSchemaVersion ||
                                      name == kChecksum || name == kStorage
                                : archive_.has(path) && (name == kAxes || name == kUnit);
  if (reserved || name.empty() || name.find('\0') != std::string::npos) {
    fail(path, "an attribute name that is not reserved", cat("'", name, "'"));
  }
  const auto* text = std::get_if<std::string>(&value);
  if (text != nullptr && text->size() > kMaxAttributeBytes) {
    fail(path, cat("attribute '", name, "' of at most ", kMaxAttributeBytes, " bytes"),
         cat(text->size()));
  }
}

void Writer::require_valid() const {
  std::set<std::string> leaves;
  for (const auto& [path, entry] : archive_.tensors()) {
    require_valid_path(path);
    leaves.insert(path);
    if (static_cast<int>(entry.axes.size()) != entry.tensor.shape().rank()) {
      fail(path,
           cat("axes with one letter for each of ", entry.tensor.shape().rank(), " dimensions"),
           cat("'", entry.axes, "'"));
    }
    if (entry.tensor.empty()) fail(path, "a tensor with memory", "an empty one");
    for (const std::string* text : {&entry.axes, &entry.unit}) {
      if (text->size() > kMaxAttributeBytes)
        fail(path, "a short unit", cat(text->size(), " bytes"));
    }
  }
  for (const auto& [path, text] : archive_.texts()) {
    require_valid_path(path);
    if (!leaves.insert(path).second) fail(path, "a tensor or a text", "both");
  }
  for (const std::string& path : leaves) {
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      if (leaves.contains(path.substr(0, slash))) {
        fail(path.substr(0, slash), "a group or a dataset", "both");
      }
    }
  }
  for (const auto& [path, entries] : archive_.attributes()) {
    if (!path.empty()) require_valid_path(path);
    for (const auto& [name, value] : entries) require_valid_attribute(path, name, value);
  }
}

void Writer::write(const std::function<void(std::string_view)>& use) {
  const Properties access(H5Pcreate(H5P_FILE_ACCESS));
  // From 1.8 on every piece of metadata carries a checksum, so damage cannot mislead the reader.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V110);
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
  // In memory: HDF5 1.10 crashes at the program's exit if a full disk once made its H5Fclose fail.
  H5Pset_fapl_core(access.get(), kGrowthBytes, /*backing_store=*/false);
  if (archive_.is_packed()) {  // what it reserves and does not fill is much of a small file
    H5Pset_meta_block_size(access.get(), 0);
    H5Pset_small_data_block_size(access.get(), 0);
  }
  const Properties make = creation(H5P_FILE_CREATE);
  const File file(H5Fcreate(place_.c_str(), H5F_ACC_TRUNC, make.get(), access.get()));
  check(file.ok(), "");
  write_attribute(file.get(), "", kSchemaName, archive_.schema_name());
  write_attribute(file.get(), "", kSchemaVersion, std::int64_t{archive_.schema_version()});
  write_attribute(file.get(), "", kChecksum, content_checksum(archive_));
  for (const auto& [name, entry] : archive_.tensors()) write_tensor(file.get(), name, entry);
  for (const auto& [name, text] : archive_.texts()) write_text(file.get(), name, text);
  for (const auto& [name, entries] : archive_.attributes()) {
    write_attributes(file.get(), name, entries);
  }
  check(H5Fflush(file.get(), H5F_SCOPE_GLOBAL) >= 0, "");
  // The core driver's handle is the address of its memory: no second copy of a large file.
  void* handle = nullptr;
  const ssize_t size = H5Fget_file_image(file.get(), nullptr, 0);
  check(size > 0 && H5Fget_vfd_handle(file.get(), H5P_DEFAULT, &handle) >= 0, "");
  use({*static_cast<const char* const*>(handle), static_cast<std::size_t>(size)});
}

void Writer::write_tensor(hid_t file, const std::string& path, const ArchiveTensor& entry) {
  const Tensor& tensor = entry.tensor;
  const std::vector<hsize_t> dims = memory_dims(tensor.shape());
  const Space space(dims.empty()
                        ? H5Screate(H5S_SCALAR)
                        : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr));
  const hid_t type = file_type(tensor.dtype());
  const Dataset dataset(H5Dcreate2(file, path.c_str(), type, space.get(), parents_made().get(),
                                   dataset_creation().get(), H5P_DEFAULT));
  check(dataset.ok(), path);
  check(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.raw()) >= 0, path);
  write_attribute(dataset.get(), path, kAxes, entry.axes);
  write_attribute(dataset.get(), path, kUnit, entry.unit);
}

void Writer::write_text(hid_t file, const std::string& path, const std::string& text) {
  const Type type = string_type(text.size());
  const Space space(H5Screate(H5S_SCALAR));
  const Dataset dataset(H5Dcreate2(file, path.c_str(), type.get(), space.get(),
                                   parents_made().get(), dataset_creation().get(), H5P_DEFAULT));
  check(dataset.ok(), path);
  check(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.c_str()) >= 0,
        path);
}

void Writer::write_attributes(hid_t file, const std::string& path,
                              const std::map<std::string, AttributeValue>& entries) {
  if (entries.empty()) return;
  const std::string full = "/" + path;
  const bool is_leaf = archive_.has(path) || archive_.has_text(path);
  // A group that only carries attributes may not exist yet, nor its parents.
  std::string parent;
  for (const std::string& part : path_parts(path)) {
    parent += "/" + part;
    if (is_leaf || H5Lexists(file, parent.c_str(), H5P_DEFAULT) > 0) continue;
    if (archive_.has(parent.substr(1)) || archive_.has_text(parent.substr(1))) {
      fail(path, "a group or a dataset above it", "both");
    }
    const Group made(H5Gcreate2(file, parent.c_str(), H5P_DEFAULT, creation(H5P_GROUP_CREATE).get(),
                                H5P_DEFAULT));
    check(made.ok(), path);
  }
  const Handle<H5Oclose> object(H5Oopen(file, full.c_str(), H5P_DEFAULT));
  check(object.ok(), path);
  for (const auto& [name, value] : entries) write_attribute(object.get(), path, name, value);
}

void Writer::write_attribute(hid_t object, const std::string& path, const std::string& name,
                             const AttributeValue& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    write_scalar(object, path, name, H5T_STD_I64LE, whole);
  } else if (const auto* real = std::get_if<double>(&value)) {
    write_scalar(object, path, name, H5T_IEEE_F64LE, real);
  } else {
    const auto& text = std::get<std::string>(value);
    write_scalar(object, path, name, string_type(text.size()).get(), text.c_str());
  }
}

void Writer::write_scalar(hid_t object, const std::string& path, const std::string& name,
                          hid_t type, const void* value) {
  const Space space(H5Screate(H5S_SCALAR));
  const Attribute attribute(
      H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT));
  check(attribute.ok() && H5Awrite(attribute.get(), type, value) >= 0, path);
}

}  // namespace

void save_archive(const std::filesystem::path& path, const Archive& archive) {
  const QuietHdf5 quiet;
  Writer writer(archive, path.string());
  writer.require_valid();
  const auto commit = [&path](std::string_view content) { AtomicFile(path).commit(content); };
  if (!archive.is_packed()) return writer.write(commit);
  const Archive stored = packed(archive);
  Writer(stored, path.string()).write(commit);
}

}  // namespace bitloom::io
