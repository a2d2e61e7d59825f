#include "bitloom/backends/load_model.h"

#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"

namespace bitloom::backends {

integer::Model load_model(const std::filesystem::path& path) {
  return integer::model_from_archive(io::load_archive(path));
}

}  // namespace bitloom::backends
