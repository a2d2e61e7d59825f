// Small whole models of binary and ternary layers, built by hand with random weights.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "backends/hand_models.h"

namespace bitloom::integer {

/// Adds layers whose scales let about half of the signs be negative.
class BinaryModelBuilder {
 public:
  explicit BinaryModelBuilder(std::uint64_t seed) : seed_(seed) {
    model_.network = "hand";
    model_.method = "test";
  }

  /// Pixels [1, C, H, W] as u8 codes.
  int input(const Shape& shape) {
    const int index = tensor("input", shape, u8_format(), 0.02F);
    model_.input_table =
        random_codes(Shape{shape.c(), 256}, DType::kU8, {0, 255}, RandomStream(seed_, "table"));
    return index;
  }

  struct Product {
    std::string name;
    int source = 0;
    std::int64_t outputs = 16;
    Window window = {};
    bool linear = false;
    Grid weights = Grid::kBinary;  ///< kAffine: 7 bits, exact on every CPU
    bool reals = false;            ///< f32 output
    AffineFormat output = kBinaryFormat;
    int residual = -1;
    bool two_scales = false;
    Clip clip = {};
  };

  int product(const Product& p) {
    const TensorInfo source = at(p.source);
    LayerCase shapes{
        .source = source.shape, .outputs = p.outputs, .window = p.window, .linear = p.linear};
    Layer layer;
    layer.name = p.name;
    layer.op = p.linear ? LayerOp::kLinear : LayerOp::kConv2d;
    layer.mode = ComputeMode::kStatic;
    layer.inputs = {p.source};
    layer.window = p.window;
    layer.clip = p.clip;
    layer.weight_grid = p.weights;
    set_weights(weight_shape(shapes), p, layer);
    const double depth = static_cast<double>(layer.weight.elements() / p.outputs);
    const double x = source.format.grid == Grid::kAffine ? 120.0 : 1.0;
    const double w = p.weights == Grid::kAffine ? 36.0 : 1.0;
    set_scales(p, std::sqrt(depth) * x * w, layer);
    if (p.residual >= 0) {
      layer.inputs.push_back(p.residual);
      layer.residual_ratio = 1.0F;
    }
    return add(std::move(layer), output_shape(shapes), p.reals, p.output);
  }

  int max_pool(const std::string& name, int source, const Window& window, bool falls) {
    const TensorInfo from = at(source);
    Layer layer;
    layer.name = name;
    layer.op = LayerOp::kMaxPool;
    layer.mode = ComputeMode::kStatic;
    layer.inputs = {source};
    layer.window = window;
    if (falls) {
      layer.lowest =
          random_codes(Shape{from.shape.c()}, DType::kU8, {0, 1}, RandomStream(seed_, name));
    }
    const Shape pooled{1, from.shape.c(),
                       (from.shape.h() + 2 * window.pad - window.kernel_h) / window.stride + 1,
                       (from.shape.w() + 2 * window.pad - window.kernel_w) / window.stride + 1};
    return add(std::move(layer), pooled, false, from.format);
  }

  /// A batch norm alone (reals), or with a quantizer.
  int affine(const std::string& name, int source, bool reals, const AffineFormat& format = {}) {
    const TensorInfo from = at(source);
    Layer layer;
    layer.name = name;
    layer.op = LayerOp::kAffine;
    layer.mode = reals ? ComputeMode::kFloat : ComputeMode::kStatic;
    layer.inputs = {source};
    const float gain = format.grid == Grid::kAffine && !reals ? 40.0F : 1.0F;
    layer.multiplier = vector(from.shape.c(), name + " m", gain, 0.0F);
    layer.bias = vector(from.shape.c(), name + " b", 0.3F * gain, reals ? 0.0F : 0.4F * gain);
    return add(std::move(layer), from.shape, reals, format);
  }

  int prelu(const std::string& name, int source, bool shifts) {
    const TensorInfo from = at(source);
    Layer layer;
    layer.name = name;
    layer.op = LayerOp::kPrelu;
    layer.inputs = {source};
    layer.multiplier = vector(from.shape.c(), name + " slope", 0.2F, 0.2F);
    if (shifts) {
      layer.shift = vector(from.shape.c(), name + " shift", 0.2F, 0.0F);
      layer.bias = vector(from.shape.c(), name + " offset", 0.2F, 0.0F);
    }
    return add(std::move(layer), from.shape, true, {});
  }

