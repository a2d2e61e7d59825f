#include "backends/hand_models.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "fuzz/one_file.h"
#include "fuzz/target.h"

namespace bitloom::fuzz {
namespace {

void run(std::string_view bytes) {
  static const OneFile file("archive.h5");
  const Archive archive = io::load_archive(file.with(bytes));
  if (archive.schema_name() == "bitloom.model") integer::model_from_archive(archive);
}

std::vector<std::string> seeds() {
  const OneFile file("seed.h5");
  Archive small("small", 1);
  Tensor weight(DType::kF32, Shape{2, 3});
  small.put("group/weight", weight.clone(), "OI", "weight");
  small.put_text("graph", "conv");
  small.put_attribute("group", "step", std::int64_t{5});
  const std::filesystem::path path = file.with("");
  std::vector<std::string> all;
  io::save_archive(path, small);
  all.push_back(io::read_whole_file(path));
  const std::vector<integer::Model> models =
      integer::hand_models("int8", integer::ComputeMode::kStatic);
  io::save_archive(path, integer::to_archive(models.front()));
  all.push_back(io::read_whole_file(path));
  return all;
}

}  // namespace

Target archive_target() { return {"archive", run, seeds}; }

}  // namespace bitloom::fuzz
