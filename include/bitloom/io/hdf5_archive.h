// An Archive as an HDF5 file that h5py reads too.
// Comes from: train (checkpoint), integer (exported model). Goes to: the same.
#pragma once

#include <filesystem>

#include "bitloom/core/archive.h"

namespace bitloom::io {

/// Writes `archive` to `path`, all or nothing: a temporary file in the same directory is filled,
/// fsynced and renamed over `path`, and the directory is fsynced. If anything fails, the old file
/// stays and the temporary one is removed. Equal archives give equal files, byte for byte.
///
/// Layout. Root attributes `schema_name`, `schema_version`, `checksum`. A tensor is a contiguous
/// dataset in memory order, little-endian, with attributes `axes` and `unit`: logical [O, I, KH,
/// KW] lies as dimensions (O, KH, KW, I) with axes "OHWI". bf16 lies as u16, the upper half of a
/// float. A text is a scalar string dataset, UTF-8, of any length. Attributes are scalars: int64,
/// double or string. An archive that is_packed() lies as a deflated index and a dataset for each
/// type (src/io/packed_archive.h). src/io/README.md defines the checksum;
/// tools/golden/bitloom_archive.py writes and checks the same files.
///
/// @throws FormatError if the file cannot be written; if a path is empty, has an empty or dotted
///         part, or is both a group and a dataset; if `axes` has not one letter a dimension; if an
///         attribute takes one of the reserved names, or a string attribute exceeds 60 KB; of a
///         packed one, if an attribute is not finite or not UTF-8, or all of them and the texts
///         exceed 4 MiB.
void save_archive(const std::filesystem::path& path, const Archive& archive);

/// Reads what save_archive() wrote; `source()` is the path. A child process reads the file first:
/// HDF5 1.10 crashes on some damaged metadata, and the checksum is inside of the file.
///
/// @throws FormatError with place, expected, found and remedy if the file is missing, not HDF5,
///         truncated or damaged (checksum), lacks the schema attributes, or holds what this format
///         does not: soft or external links, filters, chunks, external storage, other element
///         types or ranks, more bytes than the file has; or if a packed archive's index does not
///         fit its values.
Archive load_archive(const std::filesystem::path& path);

/// SHA-256 over names, types, shapes, axes, units, bytes, texts and attributes, as 64 hex digits.
/// It tells whether two archives are equal.
std::string content_checksum(const Archive& archive);

}  // namespace bitloom::io