  int k_map(const std::string& name, int source, const Window& window) {
    const Shape from = at(source).shape;
    Layer layer;
    layer.name = name;
    layer.op = LayerOp::kKMap;
    layer.inputs = {source};
    layer.window = window;
    return add(std::move(layer),
               Shape{1, 1, (from.h() + 2 * window.pad - window.kernel_h) / window.stride + 1,
                     (from.w() + 2 * window.pad - window.kernel_w) / window.stride + 1},
               true, {});
  }

  int scale_map(const std::string& name, int source, int map) {
    Layer layer;
    layer.name = name;
    layer.op = LayerOp::kScaleMap;
    layer.inputs = {source, map};
    return add(std::move(layer), at(source).shape, true, {});
  }

  Model take() {
    validate(model_);
    return std::move(model_);
  }

 private:
  const TensorInfo& at(int index) const { return model_.tensors[static_cast<std::size_t>(index)]; }

  int tensor(const std::string& name, const Shape& shape, const AffineFormat& format, float scale) {
    model_.tensors.push_back({.name = name,
                              .shape = shape,
                              .dtype = dtype_of(format),
                              .format = format,
                              .scale = scale});
    return static_cast<int>(model_.tensors.size()) - 1;
  }

  // Copies: shape and format may be those of a tensor, which move when another joins them.
  int add(Layer layer, Shape shape, bool reals, AffineFormat format) {
    layer.output = tensor(layer.name, shape, format, format.grid == Grid::kAffine ? 0.02F : 1.0F);
    if (reals) {
      model_.tensors.back() = {
          .name = layer.name, .shape = shape, .dtype = DType::kF32, .format = {}};
    }
    model_.layers.push_back(std::move(layer));
    return static_cast<int>(model_.tensors.size()) - 1;
  }

  Tensor vector(std::int64_t count, const std::string& name, float spread, float mean) const {
    const RandomStream random(seed_, name);
    Tensor values(DType::kF32, Shape{count});
    for (std::int64_t i = 0; i < count; ++i) {
      values.data<float>()[i] = mean + spread * random.normal(static_cast<std::uint64_t>(i));
    }
    return values;
  }

  void set_weights(const Shape& shape, const Product& p, Layer& layer) const {
    const RandomStream random(seed_, p.name);
    layer.weight_bits = p.weights == Grid::kAffine ? 7 : (p.weights == Grid::kBinary ? 1 : 2);
    layer.weight_range = p.weights == Grid::kAffine ? CodeRange{-64, 63} : CodeRange{-1, 1};
    if (p.weights == Grid::kBinary) {
      layer.weight = random_codes(shape, DType::kS8, {0, 1}, random);
      for (std::int8_t& code : layer.weight.span<std::int8_t>()) {
        code = static_cast<std::int8_t>(2 * code - 1);
      }
    } else {
      layer.weight = random_codes(shape, DType::kS8, layer.weight_range, random);
    }
  }

  /// One output spread of 1 (codes of an affine grid: 40); a third of the channels fall.
  void set_scales(const Product& p, double spread, Layer& layer) const {
    const bool codes = !p.reals && p.output.grid == Grid::kAffine;
    const double gain = (codes ? 40.0 : 1.0) / spread;
    layer.multiplier = vector(p.outputs, p.name + " m", static_cast<float>(gain), 0.0F);
    layer.bias = vector(p.outputs, p.name + " b", codes ? 40.0F : 0.4F, codes ? 50.0F : 0.0F);
    if (p.two_scales) {
      layer.negative_multiplier =
          vector(p.outputs, p.name + " n", static_cast<float>(gain), static_cast<float>(gain));
    }
  }

