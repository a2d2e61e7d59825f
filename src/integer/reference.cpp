#include "bitloom/integer/reference.h"

#include <algorithm>

#include "bitloom/core/parallel.h"
#include "bitloom/integer/dynamic.h"
#include "channelwise.h"
#include "elementwise.h"
#include "fixed_point_row.h"
#include "float_product.h"
#include "integer_product.h"
#include "requantize_row.h"
#include "scratch.h"

namespace bitloom::integer {
namespace {

bool is_product(const Layer& layer) {
  return layer.op == LayerOp::kConv2d || layer.op == LayerOp::kLinear;
}

bool multiplies_codes(const Layer& layer) {
  return layer.mode == ComputeMode::kStatic || layer.mode == ComputeMode::kDynamic ||
         layer.mode == ComputeMode::kFixedPoint;
}

const TensorInfo& source_info(const Model& model, const Layer& layer) {
  return model.tensors[static_cast<std::size_t>(layer.inputs[0])];
}

// Everything by value: a u8 store might write any variable that another one points to.
template <typename T>
void encode_pixels(const std::uint8_t* pixels, std::int64_t count, std::int64_t channels,
                   const T* codes, T* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) to[c] = codes[c * 256 + pixels[c]];
    pixels += channels;
    to += channels;
  }
}

template <typename T>
void encode_typed(ConstTensorView images, ConstTensorView table, TensorView out) {
  const std::int64_t channels = images.shape().c();
  const std::uint8_t* pixels = images.data<std::uint8_t>();
  const T* codes = table.data<T>();
  T* to = out.data<T>();
  parallel_for(images.elements() / channels, 4096, [&](std::int64_t first, std::int64_t last, int) {
    const std::int64_t at = first * channels;
    if (channels == 3) {
      encode_pixels(pixels + at, last - first, 3, codes, to + at);
    } else {
      encode_pixels(pixels + at, last - first, channels, codes, to + at);
    }
  });
}

/// What the sums of a product read: a static source's own codes, or those a dynamic one becomes.
struct SourceCodes {
  ConstTensorView codes;
  std::int32_t zero_point = 0;
  const float* scales = nullptr;  ///< dynamic: one an image
};

/// Bytes that codes_of takes.
std::size_t codes_bytes(const Layer& layer, const Shape& source) {
  if (layer.mode != ComputeMode::kDynamic) return 0;
  return aligned_bytes(static_cast<std::size_t>(source.elements())) +
         aligned_bytes(static_cast<std::size_t>(source.n()) * sizeof(float));
}

SourceCodes codes_of(const Model& model, const Layer& layer, ConstTensorView source,
                     Scratch& memory) {
  if (layer.mode != ComputeMode::kDynamic) {
    return {.codes = source, .zero_point = source_info(model, layer).format.zero_point};
  }
  const TensorView codes(layer.source_format.is_signed ? DType::kS8 : DType::kU8, source.shape(),
                         memory.take<std::byte>(source.elements()));
  const std::int64_t images = source.shape().n();
  const std::span<float> scales(memory.take<float>(images), static_cast<std::size_t>(images));
  quantize_source(layer, source, codes, scales);
  return {.codes = codes, .zero_point = layer.source_format.zero_point, .scales = scales.data()};
}

/// Of the sums: twice the outputs where positive and negative weights have their own.
ProductGeometry sums_geometry(const Layer& layer, const Shape& source) {
  ProductGeometry g = product_geometry(layer, source);
  if (has_two_scales(layer)) g.o *= 2;
  return g;
}

/// Bytes that weights_of takes.
std::size_t split_bytes(const Layer& layer) {
  return has_two_scales(layer) ? aligned_bytes(2 * layer.weight.bytes()) : 0;
}

ConstTensorView weights_of(const Layer& layer, Scratch& memory) {
  if (!has_two_scales(layer)) return layer.weight;
  const std::int64_t count = 2 * layer.weight.elements();
  std::int8_t* split = memory.take<std::int8_t>(count);
  split_codes(layer.weight, split);
  return {DType::kS8, Shape{count}, split};
}

std::size_t integer_bytes(const Layer& layer, const Shape& source) {
  return codes_bytes(layer, source) + split_bytes(layer) +
         integer_product_bytes(sums_geometry(layer, source));
}

