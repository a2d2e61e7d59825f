// An archive with some of its fields changed, as bytes say: what a writer with a bug, or with bad
// intent, could have put behind a right checksum.
#pragma once

#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <variant>

#include "bitloom/core/archive.h"

namespace bitloom::fuzz {

/// Bytes taken one by one; zeros behind their end.
class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  std::uint8_t byte() {
    if (left_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(1);
    return value;
  }
  std::uint64_t number(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value * 256 + byte();
    return value;
  }

 private:
  std::string_view left_;
};

/// A number that breaks things, or any number.
inline std::int64_t odd_integer(Bytes& bytes) {
  constexpr std::int64_t kOdd[] = {0,     1,       -1,        2,         127,      128,
                                   65536, 1 << 20, INT32_MAX, INT64_MAX, INT64_MIN};
  const std::uint8_t pick = bytes.byte();
  if (pick < 128) return kOdd[pick % std::size(kOdd)];
  return std::bit_cast<std::int64_t>(bytes.number(pick % 8 + 1));
}

inline double odd_real(Bytes& bytes) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kOdd[] = {0.0,       -0.0,       -1.0,
                             1e-45,     1e38,       1e300,
                             kInfinity, -kInfinity, std::numeric_limits<double>::quiet_NaN()};
  const std::uint8_t pick = bytes.byte();
  if (pick < 128) return kOdd[pick % std::size(kOdd)];
  return std::bit_cast<double>(bytes.number(8));
}

/// One element of a tensor becomes odd.
inline Tensor with_odd_element(const Tensor& tensor, Bytes& bytes) {
  Tensor changed = tensor.clone();
  if (changed.elements() == 0) return changed;
  const std::int64_t at = static_cast<std::int64_t>(bytes.number(3)) % changed.elements();
  switch (changed.dtype()) {
    case DType::kF32:
      changed.data<float>()[at] = static_cast<float>(odd_real(bytes));
      break;
    case DType::kS64:
      changed.data<std::int64_t>()[at] = odd_integer(bytes);
      break;
    case DType::kU8:
    case DType::kS8:
      static_cast<std::uint8_t*>(changed.raw())[at] = bytes.byte();
      break;
    default:
      break;
  }
  return changed;
}

/// `base` with up to 8 of its fields changed.
inline Archive edited(const Archive& base, std::string_view edits) {
  Archive archive(base.schema_name(), base.schema_version());
  archive.set_source("edited");
  for (const auto& [path, entry] : base.tensors()) {
    archive.put(path, entry.tensor.clone(), entry.axes, entry.unit);
  }
  for (const auto& [path, text] : base.texts()) archive.put_text(path, text);
  for (const auto& [path, attributes] : base.attributes()) {
    for (const auto& [name, value] : attributes) archive.put_attribute(path, name, value);
  }
  Bytes bytes(edits);
  for (int edit = 0; edit < 8 && !bytes.empty(); ++edit) {
    const std::uint8_t kind = bytes.byte();
    if (kind % 2 == 0) {
      const auto at = static_cast<std::ptrdiff_t>(bytes.number(2) % base.tensors().size());
      const auto& [path, entry] = *std::next(base.tensors().begin(), at);
      archive.put(path, with_odd_element(entry.tensor, bytes), entry.axes, entry.unit);
      continue;
    }
    const auto group = static_cast<std::ptrdiff_t>(bytes.number(2) % base.attributes().size());
    const auto& [path, attributes] = *std::next(base.attributes().begin(), group);
    const auto at = static_cast<std::ptrdiff_t>(bytes.byte() % attributes.size());
    const auto& [name, value] = *std::next(attributes.begin(), at);
    if (std::holds_alternative<std::int64_t>(value)) {
      archive.put_attribute(path, name, odd_integer(bytes));
    } else if (std::holds_alternative<double>(value)) {
      archive.put_attribute(path, name, odd_real(bytes));
    } else {
      archive.put_attribute(path, name, std::string(bytes.byte() % 20, 'f'));
    }
  }
  return archive;
}

}  // namespace bitloom::fuzz
