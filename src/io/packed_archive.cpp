#include "packed_archive.h"

#include <zlib.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "archive_format.h"
#include "bitloom/core/error.h"

namespace bitloom::io {
namespace {

using nlohmann::json;

constexpr const char* kPacked = "packed";
constexpr const char* kIndex = "index";
constexpr std::string_view kValues = "values/";
constexpr std::int64_t kMostListed = 16;  // elements of an s64 list that stands in the index
constexpr int kDeflateLevel = 9;
// Parsed JSON takes up to a hundred times its text; that of a network of 200 layers has 200 KB.
constexpr std::size_t kMostIndexBytes = std::size_t{4} << 20;

std::string values_path(DType dtype) { return cat(kValues, to_word(dtype)); }

bool is_listed(const Tensor& tensor) {
  return tensor.dtype() == DType::kS64 && tensor.shape().rank() == 1 &&
         tensor.elements() <= kMostListed;
}

json number_or_text(const AttributeValue& value) {
  return std::visit([](const auto& held) { return json(held); }, value);
}

bool is_finite(const AttributeValue& value) {
  const auto* real = std::get_if<double>(&value);
  return real == nullptr || std::isfinite(*real);
}

[[noreturn]] void fail(const Archive& archive, const std::string& place, std::string expected,
                       std::string found) {
  throw FormatError({.place = archive.source().empty() ? place : cat(archive.source(), ": ", place),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = "the file was not written by bitloom"});
}

/// Tensors of one type while they become one.
struct Pile {
  std::int64_t elements = 0;
  std::vector<const Tensor*> tensors;

  Tensor joined(DType dtype) const {
    Tensor all(dtype, Shape{elements});
    char* to = static_cast<char*>(all.raw());
    for (const Tensor* tensor : tensors) {
      if (tensor->bytes() > 0) std::memcpy(to, tensor->raw(), tensor->bytes());
      to += tensor->bytes();
    }
    return all;
  }
};

Tensor deflated(const Archive& archive, const std::string& text) {
  if (text.size() > kMostIndexBytes) {
    fail(archive, kIndex, cat("at most ", kMostIndexBytes, " bytes of attributes and texts"),
         cat(text.size()));
  }
  std::vector<std::uint8_t> bytes(::compressBound(static_cast<uLong>(text.size())));
  auto length = static_cast<uLongf>(bytes.size());
  if (::compress2(bytes.data(), &length, reinterpret_cast<const Bytef*>(text.data()),
                  static_cast<uLong>(text.size()), kDeflateLevel) != Z_OK) {
    fail(archive, kIndex, "to deflate it", "an error of zlib; is the memory full?");
  }
  bytes.resize(length);
  return make_tensor<std::uint8_t>(Shape{static_cast<std::int64_t>(bytes.size())}, bytes);
}

std::string inflated(const Archive& archive, const Tensor& bytes) {
  std::string text(kMostIndexBytes, '\0');
  auto length = static_cast<uLongf>(text.size());
  if (bytes.dtype() != DType::kU8 ||
      ::uncompress(reinterpret_cast<Bytef*>(text.data()), &length, bytes.data<std::uint8_t>(),
                   static_cast<uLong>(bytes.bytes())) != Z_OK) {
    fail(archive, kIndex, cat("at most ", kMostIndexBytes, " bytes behind zlib's deflate"),
         "other bytes");
  }
  text.resize(length);
  return text;
}

/// @throws json::exception unless it is there and an object.
const json::object_t& entries_of(const json& index, const char* name) {
  return index.at(name).get_ref<const json::object_t&>();
}

/// What the index says, as tensors cut from the values.
class Unpacker {
 public:
  explicit Unpacker(const Archive& stored)
      : stored_(stored), archive_(stored.schema_name(), stored.schema_version()) {
    archive_.set_source(stored.source());
    archive_.set_packed(true);
  }

  Archive run();

