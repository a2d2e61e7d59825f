// Small whole models, built by hand with random weights: every operation, residual and format.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "bitloom/integer/model.h"
#include "bitloom/integer/profile.h"
#include "bitloom/integer/requantize.h"
#include "integer/random_layer.h"

namespace bitloom::integer {

/// Adds tensors and layers to a model, each with random numbers of an honest size.
class ModelBuilder {
 public:
  ModelBuilder(const DeviceProfile& profile, ComputeMode mode, std::uint64_t seed)
      : profile_(profile), mode_(mode), seed_(seed) {
    model_.network = "hand";
    model_.method = "test";
    model_.profile = is_static() || mode == ComputeMode::kDynamic ? profile.name : "";
  }

  /// Pixels [1, C, H, W]; the table spreads them over the codes.
  int input(const Shape& shape) {
    const int index = tensor("input", shape, profile_.activations(8, true), true);
    const TensorInfo& info = model_.tensors[0];
    model_.input_table = Tensor(info.dtype, Shape{shape.c(), 256});
    for (std::int64_t i = 0; i < model_.input_table.elements(); ++i) {
      const float real = 0.01F * static_cast<float>(i % 256 - 100 - i / 256);
      const std::int32_t code = quantize(real, 1.0F / info.scale, info.format);
      if (info.dtype == DType::kF32) model_.input_table.data<float>()[i] = real;
      if (info.dtype == DType::kU8) {
        model_.input_table.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(code);
      }
      if (info.dtype == DType::kS8) {
        model_.input_table.data<std::int8_t>()[i] = static_cast<std::int8_t>(code);
      }
    }
    return index;
  }

  struct Product {
    std::string name;
    int source = 0;
    std::int64_t outputs = 16;
    Window window = {};
    bool linear = false;
    Clip clip = kRelu;
    int residual = -1;
    bool logits = false;
    int weight_bits = 8;
    int activation_bits = 8;
    int grid_of = -1;  ///< a tensor whose format and scale the output takes
  };

  int product(const Product& p) {
    const TensorInfo source = at(p.source);
    LayerCase shapes{.name = p.name,
                     .source = source.shape,
                     .outputs = p.outputs,
                     .window = p.window,
                     .linear = p.linear};
    shapes.source_format = source.format;
    shapes.clip = p.clip;
    shapes.weights = profile_.weights(p.weight_bits);
    const int output =
        tensor(p.name, output_shape(shapes),
               profile_.activations(p.activation_bits, p.clip.low < 0.0F), !p.logits);
    if (p.grid_of >= 0) share_grid(output, p.grid_of);
    shapes.destination = at(output).dtype;
    shapes.destination_format = at(output).format;
    Layer layer{.name = p.name,
                .op = p.linear ? LayerOp::kLinear : LayerOp::kConv2d,
                .mode = mode_,
                .inputs = {p.source},
                .output = output,
                .window = p.window,
                .clip = p.clip,
                .weight = random_codes(weight_shape(shapes), DType::kS8, shapes.weights,
                                       RandomStream(seed_, p.name)),
                .weight_bits = DeviceProfile::bits_of(shapes.weights),
                .weight_range = shapes.weights,
                .weight_scale = {},
                .multiplier = {},
                .bias = {}};
    random_scales(shapes, RandomStream(seed_, p.name + " scales"), layer);
    if (!is_static()) make_real(p, layer);
    if (p.residual >= 0) {
      layer.inputs.push_back(p.residual);
      layer.residual_ratio = scale_ratio(at(p.residual).scale, at(output).scale);
    }
    model_.layers.push_back(std::move(layer));
    return output;
  }

  /// kMaxPool or kAvgPool.
  int pool(const std::string& name, LayerOp op, int source, const Window& window) {
    const Shape shape = at(source).shape;
    const Shape pooled{1, shape.c(),
                       (shape.h() + 2 * window.pad - window.kernel_h) / window.stride + 1,
                       (shape.w() + 2 * window.pad - window.kernel_w) / window.stride + 1};
    return unary(name, op, source, pooled, window);
  }

