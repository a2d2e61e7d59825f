#include "bitloom/core/archive.h"

namespace bitloom {
namespace {

std::string place_of(const Archive& archive, const std::string& path) {
  const std::string& source = archive.source();
  const std::string shown = path.empty() ? "root" : path;
  return source.empty() ? shown : source + ": " + shown;
}

[[noreturn]] void fail(const Archive& archive, const std::string& path, std::string expected,
                       std::string found) {
  throw FormatError({.place = place_of(archive, path),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = "the file is of another kind or was made by another version"});
}

const AttributeValue* find_attribute(const Archive& archive, const std::string& path,
                                     const std::string& name) {
  const auto place = archive.attributes().find(path);
  if (place == archive.attributes().end()) return nullptr;
  const auto entry = place->second.find(name);
  return entry == place->second.end() ? nullptr : &entry->second;
}

template <typename T>
const T& attribute_as(const Archive& archive, const std::string& path, const std::string& name,
                      const char* kind) {
  const AttributeValue* value = find_attribute(archive, path, name);
  if (value == nullptr) fail(archive, path, cat("attribute '", name, "'"), "none");
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) {
    fail(archive, path, cat("attribute '", name, "' of type ", kind), "another type");
  }
  return *typed;
}

/// The two kinds of files that are mistaken for each other.
std::string remedy_for(const std::string& found, const std::string& expected) {
  if (found == "bitloom.model" && expected == "bitloom.checkpoint") {
    return "this is an exported model: take the checkpoint that it was made from";
  }
  if (found == "bitloom.checkpoint" && expected == "bitloom.model") {
    return "this is a checkpoint: bitloom export makes a model of it";
  }
  return "this is another kind of file";
}

}  // namespace

void Archive::put(const std::string& path, Tensor tensor, std::string axes, std::string unit) {
  tensors_[path] = {std::move(tensor), std::move(axes), std::move(unit)};
}

void Archive::put_text(const std::string& path, std::string text) {
  texts_[path] = std::move(text);
}

void Archive::put_attribute(const std::string& path, const std::string& name,
                            AttributeValue value) {
  attributes_[path][name] = std::move(value);
}

const Tensor& Archive::tensor(const std::string& path) const {
  const auto entry = tensors_.find(path);
  if (entry == tensors_.end()) fail(*this, path, "a tensor", has_text(path) ? "a text" : "nothing");
  return entry->second.tensor;
}

const Tensor& Archive::tensor(const std::string& path, DType dtype, const Shape& shape) const {
  const Tensor& found = tensor(path);
  if (found.dtype() != dtype || found.shape() != shape) {
    fail(*this, path, cat(to_word(dtype), " ", to_string(shape)),
         cat(to_word(found.dtype()), " ", to_string(found.shape())));
  }
  return found;
}

const std::string& Archive::text(const std::string& path) const {
  const auto entry = texts_.find(path);
  if (entry == texts_.end()) fail(*this, path, "a text", has(path) ? "a tensor" : "nothing");
  return entry->second;
}

std::int64_t Archive::integer(const std::string& path, const std::string& name) const {
  return attribute_as<std::int64_t>(*this, path, name, "integer");
}

double Archive::real(const std::string& path, const std::string& name) const {
  return attribute_as<double>(*this, path, name, "real");
}

const std::string& Archive::word(const std::string& path, const std::string& name) const {
  return attribute_as<std::string>(*this, path, name, "text");
}

bool Archive::has_attribute(const std::string& path, const std::string& name) const {
  return find_attribute(*this, path, name) != nullptr;
}

void Archive::require_schema(const std::string& name, int version) const {
  const std::string place = source_.empty() ? "archive" : source_;
  if (schema_name_ != name) {
    throw FormatError({.place = place,
                       .expected = cat("schema '", name, "'"),
                       .found = cat("'", schema_name_, "'"),
                       .remedy = remedy_for(schema_name_, name)});
  }
  if (schema_version_ != version) {
    throw FormatError({.place = place,
                       .expected = cat("schema '", name, "' version ", version),
                       .found = cat("version ", schema_version_),
                       .remedy = schema_version_ > version ? "use a newer bitloom"
                                                           : "make the file again, it is older"});
  }
}

std::string with_source(const Archive& archive, const Error& error) {
  const std::string text = error.what();
  const std::string& source = archive.source();
  return source.empty() || text.starts_with(source) ? text : cat(source, ": ", text);
}

}  // namespace bitloom
