#include "bitloom/integer/model_archive.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>

#include "backends/binary_models.h"
#include "bitloom/core/error.h"
#include "bitloom/integer/packing.h"
#include "bitloom/io/hdf5_archive.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::integer {
namespace {

void expect_same(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.empty(), b.empty()) << what;
  if (a.empty()) return;
  EXPECT_EQ(a.dtype(), b.dtype()) << what;
  EXPECT_EQ(a.shape(), b.shape()) << what;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << what;
}

void expect_same(const Layer& a, const Layer& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.op, b.op);
  EXPECT_EQ(a.mode, b.mode);
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.output, b.output);
  EXPECT_EQ(a.clip, b.clip);
  if (a.op == LayerOp::kConv2d || a.op == LayerOp::kMaxPool || a.op == LayerOp::kAvgPool) {
    EXPECT_EQ(a.window.kernel_h, b.window.kernel_h);
    EXPECT_EQ(a.window.kernel_w, b.window.kernel_w);
    EXPECT_EQ(a.window.stride, b.window.stride);
    EXPECT_EQ(a.window.pad, b.window.pad);
    EXPECT_EQ(a.window.groups, b.window.groups);
  }
  EXPECT_EQ(a.weight_bits, b.weight_bits);
  EXPECT_EQ(a.weight_range, b.weight_range);
  EXPECT_EQ(a.residual_ratio, b.residual_ratio);
  if (a.mode == ComputeMode::kDynamic) {
    EXPECT_EQ(a.source_format, b.source_format);
  }
  expect_same(a.weight, b.weight, a.name + " weight");
  expect_same(a.weight_scale, b.weight_scale, a.name + " weight scale");
  expect_same(a.multiplier, b.multiplier, a.name + " multiplier");
  expect_same(a.bias, b.bias, a.name + " bias");
}

void expect_same(const Model& a, const Model& b) {
  EXPECT_EQ(a.network, b.network);
  EXPECT_EQ(a.method, b.method);
  EXPECT_EQ(a.profile, b.profile);
  EXPECT_EQ(a.graph_text, b.graph_text);
  EXPECT_EQ(a.config_text, b.config_text);
  EXPECT_EQ(a.weights_label, b.weights_label);
  expect_same(a.input_table, b.input_table, "input table");
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    EXPECT_EQ(a.tensors[i].name, b.tensors[i].name);
    EXPECT_EQ(a.tensors[i].shape, b.tensors[i].shape);
    EXPECT_EQ(a.tensors[i].dtype, b.tensors[i].dtype);
    EXPECT_EQ(a.tensors[i].scale, b.tensors[i].scale);
    if (a.tensors[i].dtype != DType::kF32) {
      EXPECT_EQ(a.tensors[i].format, b.tensors[i].format);
    }
  }
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) expect_same(a.layers[i], b.layers[i]);
}

Model labelled(Model model) {
  model.graph_text = "graph text\n";
  model.config_text = "[data]\nreader = idx\n";
  model.weights_label = "w8a8";
  return model;
}

TEST(ModelArchive, RoundTripsEveryMode) {
  for (const ComputeMode mode : {ComputeMode::kStatic, ComputeMode::kFloat,
                                 ComputeMode::kWeightOnly, ComputeMode::kDynamic}) {
    for (const char* profile : {"int8", "int8-reduced"}) {
      for (Model& made : hand_models(profile, mode)) {
        const Model model = labelled(std::move(made));
        expect_same(model, model_from_archive(to_archive(model)));
      }
    }
  }
}

TEST(ModelArchive, RoundTripsThroughAFile) {
  const TempDir folder;
  for (const ComputeMode mode : {ComputeMode::kStatic, ComputeMode::kDynamic}) {
    const Model model = labelled(small_residual_model("int8-reduced", mode));
    const std::string path = (folder / "model.h5").string();
    io::save_archive(path, to_archive(model));
    EXPECT_TRUE(io::load_archive(path).is_packed());
    expect_same(model, model_from_archive(io::load_archive(path)));
  }
}

