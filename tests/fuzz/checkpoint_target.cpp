// Input: edits of a quantized checkpoint's archive. What is read must lower, or say why not.
#include "bitloom/datasets/normalization.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "fuzz/archive_edits.h"
#include "fuzz/target.h"
#include "support/residual_graph.h"
#include "support/tiny_task.h"

namespace bitloom::fuzz {
namespace {

struct Base {
  Archive archive;
  Tensor table;
};

Base make_base() {
  const trainers::TinyTask task(residual_text({.input = "1x12x12",
                                               .stem_shape = "8x1x3x3",
                                               .width = 8,
                                               .tail = ResidualText::average_tail(8, 4)}));
  const trainers::Config config =
      task.config({"quant.method=qat", "data.validation_images=32", "data.synthetic_images=64",
                   "train.epochs=0", "quant.calibration_images=32"});
  const auto trained = trainers::train({.config = config, .out = task / "run"});
  return {io::load_archive(trained.checkpoint), datasets::normalization_table(config.data, 1)};
}

void run(std::string_view bytes) {
  static const Base base = make_base();
  const train::Checkpoint checkpoint = train::checkpoint_from_archive(edited(base.archive, bytes));
  train::lower_checkpoint(checkpoint, base.table);
}

}  // namespace

Target checkpoint_target() {
  return {"checkpoint", run, [] { return std::vector<std::string>{""}; }};
}

}  // namespace bitloom::fuzz
