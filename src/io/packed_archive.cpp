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
constexpr std::string_view kShuffled = "shuffled/";
// Beyond it values lie plain: deflate would cost a large model's reader more time than it saves.
constexpr std::size_t kMostShuffledBytes = std::size_t{256} << 10;
constexpr std::int64_t kMostListed = 16;  // elements of an s64 list that stands in the index
constexpr int kDeflateLevel = 9;
// Parsed JSON takes up to a hundred times its text; that of a network of 200 layers has 200 KB.
constexpr std::size_t kMostIndexBytes = std::size_t{4} << 20;

std::string values_path(DType dtype) { return cat(kValues, to_word(dtype)); }
std::string shuffled_path(DType dtype) { return cat(kShuffled, to_word(dtype)); }

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

// Deflates bytes; nothing where zlib fails.
std::vector<std::uint8_t> deflate_bytes(const void* from, std::size_t count) {
  std::vector<std::uint8_t> bytes(::compressBound(static_cast<uLong>(count)));
  auto length = static_cast<uLongf>(bytes.size());
  if (::compress2(bytes.data(), &length, static_cast<const Bytef*>(from), static_cast<uLong>(count),
                  kDeflateLevel) != Z_OK) {
    return {};
  }
  bytes.resize(length);
  return bytes;
}

Tensor bytes_tensor(const std::vector<std::uint8_t>& bytes) {
  return make_tensor<std::uint8_t>(Shape{static_cast<std::int64_t>(bytes.size())}, bytes);
}

// All first bytes of the elements, all second ones, and so on, or back: signs and exponents lie
// together then, of which there are few.
void shuffle(const std::uint8_t* from, std::size_t elements, std::size_t width, bool back,
             std::uint8_t* to) {
  for (std::size_t i = 0; i < elements; ++i) {
    for (std::size_t k = 0; k < width; ++k) {
      const std::size_t together = i * width + k;
      const std::size_t apart = k * elements + i;
      to[back ? together : apart] = from[back ? apart : together];
    }
  }
}

// Values shuffled and deflated; empty where that does not make them smaller.
Tensor shuffled(const Tensor& values) {
  const std::size_t width = size_of(values.dtype());
  if (width == 1 || values.bytes() > kMostShuffledBytes) return {};
  std::vector<std::uint8_t> apart(values.bytes());
  shuffle(static_cast<const std::uint8_t*>(values.raw()), values.bytes() / width, width, false,
          apart.data());
  const std::vector<std::uint8_t> bytes = deflate_bytes(apart.data(), apart.size());
  return bytes.empty() || bytes.size() >= values.bytes() ? Tensor() : bytes_tensor(bytes);
}

Tensor deflated(const Archive& archive, const std::string& text) {
  if (text.size() > kMostIndexBytes) {
    fail(archive, kIndex, cat("at most ", kMostIndexBytes, " bytes of attributes and texts"),
         cat(text.size()));
  }
  const std::vector<std::uint8_t> bytes = deflate_bytes(text.data(), text.size());
  if (bytes.empty()) {
    fail(archive, kIndex, "to deflate it", "an error of zlib; is the memory full?");
  }
  return bytes_tensor(bytes);
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
  void unshuffle();
  const Tensor& values_of(DType dtype) const;
  void take_attributes(const json::object_t& attributes);
  void take_tensor(const std::string& path, const json& entry);
  Shape shape_of(const std::string& path, const json& dims) const;
  DType dtype_of(const std::string& path, const std::string& word) const;
  Tensor listed(const std::string& path, const json& values) const;
  Tensor cut(const std::string& path, DType dtype, const Shape& shape, std::int64_t at);

  const Archive& stored_;
  Archive archive_;
  std::map<DType, Tensor> unshuffled_;   ///< values that lay shuffled
  std::map<DType, std::int64_t> taken_;  ///< elements of each type so far
};

Archive Unpacker::run() {
  refuse_others();
  unshuffle();
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
  for (const DType dtype : kDTypes) {
    const bool plain = stored_.has(values_path(dtype));
    if (!plain && !unshuffled_.contains(dtype)) continue;
    const std::int64_t elements = values_of(dtype).elements();
    if (taken_[dtype] != elements) {
      fail(stored_, plain ? values_path(dtype) : shuffled_path(dtype),
           cat(taken_[dtype], " elements, as the index says"), cat(elements));
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
    const bool known = path == kIndex || path == values_path(entry.tensor.dtype()) ||
                       (path.starts_with(kShuffled) && entry.tensor.dtype() == DType::kU8);
    if (!known || entry.tensor.shape().rank() != 1) {
      fail(stored_, path, "values of one type in a row, in the dataset of its name", "a tensor");
    }
  }
}

void Unpacker::unshuffle() {
  for (const auto& [path, entry] : stored_.tensors()) {
    if (!path.starts_with(kShuffled)) continue;
    const DType dtype = dtype_of(path, path.substr(kShuffled.size()));
    if (stored_.has(values_path(dtype))) {
      fail(stored_, path, "values of a type once", cat(values_path(dtype), " too"));
    }
    std::vector<std::uint8_t> apart(kMostShuffledBytes);
    auto length = static_cast<uLongf>(apart.size());
    const std::size_t width = size_of(dtype);
    if (::uncompress(apart.data(), &length, entry.tensor.data<std::uint8_t>(),
                     static_cast<uLong>(entry.tensor.bytes())) != Z_OK ||
        length % width != 0) {
      fail(stored_, path,
           cat("whole elements of at most ", kMostShuffledBytes, " bytes behind zlib's deflate"),
           "other bytes");
    }
    Tensor values(dtype, Shape{static_cast<std::int64_t>(length / width)});
    shuffle(apart.data(), length / width, width, true, static_cast<std::uint8_t*>(values.raw()));
    unshuffled_.emplace(dtype, std::move(values));
  }
}

const Tensor& Unpacker::values_of(DType dtype) const {
  const auto found = unshuffled_.find(dtype);
  return found == unshuffled_.end() ? stored_.tensor(values_path(dtype)) : found->second;
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
  const Tensor& values = values_of(dtype);
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
    Tensor values = pile.joined(dtype);
    if (Tensor small = shuffled(values); !small.empty()) {
      stored.put(shuffled_path(dtype), std::move(small), "B", "as the index says, deflated");
    } else {
      stored.put(values_path(dtype), std::move(values), "V", "as the index says");
    }
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