Model one_layer_model(int bits, bool narrow) {
  const DeviceProfile& profile = profile_named("int8");
  ModelBuilder build(profile, ComputeMode::kStatic, 3);
  const int x = build.input({1, 3, 4, 4});
  const int y = build.product(
      {.name = "conv", .source = x, .outputs = 5, .window = window(3, 1, 1), .weight_bits = bits});
  build.product({.name = "fc",
                 .source = y,
                 .outputs = 3,
                 .linear = true,
                 .clip = {},
                 .logits = true,
                 .weight_bits = bits});
  Model model = build.take();
  if (narrow) {
    for (Layer& layer : model.layers) {
      layer.weight_range = weight_range(bits, true);
      for (std::int8_t& code : layer.weight.span<std::int8_t>()) {
        code = std::max(code, static_cast<std::int8_t>(layer.weight_range.qmin));
      }
    }
  }
  return model;
}

TEST(ModelArchive, PacksEveryWidth) {
  int checked = 0;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool narrow : {false, true}) {
      const Model model = one_layer_model(bits, narrow);
      const Archive archive = to_archive(model);
      expect_same(model, model_from_archive(archive));
      if (bits == 8) {
        EXPECT_EQ(archive.tensor("layers/00000/weight").dtype(), DType::kS8);
      } else {
        // 27 codes a row: whole bytes.
        EXPECT_EQ(archive.tensor("layers/00000/weight_packed").shape(),
                  (Shape{5, (27 * bits + 7) / 8}));
        EXPECT_FALSE(archive.has("layers/00000/weight"));
      }
      ++checked;
    }
  }
  EXPECT_EQ(checked, 14);
}

// By hand: 3 bits, qmin -4, codes -4 -1 3 0 2 -> 0 3 7 4 6 -> bits 000 110 111 001 011 from the
// least: byte 0 = 0b11011000, byte 1 = 0b01101001.
TEST(ModelArchive, PacksLittleEndianBitOrder) {
  const std::vector<std::int8_t> codes{-4, -1, 3, 0, 2};
  const Tensor packed = pack_codes(make_tensor<std::int8_t>(Shape{1, 5}, codes), 3, -4);
  ASSERT_EQ(packed.shape(), (Shape{1, 2}));
  EXPECT_EQ(packed.data<std::uint8_t>()[0], 0b11011000);
  EXPECT_EQ(packed.data<std::uint8_t>()[1], 0b01101001);
}

TEST(ModelArchive, NamesTheFileInWhatItRefuses) {
  for (const auto& [path, name, value, part] :
       std::vector<std::tuple<std::string, std::string, AttributeValue, std::string>>{
           {"layers/00000", "op", std::string("deconv"), "deconv"},
           {"tensors/00000", "dtype", std::string("u7"), "u7"},
           {"tensors/00000", "scale", -1.0, "positive finite scale"},
           {"tensors/00000", "bits", std::int64_t{9}, "2 to 8 bits"}}) {
    Archive archive = to_archive(one_layer_model(4, false));
    archive.set_source("m.h5");
    archive.put_attribute(path, name, value);
    EXPECT_ERROR(Error, model_from_archive(archive), "m.h5: ", part);
  }
}

TEST(ModelArchive, KeepsThePaddingOfColumns) {
  Model model = one_layer_model(4, false);
  Layer& layer = model.layers[0];
  layer.window.column_pad = layer.window.pad;
  const Archive archive = to_archive(model);
  EXPECT_EQ(model_from_archive(archive).layers[0].window.column_pad, layer.window.pad);
}

TEST(ModelArchive, RefusesForeignNewerAndOlderSchemas) {
  EXPECT_ERROR(FormatError, model_from_archive(Archive("bitloom.model", 4)),
               "expected schema 'bitloom.model' version 5, found version 4", "make the file again");
  EXPECT_ERROR(FormatError, model_from_archive(Archive("bitloom.checkpoint", 1)), "bitloom.model");
  EXPECT_ERROR(FormatError, model_from_archive(Archive("bitloom.model", 6)), "6");
}

