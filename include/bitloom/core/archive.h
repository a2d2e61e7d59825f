// A file's content as plain data: named tensors, texts and attributes under one schema.
// Comes from: io (HDF5), train (checkpoint), integer (exported model). Goes to: the same.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>

#include "bitloom/core/tensor.h"

namespace bitloom {

using AttributeValue = std::variant<std::int64_t, double, std::string>;

/// One named tensor with what a foreign reader needs to understand it.
struct ArchiveTensor {
  Tensor tensor;
  std::string
      axes;  ///< memory order, one letter a dimension: "OHWI", "OI", "C", "NHWC"; "" for scalars
  std::string unit;  ///< unit or meaning of a value: "1", "code", "s", "weight", ...
};

/// Whole content of a checkpoint or model file. Paths look like "parameters/conv1.weight";
/// attributes belong to a path ("" is the root). Order is by name, so equal contents give equal
/// files.
class Archive {
 public:
  Archive() = default;
  Archive(std::string schema_name, int schema_version)
      : schema_name_(std::move(schema_name)), schema_version_(schema_version) {}

  const std::string& schema_name() const { return schema_name_; }
  int schema_version() const { return schema_version_; }

  void put(const std::string& path, Tensor tensor, std::string axes, std::string unit = "1");
  void put_text(const std::string& path, std::string text);
  void put_attribute(const std::string& path, const std::string& name, AttributeValue value);

  bool has(const std::string& path) const { return tensors_.contains(path); }
  bool has_text(const std::string& path) const { return texts_.contains(path); }

  /// @throws FormatError that names the path (and `source`, the file) if missing or of another
  /// type.
  const Tensor& tensor(const std::string& path) const;
  /// As above, and the shape and type must match.
  const Tensor& tensor(const std::string& path, DType dtype, const Shape& shape) const;
  const std::string& text(const std::string& path) const;
  std::int64_t integer(const std::string& path, const std::string& name) const;
  double real(const std::string& path, const std::string& name) const;
  const std::string& word(const std::string& path, const std::string& name) const;
  bool has_attribute(const std::string& path, const std::string& name) const;

  const std::map<std::string, ArchiveTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& texts() const { return texts_; }
  const std::map<std::string, std::map<std::string, AttributeValue>>& attributes() const {
    return attributes_;
  }

  /// On disk in a few datasets, not one for each tensor: for many small ones. The content, its
  /// paths and what the readers above give are the same; a reader sets it as the file lies.
  void set_packed(bool packed) { is_packed_ = packed; }
  bool is_packed() const { return is_packed_; }

  /// File name for messages; set by the reader.
  void set_source(std::string source) { source_ = std::move(source); }
  const std::string& source() const { return source_; }

  /// @throws FormatError unless the schema is `name` in this very version.
  void require_schema(const std::string& name, int version) const;

 private:
  std::string schema_name_;
  int schema_version_ = 0;
  std::string source_;
  bool is_packed_ = false;
  std::map<std::string, ArchiveTensor> tensors_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, std::map<std::string, AttributeValue>> attributes_;
};

/// What went wrong in a part of `archive`, with the name of its file in front unless it is there.
std::string with_source(const Archive& archive, const Error& error);

/// `read()`, which makes something of `archive`; an error about the content names the file too.
template <typename Read>
auto naming_source(const Archive& archive, const Read& read) {
  try {
    return read();
  } catch (const FormatError& error) {
    throw FormatError(with_source(archive, error));
  } catch (const ShapeError& error) {
    throw ShapeError(with_source(archive, error));
  } catch (const NumericError& error) {
    throw NumericError(with_source(archive, error));
  }
}

}  // namespace bitloom
