// One array of an HDF5 file that somebody else wrote (h5py, MATLAB, Julia): never trusted.
// Comes from: files. Goes to: datasets/hdf5.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "bitloom/core/tensor.h"

namespace bitloom::io {

/// Reads the dataset `name` ("/images") whole.
///
/// `dtype` is what comes out: kU8 wants bytes in the file too, kS64 takes integers of any width and
/// byte order (an unsigned value beyond 2^63 becomes the largest). Ranks 1, 2 and 4; the file's
/// order is memory order, so [N, H, W, C] comes out as the logical shape [N, C, H, W].
/// Storage may be compact, contiguous or in chunks, plain or through deflate, shuffle and
/// fletcher32. Everything that the file says is checked before memory is asked for: plain storage
/// holds as many bytes as the shape, deflate shrinks at most 1032 times.
/// A child process reads: HDF5 itself may crash on damaged metadata.
/// @throws FormatError for another kind of file, a missing dataset, a link out of it, another type,
///         rank or storage, a shape that the file cannot hold, more than `most_bytes`, damage.
Tensor read_hdf5_array(const std::filesystem::path& file, const std::string& name, DType dtype,
                       std::int64_t most_bytes);

}  // namespace bitloom::io