  int max_pool(const std::string& name, int source, const Window& window) {
    return pool(name, LayerOp::kMaxPool, source, window);
  }

  /// Sources of one grid.
  int concat(const std::string& name, const std::vector<int>& sources) {
    std::int64_t channels = 0;
    for (const int source : sources) channels += at(source).shape.c();
    const Shape& first = at(sources[0]).shape;
    const int output =
        unary(name, LayerOp::kConcat, sources[0], Shape{1, channels, first.h(), first.w()}, {});
    model_.layers.back().inputs = sources;
    return output;
  }

  int global_avg_pool(const std::string& name, int source) {
    return unary(name, LayerOp::kGlobalAvgPool, source, Shape{1, at(source).shape.c()}, {});
  }

  int add(const std::string& name, int a, int b, const Clip& clip) {
    const int output = tensor(name, at(a).shape, profile_.activations(8, clip.low < 0.0F), true);
    Layer layer;
    layer.name = name;
    layer.op = LayerOp::kAdd;
    layer.mode = mode_ == ComputeMode::kStatic ? mode_ : ComputeMode::kFloat;
    layer.inputs = {a, b};
    layer.output = output;
    layer.clip = clip;
    model_.layers.push_back(std::move(layer));
    return output;
  }

  Model take() {
    validate(model_);
    return std::move(model_);
  }

 private:
  void share_grid(int output, int owner) {
    TensorInfo& info = model_.tensors[static_cast<std::size_t>(output)];
    info.dtype = at(owner).dtype;
    info.format = at(owner).format;
    info.scale = at(owner).scale;
  }

  bool is_static() const { return mode_ == ComputeMode::kStatic; }
  /// A clip made it, perhaps with operations without weights behind.
  bool non_negative(int index) const {
    for (const Layer& layer : model_.layers) {
      if (layer.output != index) continue;
      return layer.clip.low >= 0.0F || (layer.weight.empty() && non_negative(layer.inputs[0]));
    }
    return false;
  }
  const TensorInfo& at(int index) const { return model_.tensors[static_cast<std::size_t>(index)]; }

  int tensor(const std::string& name, const Shape& shape, const AffineFormat& format, bool codes) {
    const int index = static_cast<int>(model_.tensors.size());
    TensorInfo info{.name = name, .shape = shape, .dtype = DType::kF32, .format = {}};
    if (codes && is_static()) {
      info.dtype = dtype_of(format);
      info.format = format;
      info.scale = 0.01F + 0.003F * static_cast<float>(index);
    }
    model_.tensors.push_back(info);
    return index;
  }

  int unary(const std::string& name, LayerOp op, int source, const Shape& shape,
            const Window& window) {
    const int output = static_cast<int>(model_.tensors.size());
    TensorInfo info = at(source);
    info.name = name;
    info.shape = shape;
    model_.tensors.push_back(info);
    Layer layer;
    layer.name = name;
    layer.op = op;
    layer.mode = is_static() ? mode_ : ComputeMode::kFloat;
    layer.inputs = {source};
    layer.output = output;
    layer.window = window;
    model_.layers.push_back(std::move(layer));
    return output;
  }

  /// Weight-only and dynamic: a multiplier per channel, every fourth one negative; float: reals
  /// instead of codes.
  void make_real(const Product& p, Layer& layer) const {
    const std::int64_t outputs = layer.weight.shape().n();
    const std::int64_t row = layer.weight.elements() / outputs;
    const float scale = 1.5F / (std::sqrt(static_cast<float>(row)) * 60.0F);
    for (float& bias : layer.bias.span<float>()) bias *= 0.1F;
    if (mode_ != ComputeMode::kFloat) {
      layer.weight_scale = Tensor(DType::kF32, Shape{outputs});
      for (std::int64_t o = 0; o < outputs; ++o) {
        const float here = scale * (1.0F + 0.01F * static_cast<float>(o));
        layer.weight_scale.data<float>()[o] = here;
        layer.multiplier.data<float>()[o] = o % 4 == 3 ? -here : here;
      }
      if (mode_ == ComputeMode::kDynamic) {
        layer.source_format = profile_.activations(8, !non_negative(p.source));
      }
      return;
    }
    layer.multiplier = Tensor();
    Tensor reals(DType::kF32, layer.weight.shape());
    for (std::int64_t i = 0; i < reals.elements(); ++i) {
      reals.data<float>()[i] = scale * static_cast<float>(layer.weight.data<std::int8_t>()[i]);
    }
    layer.weight = std::move(reals);
    layer.weight_bits = 32;
  }