 private:
  void refuse_others() const;
  void take_attributes(const json::object_t& attributes);
  void take_tensor(const std::string& path, const json& entry);
  Shape shape_of(const std::string& path, const json& dims) const;
  DType dtype_of(const std::string& path, const std::string& word) const;
  Tensor listed(const std::string& path, const json& values) const;
  Tensor cut(const std::string& path, DType dtype, const Shape& shape, std::int64_t at);

  const Archive& stored_;
  Archive archive_;
  std::map<DType, std::int64_t> taken_;  ///< elements of each type so far
};

Archive Unpacker::run() {
  refuse_others();
  try {
    const json index = json::parse(inflated(stored_, stored_.tensor(kIndex)));
    take_attributes(entries_of(index, "attributes"));
    for (const auto& [path, entry] : entries_of(index, "tensors")) take_tensor(path, entry);
    for (const auto& [path, text] : entries_of(index, "texts")) {
      archive_.put_text(path, text.get<std::string>());
    }
  } catch (const json::exception& error) {
    fail(stored_, kIndex, "attributes, tensors and texts in JSON", error.what());
  }
  for (const auto& [path, entry] : stored_.tensors()) {
    if (path == kIndex) continue;
    const std::int64_t taken = taken_[entry.tensor.dtype()];
    if (taken != entry.tensor.elements()) {
      fail(stored_, path, cat(taken, " elements, as the index says"), cat(entry.tensor.elements()));
    }
  }
  return std::move(archive_);
}

/// Only the values may stand beside the index, and nothing may have an attribute but the root.
void Unpacker::refuse_others() const {
  if (stored_.word("", kStorage) != kPacked) {
    fail(stored_, kStorage, cat("'", kPacked, "'"), cat("'", stored_.word("", kStorage), "'"));
  }
  if (!stored_.texts().empty()) {
    fail(stored_, stored_.texts().begin()->first, "texts in the index", "a text");
  }
  for (const auto& [path, entries] : stored_.attributes()) {
    if (entries.size() != (path.empty() ? 1U : 0U)) {
      fail(stored_, path.empty() ? "root" : path, "attributes in the index", "attributes here");
    }
  }
  for (const auto& [path, entry] : stored_.tensors()) {
    const bool known = path == kIndex || path == values_path(entry.tensor.dtype());
    if (!known || entry.tensor.shape().rank() != 1) {
      fail(stored_, path, "values of one type in a row, in the dataset of its name", "a tensor");
    }
  }
}

void Unpacker::take_attributes(const json::object_t& attributes) {
  for (const auto& [path, entries] : attributes) {
    for (const auto& [name, value] : entries.get_ref<const json::object_t&>()) {
      const std::string place = cat(path.empty() ? "root" : path, ", attribute '", name, "'");
      if (value.is_string()) {
        archive_.put_attribute(path, name, value.get<std::string>());
      } else if (value.is_number_float()) {
        archive_.put_attribute(path, name, value.get<double>());
      } else if (value.is_number_integer() &&
                 !(value.is_number_unsigned() &&
                   value.get<std::uint64_t>() >
                       static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))) {
        archive_.put_attribute(path, name, value.get<std::int64_t>());
      } else {
        fail(stored_, place, "a number or a text", value.type_name());
      }
    }
  }
}

Shape Unpacker::shape_of(const std::string& path, const json& dims) const {
  const auto sizes = dims.get<std::vector<std::int64_t>>();
  try {
    if (sizes.empty()) return {};
    if (sizes.size() == 1) return {sizes[0]};
    if (sizes.size() == 2) return {sizes[0], sizes[1]};
    if (sizes.size() == 4) return {sizes[0], sizes[3], sizes[1], sizes[2]};
  } catch (const ShapeError& error) {
    fail(stored_, path, "a shape that fits the file", error.what());
  }
  fail(stored_, path, "0, 1, 2 or 4 dimensions", cat(sizes.size()));
}

DType Unpacker::dtype_of(const std::string& path, const std::string& word) const {
  for (const DType dtype : kDTypes) {
    if (word == to_word(dtype)) return dtype;
  }
  fail(stored_, path, "a type of values", cat("'", word, "'"));
}

Tensor Unpacker::listed(const std::string& path, const json& values) const {
  const auto numbers = values.get<std::vector<std::int64_t>>();
  const auto count = static_cast<std::int64_t>(numbers.size());
  if (count > kMostListed) fail(stored_, path, cat("at most ", kMostListed, " values"), cat(count));
  return make_tensor<std::int64_t>(Shape{count}, numbers);
}

Tensor Unpacker::cut(const std::string& path, DType dtype, const Shape& shape, std::int64_t at) {
  const Tensor& values = stored_.tensor(values_path(dtype));
  std::int64_t& taken = taken_[dtype];
  if (at != taken || shape.elements() > values.elements() - taken) {
    fail(stored_, path, cat("elements from ", taken, " to at most ", values.elements()),
         cat(shape.elements(), " from ", at));
  }
  taken += shape.elements();
  Tensor tensor(dtype, shape);
  if (tensor.bytes() > 0) {
    const std::size_t skipped = static_cast<std::size_t>(at) * size_of(dtype);
    std::memcpy(tensor.raw(), static_cast<const char*>(values.raw()) + skipped, tensor.bytes());
  }
  return tensor;
}

void Unpacker::take_tensor(const std::string& path, const json& entry) {
  const Shape shape = shape_of(path, entry.at("shape"));
  const DType dtype = dtype_of(path, entry.at("dtype").get<std::string>());
  Tensor tensor = entry.contains("values")
                      ? listed(path, entry.at("values"))
                      : cut(path, dtype, shape, entry.at("at").get<std::int64_t>());
  if (tensor.shape() != shape || tensor.dtype() != dtype) {
    fail(stored_, path, cat("s64 ", to_string(tensor.shape()), ", as its values"),
         cat(to_word(dtype), " ", to_string(shape)));
  }
  auto axes = entry.at("axes").get<std::string>();
  if (static_cast<int>(axes.size()) != shape.rank()) {
    fail(stored_, path, cat("axes with one letter for each of ", shape.rank(), " dimensions"),
         cat("'", axes, "'"));
  }
  archive_.put(path, std::move(tensor), std::move(axes), entry.at("unit").get<std::string>());
}

}  // namespace