/// Sums of a static or dynamic layer. `sink_of(scales)` gives where the rows go.
template <typename SinkOf>
void sum_products(const Model& model, const Layer& layer, ConstTensorView source,
                  const SinkOf& sink_of, std::span<std::byte> scratch) {
  const ProductGeometry geometry = sums_geometry(layer, source.shape());
  Scratch memory(scratch, integer_bytes(layer, source.shape()));
  const SourceCodes codes = codes_of(model, layer, source, memory);
  const ConstTensorView weight = weights_of(layer, memory);
  const std::size_t rest = integer_product_bytes(geometry);
  integer_product(geometry, codes.codes, codes.zero_point, weight, sink_of(codes.scales),
                  {memory.take<std::byte>(static_cast<std::int64_t>(rest)), rest});
}

void run_fixed_point(const Model& model, const Layer& layer,
                     std::span<const ConstTensorView> inputs, TensorView output,
                     std::span<std::byte> scratch) {
  const FixedPointTarget target =
      fixed_point_target(model, layer, inputs.size() == 2 ? inputs[1] : ConstTensorView(), output);
  const RowSink sink{.take =
                         [](const void* context, std::int64_t row, const std::int32_t* acc) {
                           static_cast<const FixedPointTarget*>(context)->take(row, acc);
                         },
                     .context = &target};
  sum_products(
      model, layer, inputs[0], [&](const float*) { return sink; }, scratch);
}

void run_integer(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
                 TensorView output, std::span<std::byte> scratch) {
  if (layer.mode == ComputeMode::kFixedPoint) {
    return run_fixed_point(model, layer, inputs, output, scratch);
  }
  RequantizeTarget target{.row = requantize_row_of(model, layer),
                          .residual = inputs.size() == 2 ? inputs[1] : ConstTensorView(),
                          .out = output};
  const auto sink_of = [&target](const float* scales) {
    target.source_scales = scales;
    return RowSink{.take =
                       [](const void* context, std::int64_t row, const std::int32_t* acc) {
                         static_cast<const RequantizeTarget*>(context)->take(row, acc);
                       },
                   .context = &target};
  };
  sum_products(model, layer, inputs[0], sink_of, scratch);
}

// Hands rows of `channels` sums to the target.
template <typename Target>
void finish_rows(const Target& target, std::int64_t channels, ConstTensorView acc_s32) {
  parallel_for(acc_s32.elements() / channels, 64, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      target.take(row, acc_s32.data<std::int32_t>() + row * channels);
    }
  });
}

void finish(const RequantizeTarget& target, ConstTensorView acc_s32) {
  const std::int64_t sums = target.row.negative_multiplier == nullptr ? 1 : 2;
  finish_rows(target, sums * target.row.channels, acc_s32);
}

void run_product(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
                 TensorView output, std::span<std::byte> scratch) {
  if (multiplies_codes(layer)) return run_integer(model, layer, inputs, output, scratch);
  float_product(product_geometry(layer, inputs[0].shape()), layer, inputs[0],
                inputs.size() == 2 ? inputs[1] : ConstTensorView(), output, scratch);
}

/// Of one mean a pixel.
std::size_t means_bytes(const Shape& source) {
  return aligned_bytes(static_cast<std::size_t>(source.elements() / source.c()) * sizeof(float));
}

void run_k_map(const Layer& layer, ConstTensorView source, TensorView output,
               std::span<std::byte> scratch) {
  Scratch memory(scratch, means_bytes(source.shape()));
  k_map(layer.window, source, output, memory.take<float>(source.elements() / source.shape().c()));
}

}  // namespace

ProductGeometry product_geometry(const Layer& layer, const Shape& source) {
  ProductGeometry g;
  g.n = source.n();
  g.o = layer.weight.shape().n();
  if (layer.op == LayerOp::kLinear) {
    g.c = layer.weight.shape().c();
    return g;
  }
  g.c = source.c();
  g.h = source.h();
  g.w = source.w();
  g.window = layer.window;
  g.oh = g.window.output_h(g.h);
  g.ow = g.window.output_w(g.w);
  return g;
}