  const DeviceProfile& profile_;
  ComputeMode mode_;
  std::uint64_t seed_;
  Model model_;
};

inline Window window(std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                     std::int64_t groups = 1) {
  return {.kernel_h = kernel, .kernel_w = kernel, .stride = stride, .pad = pad, .groups = groups};
}

/// Two residual blocks (a downsample that is codes, a ReLU between), a depthwise layer, low bits,
/// a stand-alone add, pools, linear logits. Input [1, 3, 13, 12], ten classes.
inline Model small_residual_model(const std::string& profile, ComputeMode mode,
                                  std::uint64_t seed = 1) {
  ModelBuilder build(profile_named(profile), mode, seed);
  const int x = build.input({1, 3, 13, 12});
  const int stem =
      build.product({.name = "stem", .source = x, .outputs = 16, .window = window(3, 1, 1)});
  const int pooled = build.max_pool("pool", stem, window(3, 2, 1));
  const int a =
      build.product({.name = "a", .source = pooled, .outputs = 16, .window = window(3, 1, 1)});
  const int b = build.product(
      {.name = "b", .source = a, .outputs = 16, .window = window(3, 1, 1), .residual = pooled});
  const int wide = build.product({.name = "wide",
                                  .source = b,
                                  .outputs = 32,
                                  .window = window(3, 2, 1),
                                  .weight_bits = 4,
                                  .activation_bits = 4});
  const int down = build.product(
      {.name = "down", .source = b, .outputs = 32, .window = window(1, 2, 0), .clip = {}});
  const int c = build.product(
      {.name = "c", .source = wide, .outputs = 32, .window = window(3, 1, 1), .residual = down});
  const int depthwise = build.product(
      {.name = "depthwise", .source = c, .outputs = 32, .window = window(3, 1, 1, 32), .clip = {}});
  const int sum = build.add("sum", depthwise, c, kRelu);
  const int mean = build.global_avg_pool("mean", sum);
  build.product({.name = "logits",
                 .source = mean,
                 .outputs = 10,
                 .linear = true,
                 .clip = {},
                 .logits = true});
  return build.take();
}

/// LeNet-like, one channel, linear layers that read maps. Input [1, 1, 14, 14], ten classes.
inline Model small_lenet_model(const std::string& profile, ComputeMode mode,
                               std::uint64_t seed = 1) {
  ModelBuilder build(profile_named(profile), mode, seed);
  const int x = build.input({1, 1, 14, 14});
  const int a =
      build.product({.name = "conv1", .source = x, .outputs = 8, .window = window(5, 1, 2)});
  const int b = build.max_pool("pool1", a, window(2, 2, 0));
  const int c =
      build.product({.name = "conv2", .source = b, .outputs = 19, .window = window(5, 1, 2)});
  const int d = build.max_pool("pool2", c, window(2, 2, 0));
  const int e = build.product({.name = "fc1", .source = d, .outputs = 33, .linear = true});
  build.product(
      {.name = "fc2", .source = e, .outputs = 10, .linear = true, .clip = {}, .logits = true});
  return build.take();
}

/// Branches into a concat and averages between odd channel counts; clips above, below and around
/// zero, on s8 or around a zero point. Input [1, 3, 13, 12], ten classes.
inline Model small_branches_model(const std::string& profile, ComputeMode mode,
                                  std::uint64_t seed = 1) {
  ModelBuilder build(profile_named(profile), mode, seed);
  const Clip low_six{.low = 0.0F, .high = 2.5F};  // inside a grid that ends near 3.3
  const int x = build.input({1, 3, 13, 12});
  const int stem = build.product(
      {.name = "stem", .source = x, .outputs = 19, .window = window(3, 2, 1), .clip = low_six});
  const int depthwise = build.product({.name = "depthwise",
                                       .source = stem,
                                       .outputs = 19,
                                       .window = window(3, 1, 1, 19),
                                       .clip = low_six});
  const int mean = build.pool("mean", LayerOp::kAvgPool, depthwise, window(3, 1, 1));
  const int one =
      build.product({.name = "one", .source = stem, .outputs = 1, .grid_of = depthwise});
  const int wide = build.product({.name = "wide",
                                  .source = stem,
                                  .outputs = 65,
                                  .window = window(3, 1, 1),
                                  .grid_of = depthwise});
  const int joined = build.concat("joined", {mean, one, wide, depthwise});
  const int half = build.pool("half", LayerOp::kAvgPool, joined, window(3, 2, 1));
  const int tanh = build.product({.name = "tanh",
                                  .source = half,
                                  .outputs = 63,
                                  .window = window(1, 1, 0),
                                  .clip = {.low = -1.5F, .high = 1.0F}});
  const int tanh_mean = build.pool("tanh_mean", LayerOp::kAvgPool, tanh, window(2, 2, 0));
  build.product({.name = "logits",
                 .source = tanh_mean,
                 .outputs = 10,
                 .linear = true,
                 .clip = {},
                 .logits = true});
  return build.take();
}

/// SqueezeNet's fire: branches of 1x1 and 3x3 convolutions, one with a residual, into a concat; one
/// branch that has a second reader. Input [1, 3, 13, 12], ten classes.
inline Model small_fire_model(const std::string& profile, ComputeMode mode,
                              std::uint64_t seed = 1) {
  ModelBuilder build(profile_named(profile), mode, seed);
  const int x = build.input({1, 3, 13, 12});
  const int stem =
      build.product({.name = "stem", .source = x, .outputs = 20, .window = window(3, 2, 1)});
  const int squeeze =
      build.product({.name = "squeeze", .source = stem, .outputs = 12, .window = window(1, 1, 0)});
  const int one =
      build.product({.name = "one", .source = squeeze, .outputs = 67, .window = window(1, 1, 0)});
  const int three = build.product({.name = "three",
                                   .source = squeeze,
                                   .outputs = 20,
                                   .window = window(3, 1, 1),
                                   .grid_of = one});
  const int sum = build.product({.name = "sum",
                                 .source = squeeze,
                                 .outputs = 20,
                                 .window = window(1, 1, 0),
                                 .residual = stem,
                                 .grid_of = one});
  const int read_twice = build.product({.name = "read_twice",
                                        .source = squeeze,
                                        .outputs = 8,
                                        .window = window(1, 1, 0),
                                        .grid_of = one});
  const int joined = build.concat("joined", {sum, three, read_twice, one});
  const int behind = build.product({.name = "behind",
                                    .source = read_twice,
                                    .outputs = 115,
                                    .window = window(1, 1, 0),
                                    .residual = joined});
  const int mean = build.global_avg_pool("mean", behind);
  build.product({.name = "logits",
                 .source = mean,
                 .outputs = 10,
                 .linear = true,
                 .clip = {},
                 .logits = true});
  return build.take();
}

/// Every hand model in one mode.
inline std::vector<Model> hand_models(const std::string& profile, ComputeMode mode) {
  std::vector<Model> models;
  models.push_back(small_residual_model(profile, mode));
  models.push_back(small_lenet_model(profile, mode));
  models.push_back(small_branches_model(profile, mode));
  models.push_back(small_fire_model(profile, mode));
  return models;
}

inline Tensor random_images(const Shape& shape, std::uint64_t seed) {
  return random_codes(shape, DType::kU8, {0, 255}, RandomStream(seed, "images"));
}

}  // namespace bitloom::integer