  std::uint64_t seed_;
  Model model_;
};

/// Signs all the way: odd channels, a pool that falls in some, groups, strides, wide padding, a
/// ReLU before a sign, linear layers. Input [1, 3, 13, 12], ten classes.
inline Model signs_model(std::uint64_t seed = 1) {
  BinaryModelBuilder build(seed);
  const int x = build.input({1, 3, 13, 12});
  const int stem = build.product({.name = "stem",
                                  .source = x,
                                  .outputs = 65,
                                  .window = window(3, 1, 1),
                                  .weights = Grid::kAffine});
  const int a =
      build.product({.name = "a", .source = stem, .outputs = 64, .window = window(3, 1, 1)});
  const int pooled = build.max_pool("pool", a, window(2, 2, 0), true);
  const int b =
      build.product({.name = "b", .source = pooled, .outputs = 96, .window = window(3, 2, 2, 2)});
  const int c = build.product({.name = "c",
                               .source = b,
                               .outputs = 127,
                               .window = window(5, 1, 2),
                               .weights = Grid::kTernary});
  const int wide = build.max_pool("wide", c, window(3, 1, 1), false);
  const int d =
      build.product({.name = "d", .source = wide, .outputs = 128, .window = window(1, 1, 0)});
  const int e = build.product({.name = "e", .source = d, .outputs = 70, .linear = true});
  build.product({.name = "logits",
                 .source = e,
                 .outputs = 10,
                 .linear = true,
                 .weights = Grid::kTernary,
                 .reals = true});
  return build.take();
}

/// Real shortcuts (Bi-Real), signs behind batch norms, K maps, rectifiers, codes in the end.
inline Model real_shortcuts_model(std::uint64_t seed = 1) {
  BinaryModelBuilder build(seed);
  const int x = build.input({1, 3, 13, 12});
  const int stem = build.product({.name = "stem",
                                  .source = x,
                                  .outputs = 35,
                                  .window = window(3, 1, 1),
                                  .weights = Grid::kAffine,
                                  .reals = true});
  const int s1 = build.affine("sign1", stem, false, kBinaryFormat);
  const int a = build.product({.name = "a",
                               .source = s1,
                               .outputs = 35,
                               .window = window(3, 1, 1),
                               .reals = true,
                               .residual = stem});
  const int norm = build.affine("norm", a, true);
  const int s2 = build.affine("sign2", norm, false, kBinaryFormat);
  const int k = build.k_map("k", norm, window(3, 2, 1));
  const int b = build.product({.name = "b",
                               .source = s2,
                               .outputs = 48,
                               .window = window(3, 2, 1),
                               .weights = Grid::kTernary,
                               .reals = true});
  const int scaled = build.scale_map("scaled", b, k);
  const int bent = build.prelu("bent", scaled, true);
  const int t = build.affine("ternary", bent, false, kTernaryFormat);
  const int c = build.product({.name = "c",
                               .source = t,
                               .outputs = 33,
                               .window = window(3, 1, 1),
                               .weights = Grid::kTernary,
                               .output = kTernaryFormat});
  const int d = build.product({.name = "d",
                               .source = c,
                               .outputs = 40,
                               .window = window(3, 1, 0),
                               .reals = true,
                               .clip = kRelu});
  const int half = build.prelu("half", d, false);
  const int codes = build.affine("codes", half, false, u8_format());
  build.product({.name = "logits",
                 .source = codes,
                 .outputs = 10,
                 .linear = true,
                 .weights = Grid::kAffine,
                 .reals = true});
  return build.take();
}

/// Few-bit weights on 8-bit activations, two scales on codes and on signs.
inline Model few_bit_weights_model(std::uint64_t seed = 1) {
  BinaryModelBuilder build(seed);
  const int x = build.input({1, 3, 9, 9});
  const int a = build.product(
      {.name = "a", .source = x, .outputs = 33, .window = window(3, 1, 1), .output = u8_format()});
  const int b = build.product({.name = "b",
                               .source = a,
                               .outputs = 48,
                               .window = window(3, 1, 1),
                               .weights = Grid::kTernary,
                               .output = u8_format(),
                               .two_scales = true});
  const int c = build.product({.name = "c",
                               .source = b,
                               .outputs = 31,
                               .window = window(3, 2, 1),
                               .weights = Grid::kTernary});
  const int d = build.product({.name = "d",
                               .source = c,
                               .outputs = 29,
                               .window = window(3, 1, 1),
                               .weights = Grid::kTernary,
                               .two_scales = true});
  build.product({.name = "logits", .source = d, .outputs = 10, .linear = true, .reals = true});
  return build.take();
}

inline std::vector<Model> binary_models() {
  std::vector<Model> models;
  models.push_back(signs_model());
  models.push_back(real_shortcuts_model());
  models.push_back(few_bit_weights_model());
  return models;
}

}  // namespace bitloom::integer