Archive packed(const Archive& archive) {
  json attributes = json::object();
  for (const auto& [path, entries] : archive.attributes()) {
    for (const auto& [name, value] : entries) {
      if (!is_finite(value)) fail(archive, path, cat("a finite '", name, "'"), "another number");
      attributes[path][name] = number_or_text(value);
    }
  }
  json tensors = json::object();
  std::map<DType, Pile> piles;
  for (const auto& [path, entry] : archive.tensors()) {
    const Tensor& tensor = entry.tensor;
    json& line = tensors[path];
    line = {{"axes", entry.axes},
            {"dtype", to_word(tensor.dtype())},
            {"shape", memory_dims(tensor.shape())},
            {"unit", entry.unit}};
    if (is_listed(tensor)) {
      const auto list = tensor.span<std::int64_t>();
      line["values"] = std::vector<std::int64_t>(list.begin(), list.end());
      continue;
    }
    Pile& pile = piles[tensor.dtype()];
    line["at"] = pile.elements;
    pile.elements += tensor.elements();
    pile.tensors.push_back(&tensor);
  }

  Archive stored(archive.schema_name(), archive.schema_version());
  stored.set_source(archive.source());
  stored.set_packed(true);
  stored.put_attribute("", kStorage, std::string(kPacked));
  for (const auto& [dtype, pile] : piles) {
    stored.put(values_path(dtype), pile.joined(dtype), "V", "as the index says");
  }
  try {
    const json index = {
        {"attributes", attributes}, {"tensors", tensors}, {"texts", archive.texts()}};
    stored.put(kIndex, deflated(archive, index.dump()), "B", "JSON, deflated");
  } catch (const json::exception& error) {
    fail(archive, kIndex, "texts in UTF-8", error.what());
  }
  return stored;
}

Archive unpacked(const Archive& stored) { return Unpacker(stored).run(); }

}  // namespace bitloom::io
