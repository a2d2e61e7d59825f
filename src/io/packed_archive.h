// An archive of many small pieces as one of few: HDF5 spends some 400 bytes on each dataset and 60
// on each attribute, more than many of a model's pieces hold. Private to io.
#pragma once

#include "bitloom/core/archive.h"

namespace bitloom::io {

inline constexpr const char* kStorage = "storage";  ///< root attribute; absent where plain

/// What lies on disk instead of `archive`:
///   index         u8, JSON behind zlib's deflate, keys sorted: {"attributes": {PATH: {NAME:
///                 value}}, "tensors": {PATH: {"axes", "dtype", "shape", "unit", "at" or
///                 "values"}}, "texts": {PATH: text}}
///   values/DTYPE  the tensors of one type, one behind another in the order of their paths
///   shuffled/DTYPE  in place of values/DTYPE up to 256 KiB where it is smaller: u8, all first
///   bytes
///                 of the elements, all second ones, ..., behind zlib's deflate
/// and the root attribute `storage` says "packed". `shape` is in memory order, `at` the first
/// element in values/DTYPE; lists of a few s64 stand in the index as "values". A whole number in
/// JSON is an s64, one with a point an f64.
/// @throws FormatError for an attribute that is not finite, what is not UTF-8, or an index beyond
///         4 MiB.
Archive packed(const Archive& archive);

/// The inverse. @throws FormatError unless `stored` is what packed() makes: an index of that form
/// whose tensors follow one another through the values without gap or overlap.
Archive unpacked(const Archive& stored);

}  // namespace bitloom::io
