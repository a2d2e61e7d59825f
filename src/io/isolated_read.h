// Reading files with a library that may crash on them, in a child process. Private to io.
#pragma once

#include <filesystem>
#include <functional>

#include "bitloom/core/tensor.h"

namespace bitloom::io {

/// What `read` returns, computed in a child process that sends it back through a pipe.
///
/// HDF5 1.10 divides by zero, reads out of bounds or loops on some damaged metadata, before
/// anything can be checked; there only the child ends. While it lives, the result stands in memory
/// twice. The child may use a minute of CPU time and a second more for each MiB of the file.
/// @pre `read` starts no threads, and no lock that it takes is held by another thread.
/// @throws FormatError with the text of what `read` threw, or naming the file if the child ended
///         otherwise.
Tensor read_isolated(const std::filesystem::path& file, const std::function<Tensor()>& read);

}  // namespace bitloom::io
