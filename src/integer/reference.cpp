#include "bitloom/integer/reference.h"

#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "elementwise.h"
#include "float_product.h"
#include "integer_product.h"
#include "requantize_row.h"

namespace bitloom::integer {
namespace {

bool is_product(const Layer& layer) {
  return layer.op == LayerOp::kConv2d || layer.op == LayerOp::kLinear;
}

const TensorInfo& source_info(const Model& model, const Layer& layer) {
  return model.tensors[static_cast<std::size_t>(layer.inputs[0])];
}

template <typename T>
void encode_typed(ConstTensorView images, ConstTensorView table, TensorView out) {
  const std::int64_t channels = images.shape().c();
  const std::uint8_t* pixels = images.data<std::uint8_t>();
  const T* codes = table.data<T>();
  T* to = out.data<T>();
  parallel_for(images.elements() / channels, 4096, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first * channels; i < last * channels; i += channels) {
      for (std::int64_t c = 0; c < channels; ++c) {
        to[i + c] = codes[c * 256 + pixels[i + c]];
      }
    }
  });
}

const std::byte* byte_row(ConstTensorView tensor, std::int64_t row, std::int64_t channels) {
  return static_cast<const std::byte*>(tensor.raw()) +
         static_cast<std::size_t>(row * channels) * size_of(tensor.dtype());
}

/// Requantizes rows of accumulators into a tensor.
struct RequantizeTarget {
  RequantizeRow row;
  ConstTensorView residual;
  TensorView out;

  void take(std::int64_t index, const std::int32_t* acc) const {
    const std::size_t at = static_cast<std::size_t>(index * row.channels);
    requantize_row(row, acc, row.has_residual ? byte_row(residual, index, row.channels) : nullptr,
                   static_cast<std::byte*>(out.raw()) + at * size_of(row.out_dtype));
  }
};

void run_static(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
                TensorView output, std::span<std::byte> scratch) {
  const RequantizeTarget target{.row = requantize_row_of(model, layer),
                                .residual = inputs.size() == 2 ? inputs[1] : ConstTensorView(),
                                .out = output};
  const RowSink sink{.take =
                         [](const void* context, std::int64_t row, const std::int32_t* acc) {
                           static_cast<const RequantizeTarget*>(context)->take(row, acc);
                         },
                     .context = &target};
  integer_product(product_geometry(layer, inputs[0].shape()), inputs[0],
                  source_info(model, layer).format.zero_point, layer.weight, sink, scratch);
}

void run_product(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
                 TensorView output, std::span<std::byte> scratch) {
  if (layer.mode == ComputeMode::kStatic) {
    return run_static(model, layer, inputs, output, scratch);
  }
  if (layer.mode == ComputeMode::kDynamic) {
    throw BackendError({.place = layer.name,
                        .expected = "mode float, weight-only or static",
                        .found = "dynamic",
                        .remedy = "export with another method"});
  }
  float_product(product_geometry(layer, inputs[0].shape()), layer, inputs[0],
                inputs.size() == 2 ? inputs[1] : ConstTensorView(), output, scratch);
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
  g.oh = (g.h + 2 * g.window.pad - g.window.kernel_h) / g.window.stride + 1;
  g.ow = (g.w + 2 * g.window.pad - g.window.kernel_w) / g.window.stride + 1;
  return g;
}

void encode_input(ConstTensorView images, ConstTensorView table, TensorView out) {
  switch (table.dtype()) {
    case DType::kU8:
      return encode_typed<std::uint8_t>(images, table, out);
    case DType::kS8:
      return encode_typed<std::int8_t>(images, table, out);
    default:
      return encode_typed<float>(images, table, out);
  }
}

std::size_t scratch_bytes(const Model& model, const Layer& layer, std::int64_t batch) {
  if (!is_product(layer)) return 0;
  const ProductGeometry g =
      product_geometry(layer, source_info(model, layer).shape.with_batch(batch));
  return layer.mode == ComputeMode::kStatic ? integer_product_bytes(g) : float_product_bytes(g);
}

void accumulate(const Model& model, const Layer& layer, ConstTensorView source, TensorView acc_s32,
                std::span<std::byte> scratch) {
  struct Target {
    std::int32_t* acc;
    std::int64_t channels;
  };
  const ProductGeometry g = product_geometry(layer, source.shape());
  const Target target{.acc = acc_s32.data<std::int32_t>(), .channels = g.o};
  const RowSink sink{.take =
                         [](const void* context, std::int64_t row, const std::int32_t* acc) {
                           const Target* to = static_cast<const Target*>(context);
                           std::copy(acc, acc + to->channels, to->acc + row * to->channels);
                         },
                     .context = &target};
  integer_product(g, source, source_info(model, layer).format.zero_point, layer.weight, sink,
                  scratch);
}

void requantize(const Model& model, const Layer& layer, ConstTensorView acc_s32,
                ConstTensorView residual, TensorView out) {
  const RequantizeTarget target{
      .row = requantize_row_of(model, layer), .residual = residual, .out = out};
  const std::int64_t channels = target.row.channels;
  parallel_for(acc_s32.elements() / channels, 64, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      target.take(row, acc_s32.data<std::int32_t>() + row * channels);
    }
  });
}

void run_layer(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
               TensorView output, std::span<std::byte> scratch) {
  switch (layer.op) {
    case LayerOp::kConv2d:
    case LayerOp::kLinear:
      return run_product(model, layer, inputs, output, scratch);
    case LayerOp::kMaxPool:
      return max_pool(layer.window, inputs[0], output);
    case LayerOp::kGlobalAvgPool:
      return global_avg_pool(inputs[0], output);
    case LayerOp::kAdd:
      return add(model, layer, inputs[0], inputs[1], output);
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
