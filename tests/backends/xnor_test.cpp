// Binary and ternary models: popcount and int8 kernels against the reference, every tensor, bit for
// bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <iostream>
#include <set>

#include "backends/binary_models.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "support/error_matchers.h"
#include "support/isa_children.h"

namespace bitloom::backends {
namespace {

using integer::Grid;
using integer::Model;
using testing::HasSubstr;

Tensor run(Session& session, const Model& model, std::int64_t batch) {
  const Tensor images = integer::random_images(model.tensors.front().shape.with_batch(batch), 11);
  Tensor logits(DType::kF32, Shape{batch, model.classes()});
  session.run(images, logits);
  return logits;
}

bool same_bytes(ConstTensorView a, ConstTensorView b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// A dead tensor would make any comparison pass.
std::size_t distinct_bytes(ConstTensorView tensor) {
  const auto* bytes = static_cast<const std::uint8_t*>(tensor.raw());
  return std::set<std::uint8_t>(bytes, bytes + tensor.bytes()).size();
}

const PlanRow& row_named(const Session& session, const std::string& name) {
  for (const PlanRow& row : session.plan()) {
    if (row.layer == name) return row;
  }
  ADD_FAILURE() << "no row " << name;
  return session.plan().front();
}

TEST(Xnor, EqualsTheReferenceInEveryTensor) {
  int compared = 0;
  for (const Model& model : integer::binary_models()) {
    for (const std::int64_t batch : {1, 3}) {
      Session reference(model, {.backend = "reference", .batch = batch, .keep_all_tensors = true});
      const Tensor expected = run(reference, model, batch);
      for (const char* backend : {"xnor", "onednn"}) {
        Session session(model, {.backend = backend,
                                .batch = batch,
                                .fallback_to_reference = std::string(backend) == "xnor",
                                .keep_all_tensors = true});
        EXPECT_TRUE(same_bytes(run(session, model, batch), expected)) << backend;
        for (int i = 0; i < static_cast<int>(model.tensors.size()); ++i) {
          const std::string& name = model.tensors[static_cast<std::size_t>(i)].name;
          EXPECT_TRUE(same_bytes(session.tensor(i), reference.tensor(i))) << backend << " " << name;
          EXPECT_GE(distinct_bytes(reference.tensor(i)), 2U) << name;
          ++compared;
        }
      }
    }
  }
  std::cout << "compared " << compared << " tensors\n";
  EXPECT_GE(compared, 100);
}

TEST(Xnor, SharedMemoryAndThreadsGiveTheSameLogits) {
  const int before = threads();
  for (const Model& model : integer::binary_models()) {
    Session reference(model, {.backend = "reference", .batch = 2});
    const Tensor expected = run(reference, model, 2);
    for (const int count : {1, 2}) {
      set_threads(count);
      Session session(model, {.backend = "xnor", .batch = 2, .fallback_to_reference = true});
      EXPECT_TRUE(same_bytes(run(session, model, 2), expected)) << count;
      EXPECT_TRUE(same_bytes(run(session, model, 2), expected)) << count << ", second run";
    }
  }
  set_threads(before);
}

TEST(Xnor, RunsBinaryLayersOnPopcountAndSaysWhyItLeavesOthers) {
  const Model model = integer::signs_model();
  Session session(model, {.backend = "xnor", .fallback_to_reference = true});
  EXPECT_THAT(row_named(session, "a").implementation, HasSubstr("popcount:"));
  EXPECT_THAT(row_named(session, "c").implementation, HasSubstr("popcount:"));
  EXPECT_EQ(row_named(session, "pool").implementation, "bitloom:max_pool_signs");
  EXPECT_EQ(row_named(session, "a").weight_bits, 1);
  EXPECT_EQ(row_named(session, "a").activation_bits, 1);
  EXPECT_EQ(row_named(session, "stem").implementation, "reference");
  EXPECT_THAT(row_named(session, "stem").declined, HasSubstr("weights have 7 bits"));
  const Model codes = integer::few_bit_weights_model();
  Session few(codes, {.backend = "xnor", .fallback_to_reference = true});
  EXPECT_THAT(row_named(few, "a").declined, HasSubstr("activations have 8 bits"));
}

// Nothing runs elsewhere in silence: each layer is named with its reason.
TEST(Xnor, RefusesLayersThatItsBackendCannotRun) {
  const Model model = integer::signs_model();
  EXPECT_ERROR(BackendError, Session(model, {.backend = "xnor"}),
               "stem: ", "weights have 7 bits, popcount takes binary and ternary",
               "--fallback=reference");
  EXPECT_ERROR(BackendError, Session(model, {.backend = "cudnn"}), "a: ", "--fallback=reference");
}

TEST(Xnor, KeepsTensorsBetweenBinaryLayersPacked) {
  // One chain of 128 channels on a 32x32 map: 128 KiB of codes a tensor, 16 KiB of bits.
  integer::BinaryModelBuilder build(3);
  const int x = build.input({1, 3, 32, 32});
  int last = build.product({.name = "stem",
                            .source = x,
                            .outputs = 128,
                            .window = integer::window(3, 1, 1),
                            .weights = Grid::kAffine,
                            .reals = true});
  last = build.affine("sign", last, false, integer::kBinaryFormat);
  for (const char* name : {"a", "b", "c", "d"}) {
    last = build.product(
        {.name = name, .source = last, .outputs = 128, .window = integer::window(3, 1, 1)});
  }
  build.product({.name = "logits", .source = last, .outputs = 10, .linear = true, .reals = true});
  const Model model = build.take();
  Session packed(model,
                 {.backend = "xnor", .fallback_to_reference = true, .keep_all_tensors = true});
  Session reference(model, {.backend = "reference", .keep_all_tensors = true});
  EXPECT_LT(packed.memory_bytes(), reference.memory_bytes());  // packed weights included
  EXPECT_TRUE(same_bytes(run(packed, model, 1), run(reference, model, 1)));
}

TEST(XnorCaps, HoldUnderEveryIsaCap) {
  if (std::getenv("BITLOOM_ISA") != nullptr) GTEST_SKIP() << "runs in the uncapped parent";
  for (const Isa isa : isa_caps()) {
    const ChildResult child = run_capped(isa, "Xnor.*");
    EXPECT_EQ(child.status, 0) << to_word(isa) << "\n" << child.output;
    EXPECT_THAT(child.output, HasSubstr("compared "));
  }
}

}  // namespace
}  // namespace bitloom::backends