TEST(ModelArchive, PacksBinaryWeightsInOneBitAndTernaryInTwo) {
  for (const Model& model : binary_models()) {
    const Archive archive = to_archive(model);
    const Model read = model_from_archive(archive);
    expect_same(model, read);
    for (std::size_t i = 0; i < model.layers.size(); ++i) {
      const Layer& from = model.layers[i];
      const Layer& to = read.layers[i];
      EXPECT_EQ(to.weight_grid, from.weight_grid);
      for (const auto vector : {&Layer::negative_multiplier, &Layer::shift, &Layer::lowest}) {
        ASSERT_EQ((to.*vector).bytes(), (from.*vector).bytes()) << from.name;
        if ((from.*vector).empty()) continue;
        EXPECT_EQ(std::memcmp((to.*vector).raw(), (from.*vector).raw(), (to.*vector).bytes()), 0);
      }
      if (from.weight_grid == Grid::kAffine) continue;
      const std::int64_t outputs = from.weight.shape().n();
      const std::int64_t bits = from.weight_grid == Grid::kBinary ? 1 : 2;
      EXPECT_EQ(
          archive.tensor(cat(i < 10 ? "layers/0000" : "layers/000", i, "/weight_packed")).shape(),
          (Shape{outputs, (from.weight.elements() / outputs * bits + 7) / 8}));
    }
  }
}

// By hand: signs - + - - + + + + -, least bit first: 0b00001101 and 0b1.
TEST(ModelArchive, PacksSignsWithOneForMinusOne) {
  const std::vector<std::int8_t> codes{-1, 1, -1, -1, 1, 1, 1, 1, -1};
  const Tensor packed = pack_signs(make_tensor<std::int8_t>(Shape{1, 9}, codes));
  ASSERT_EQ(packed.shape(), (Shape{1, 2}));
  EXPECT_EQ(packed.data<std::uint8_t>()[0], 0b00001101);
  EXPECT_EQ(packed.data<std::uint8_t>()[1], 1);
  EXPECT_ERROR(FormatError, unpack_signs(packed, Shape{1, 17}), "expected u8 [1, 3]", "[1, 2]");
}

TEST(ModelArchive, RefusesDamagedBinaryLayers) {
  const auto refuse = [](const char* part, const auto& change) {
    Archive archive = to_archive(signs_model());
    change(archive);
    EXPECT_ERROR(FormatError, model_from_archive(archive), part);
  };
  refuse("layers/00001/weight_packed", [](Archive& a) {
    a.put("layers/00001/weight_packed", Tensor(DType::kU8, Shape{64, 73}), "OB");
  });
  refuse("affine, binary or ternary",
         [](Archive& a) { a.put_attribute("layers/00001", "weight_grid", std::string("unary")); });
  refuse("the one format of binary codes",
         [](Archive& a) { a.put_attribute("layers/00001", "weight_bits", std::int64_t{2}); });
  refuse("the one format of binary codes",
         [](Archive& a) { a.put_attribute("tensors/00001", "qmin", std::int64_t{0}); });
}

/// An archive of the hand model after `change`.
template <typename Change>
Archive changed(const Change& change) {
  Archive archive = to_archive(one_layer_model(4, false));
  change(archive);
  return archive;
}

TEST(ModelArchive, RefusesDamagedArchives) {
  const auto expect_refused = [](const Archive& archive, const std::string& part) {
    EXPECT_ERROR(FormatError, model_from_archive(archive), part);
  };
  expect_refused(changed([](Archive& a) { a.put_attribute("", "layers", std::int64_t{-1}); }),
                 "unlikely count");
  expect_refused(
      changed([](Archive& a) { a.put_attribute("layers/00000", "op", std::string("conv3d")); }),
      "'conv3d'");
  expect_refused(
      changed([](Archive& a) { a.put_attribute("layers/00000", "mode", std::string("magic")); }),
      "weight-only");
  expect_refused(
      changed([](Archive& a) { a.put_attribute("layers/00000", "weight_bits", std::int64_t{9}); }),
      "2 to 7 bits");
  expect_refused(changed([](Archive& a) {
                   a.put("layers/00000/weight_packed", Tensor(DType::kU8, Shape{5, 3}), "OB");
                 }),
                 "expected u8 [5, 14], found u8 [5, 3]");
  expect_refused(changed([](Archive& a) {
                   const std::vector<std::int64_t> dims{1 << 30, 1 << 30};
                   a.put("layers/00000/weight_shape", make_tensor<std::int64_t>(Shape{2}, dims),
                         "D");
                 }),
                 "weight_shape");
}

}  // namespace
}  // namespace bitloom::integer
