// What the writer and the reader of an archive file agree on. Private to io.
#pragma once

#include <hdf5.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "bitloom/core/tensor.h"

namespace bitloom::io {

inline constexpr const char* kSchemaName = "schema_name";
inline constexpr const char* kSchemaVersion = "schema_version";
inline constexpr const char* kChecksum = "checksum";
inline constexpr const char* kAxes = "axes";
inline constexpr const char* kUnit = "unit";

// HDF5 keeps an attribute in its object's header, which holds 64 KB.
inline constexpr std::size_t kMaxAttributeBytes = 60000;
inline constexpr int kMaxDepth = 16;

/// Element type on disk; u16 stands for bf16, which HDF5 lacks.
inline hid_t file_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return H5T_IEEE_F32LE;
    case DType::kF64:
      return H5T_IEEE_F64LE;
    case DType::kU8:
      return H5T_STD_U8LE;
    case DType::kS8:
      return H5T_STD_I8LE;
    case DType::kS32:
      return H5T_STD_I32LE;
    case DType::kS64:
      return H5T_STD_I64LE;
    case DType::kBf16:
      return H5T_STD_U16LE;
  }
  return H5I_INVALID_HID;
}

inline constexpr std::array<DType, 7> kDTypes{DType::kF32, DType::kF64, DType::kU8,  DType::kS8,
                                              DType::kS32, DType::kS64, DType::kBf16};

/// Logical [O, I, KH, KW] to the order in memory, (O, KH, KW, I); other ranks stay.
inline std::vector<hsize_t> memory_dims(const Shape& shape) {
  std::vector<hsize_t> dims(static_cast<std::size_t>(shape.rank()));
  for (int axis = 0; axis < shape.rank(); ++axis) {
    dims[static_cast<std::size_t>(axis)] = static_cast<hsize_t>(shape[axis]);
  }
  if (dims.size() == 4) return {dims[0], dims[2], dims[3], dims[1]};
  return dims;
}

/// "a/b/c" to {"a", "b", "c"}; "" to {}.
std::vector<std::string> path_parts(std::string_view path);

}  // namespace bitloom::io