void encode_input(ConstTensorView images, ConstTensorView table, TensorView out) {
  switch (table.dtype()) {
    case DType::kU8:
      return encode_typed<std::uint8_t>(images, table, out);
    case DType::kS8:
      return encode_typed<std::int8_t>(images, table, out);
    case DType::kBf16:
      return encode_typed<Bf16>(images, table, out);
    default:
      return encode_typed<float>(images, table, out);
  }
}

std::size_t scratch_bytes(const Model& model, const Layer& layer, std::int64_t batch) {
  const Shape source = source_info(model, layer).shape.with_batch(batch);
  if (layer.op == LayerOp::kKMap) return means_bytes(source);
  if (!is_product(layer)) return 0;
  const ProductGeometry g = product_geometry(layer, source);
  return multiplies_codes(layer) ? integer_bytes(layer, source) : float_product_bytes(g);
}

void accumulate(const Model& model, const Layer& layer, ConstTensorView source, TensorView acc_s32,
                std::span<std::byte> scratch) {
  struct Target {
    std::int32_t* acc;
    std::int64_t channels;
  };
  const Target target{.acc = acc_s32.data<std::int32_t>(),
                      .channels = layer.weight.shape().n() * (has_two_scales(layer) ? 2 : 1)};
  const RowSink sink{.take =
                         [](const void* context, std::int64_t row, const std::int32_t* acc) {
                           const Target* to = static_cast<const Target*>(context);
                           std::copy(acc, acc + to->channels, to->acc + row * to->channels);
                         },
                     .context = &target};
  sum_products(
      model, layer, source, [&](const float*) { return sink; }, scratch);
}

void finish_dynamic(const Model& model, const Layer& layer, ConstTensorView acc_s32,
                    std::span<const float> scales, ConstTensorView residual, TensorView out) {
  finish({.row = requantize_row_of(model, layer),
          .residual = residual,
          .out = out,
          .source_scales = scales.data()},
         acc_s32);
}

void requantize(const Model& model, const Layer& layer, ConstTensorView acc_s32,
                ConstTensorView residual, TensorView out) {
  if (layer.mode == ComputeMode::kFixedPoint) {
    const FixedPointTarget target = fixed_point_target(model, layer, residual, out);
    return finish_rows(target, target.channels, acc_s32);
  }
  finish({.row = requantize_row_of(model, layer), .residual = residual, .out = out}, acc_s32);
}

void run_layer(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
               TensorView output, std::span<std::byte> scratch) {
  switch (layer.op) {
    case LayerOp::kConv2d:
    case LayerOp::kLinear:
      return run_product(model, layer, inputs, output, scratch);
    case LayerOp::kMaxPool:
      return max_pool(layer, inputs[0], output);
    case LayerOp::kAvgPool:
      return avg_pool(layer.window, inputs[0], output, source_info(model, layer).format.zero_point);
    case LayerOp::kGlobalAvgPool:
      return avg_pool({.kernel_h = inputs[0].shape().h(), .kernel_w = inputs[0].shape().w()},
                      inputs[0], output, 0);
    case LayerOp::kAdd:
      if (layer.mode == ComputeMode::kFixedPoint) {
        return add_fixed_point(model, layer, inputs[0], inputs[1], output);
      }
      return add(model, layer, inputs[0], inputs[1], output);
    case LayerOp::kConcat:
      return concat(inputs, output);
    case LayerOp::kAffine:
      return affine(model, layer, inputs[0], output);
    case LayerOp::kPrelu:
      return prelu(layer, inputs[0], output);
    case LayerOp::kKMap:
      return run_k_map(layer, inputs[0], output, scratch);
    case LayerOp::kScaleMap:
      return scale_map(inputs[0], inputs[1], output);
  }
}

std::vector<std::int32_t> argmax_rows(ConstTensorView logits) {
  const std::int64_t classes = logits.shape().c();
  std::vector<std::int32_t> best(static_cast<std::size_t>(logits.shape().n()));
  for (std::size_t row = 0; row < best.size(); ++row) {
    const float* values = logits.data<float>() + static_cast<std::int64_t>(row) * classes;
    best[row] = static_cast<std::int32_t>(std::max_element(values, values + classes) - values);
  }
  return best;
}

}  // namespace bitloom::integer
