#include "bitloom/core/tensor.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#include "bitloom/core/memory.h"

namespace bitloom {
namespace {

struct DTypeRow {
  DType dtype;
  std::size_t size;
  std::string_view word;
};

// In the order of the enum; the words stand in files and never change.
constexpr std::array<DTypeRow, 7> kDTypes{{{DType::kF32, 4, "f32"},
                                           {DType::kF64, 8, "f64"},
                                           {DType::kU8, 1, "u8"},
                                           {DType::kS8, 1, "s8"},
                                           {DType::kS32, 4, "s32"},
                                           {DType::kS64, 8, "s64"},
                                           {DType::kBf16, 2, "bf16"}}};

const DTypeRow& row_of(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  BITLOOM_ASSERT(index < kDTypes.size() && kDTypes[index].dtype == dtype);
  return kDTypes[index];
}

void require_same_count(const char* place, std::int64_t expected, const Shape& found) {
  if (expected == found.elements()) return;
  throw ShapeError({.place = place,
                    .expected = cat(expected, " elements"),
                    .found = cat(found.elements(), " in ", to_string(found)),
                    .remedy = ""});
}

ShapeError no_memory(const Shape& shape, std::size_t bytes, const std::string& most) {
  return ShapeError({.place = "tensor " + to_string(shape),
                     .expected = most,
                     .found = cat(bytes >> 20, " MiB"),
                     .remedy = "take a smaller batch, network or image, or end other programs"});
}

/// Linux promises more memory than it has, and kills whoever takes the promise at its word: a shape
/// in a file of a kilobyte may ask for terabytes.
void* allocate(const Shape& shape, std::size_t bytes) {
  constexpr std::size_t kWorthAsking = std::size_t{256} << 20;
  const std::int64_t most = bytes > kWorthAsking ? available_memory_bytes() : 0;
  if (bytes > kWorthAsking && static_cast<std::int64_t>(bytes) > most) {
    throw no_memory(shape, bytes, cat("at most ", most >> 20, " MiB, the memory that is free"));
  }
  try {
    void* const at = ::operator new (bytes, std::align_val_t{Tensor::kAlignment});
    prefer_large_pages(at, bytes);
    return at;
  } catch (const std::bad_alloc&) {
    throw no_memory(shape, bytes, "what memory has room for");
  }
}

}  // namespace

std::size_t size_of(DType dtype) { return row_of(dtype).size; }

std::string_view to_word(DType dtype) { return row_of(dtype).word; }

DType dtype_from_word(std::string_view word) {
  std::string known;
  for (const DTypeRow& row : kDTypes) {
    if (row.word == word) return row.dtype;
    known += (known.empty() ? "" : ", ") + std::string(row.word);
  }
  throw FormatError({.place = "element type",
                     .expected = "one of " + known,
                     .found = "'" + std::string(word) + "'",
                     .remedy = ""});
}

ConstTensorView ConstTensorView::reshaped(const Shape& shape) const {
  require_same_count("reshape", elements(), shape);
  return {dtype_, shape, data_};
}

TensorView TensorView::reshaped(const Shape& shape) const {
  require_same_count("reshape", elements(), shape);
  return {dtype_, shape, data_};
}

Tensor::Tensor(DType dtype, const Shape& shape) : shape_(shape), dtype_(dtype) {
  // Vector kernels may read to the end of the last line; an empty tensor still gets an address.
  const std::size_t padded = (bytes() / kAlignment + 1) * kAlignment;
  memory_.reset(allocate(shape, padded));
  std::memset(memory_.get(), 0, padded);
}

void Tensor::Free::operator()(void* memory) const noexcept {
  ::operator delete (memory, std::align_val_t{kAlignment});
}

Tensor Tensor::clone() const {
  if (empty()) return {};
  Tensor twin(dtype_, shape_);
  std::memcpy(twin.raw(), raw(), bytes());
  return twin;
}

void copy(ConstTensorView from, TensorView to) {
  require_same_count("copy", to.elements(), from.shape());
  if (from.dtype() != to.dtype()) {
    throw ShapeError({.place = "copy",
                      .expected = std::string(to_word(to.dtype())),
                      .found = std::string(to_word(from.dtype())),
                      .remedy = ""});
  }
  // memcpy forbids null pointers even for zero bytes.
  if (from.bytes() > 0) std::memcpy(to.raw(), from.raw(), from.bytes());
}

}  // namespace bitloom
