// Two checkpoints that must be of the same run.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "bitloom/io/hdf5_archive.h"

namespace bitloom::tools {

/// Both files hold the same tensors, byte for byte (more than ten), and stand at the same place.
inline void expect_same_tensors(const std::string& left, const std::string& right) {
  const Archive a = io::load_archive(left);
  const Archive b = io::load_archive(right);
  ASSERT_GT(a.tensors().size(), 10U);
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const auto& [name, entry] : a.tensors()) {
    ASSERT_TRUE(b.has(name)) << name;
    const Tensor& other = b.tensor(name, entry.tensor.dtype(), entry.tensor.shape());
    EXPECT_EQ(std::memcmp(entry.tensor.raw(), other.raw(), other.bytes()), 0) << name;
  }
  for (const char* key : {"epoch", "step"}) EXPECT_EQ(a.integer("", key), b.integer("", key));
  EXPECT_EQ(a.real("", "validation_top1"), b.real("", "validation_top1"));
}

}  // namespace bitloom::tools
