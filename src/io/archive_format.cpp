#include "archive_format.h"

#include <bit>
#include <cstring>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/sha256.h"

namespace bitloom::io {
namespace {

static_assert(std::endian::native == std::endian::little, "archives are written as memory lies");

/// The byte stream that README.md defines: numbers as 8 bytes, texts with their length before them.
class Summer {
 public:
  void number(std::int64_t value) { sum_.add(&value, sizeof(value)); }
  void real(double value) { sum_.add(&value, sizeof(value)); }
  void text(std::string_view value) {
    number(static_cast<std::int64_t>(value.size()));
    sum_.add(value);
  }
  void bytes(const void* data, std::size_t size) { sum_.add(data, size); }

  void attribute(const AttributeValue& value) {
    if (const auto* whole = std::get_if<std::int64_t>(&value)) {
      text("integer");
      number(*whole);
    } else if (const auto* fraction = std::get_if<double>(&value)) {
      text("real");
      real(*fraction);
    } else {
      text("text");
      text(std::get<std::string>(value));
    }
  }

  std::string finish() { return sum_.finish(); }

 private:
  Sha256 sum_;
};

}  // namespace

std::vector<std::string> path_parts(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
    if (path.empty()) parts.emplace_back();  // "a/" ends in an empty part
  }
  return parts;
}

std::string content_checksum(const Archive& archive) {
  Summer sum;
  sum.text(archive.schema_name());
  sum.number(archive.schema_version());
  sum.number(static_cast<std::int64_t>(archive.tensors().size()));
  for (const auto& [path, entry] : archive.tensors()) {
    const Tensor& tensor = entry.tensor;
    sum.text(path);
    sum.text(to_word(tensor.dtype()));
    sum.number(tensor.shape().rank());
    for (const hsize_t dim : memory_dims(tensor.shape())) {
      sum.number(static_cast<std::int64_t>(dim));
    }
    sum.text(entry.axes);
    sum.text(entry.unit);
    sum.bytes(tensor.raw(), tensor.bytes());
  }
  sum.number(static_cast<std::int64_t>(archive.texts().size()));
  for (const auto& [path, text] : archive.texts()) {
    sum.text(path);
    sum.text(text);
  }
  for (const auto& [path, entries] : archive.attributes()) {
    for (const auto& [name, value] : entries) {
      sum.text(path);
      sum.text(name);
      sum.attribute(value);
    }
  }
  return sum.finish();
}

}  // namespace bitloom::io
