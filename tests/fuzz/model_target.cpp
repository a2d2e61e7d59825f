// Input: one byte that picks a model, then edits of its archive. What validation lets through must
// run: one image on the reference, without a fault.
#include "backends/hand_models.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"
#include "bitloom/integer/model_archive.h"
#include "fuzz/archive_edits.h"
#include "fuzz/target.h"

namespace bitloom::fuzz {
namespace {

std::vector<Archive> base_archives() {
  std::vector<Archive> archives;
  for (const integer::ComputeMode mode :
       {integer::ComputeMode::kStatic, integer::ComputeMode::kDynamic,
        integer::ComputeMode::kWeightOnly, integer::ComputeMode::kFloat}) {
    for (const integer::Model& model : integer::hand_models("int8", mode)) {
      archives.push_back(integer::to_archive(model));
    }
  }
  return archives;
}

void run(std::string_view bytes) {
  static const std::vector<Archive> archives = base_archives();
  if (bytes.empty()) return;
  const Archive& base = archives[static_cast<std::uint8_t>(bytes.front()) % archives.size()];
  const integer::Model model = integer::model_from_archive(edited(base, bytes.substr(1)));
  backends::Session session(model, {.backend = "reference", .batch = 1});
  const Tensor image(DType::kU8, model.tensors.front().shape);
  Tensor logits(DType::kF32, Shape{1, model.classes()});
  session.run(image, logits);
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  const std::size_t models = base_archives().size();
  for (std::size_t i = 0; i < models; ++i) all.emplace_back(1, static_cast<char>(i));
  return all;
}

}  // namespace

Target model_target() { return {"model", run, seeds}; }

}  // namespace bitloom::fuzz
