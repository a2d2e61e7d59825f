#include "float_product.h"

#include <algorithm>
#include <cstring>

#include "bitloom/core/parallel.h"
#include "requantize_row.h"
#include "scratch.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kRows = 16;   // output pixels per block
constexpr std::int64_t kTile = 4;    // output pixels per register tile
constexpr std::int64_t kPanel = 16;  // output channels per panel

/// Sixteen floats that the compiler keeps in registers; unaligned loads, any type beneath.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));

std::int64_t padded(std::int64_t count, std::int64_t step) {
  return (count + step - 1) / step * step;
}

/// out[r, 0..15] = sum over k of rows[r, k] * panel[k, 0..15], four rows at a time.
BITLOOM_SIMD_CLONES
void multiply_panel(const float* rows, std::int64_t tiles, const float* panel, std::int64_t depth,
                    float* out, std::int64_t out_stride) {
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const float* a = rows + tile * kTile * depth;
    Lanes sum0{}, sum1{}, sum2{}, sum3{};
    for (std::int64_t k = 0; k < depth; ++k) {
      const Lanes w = *reinterpret_cast<const Lanes*>(panel + k * kPanel);
      sum0 += a[k] * w;
      sum1 += a[depth + k] * w;
      sum2 += a[2 * depth + k] * w;
      sum3 += a[3 * depth + k] * w;
    }
    float* to = out + tile * kTile * out_stride;
    *reinterpret_cast<Lanes*>(to) = sum0;
    *reinterpret_cast<Lanes*>(to + out_stride) = sum1;
    *reinterpret_cast<Lanes*>(to + 2 * out_stride) = sum2;
    *reinterpret_cast<Lanes*>(to + 3 * out_stride) = sum3;
  }
}

/// y = sum + bias (+ residual).
BITLOOM_SIMD_CLONES
void finish_row(const float* sums, const float* bias, const float* residual, std::int64_t count,
                float* y) {
  if (residual != nullptr) {  // one pass: y may be the residual's memory
    for (std::int64_t i = 0; i < count; ++i) y[i] = sums[i] + bias[i] + residual[i];
  } else {
    for (std::int64_t i = 0; i < count; ++i) y[i] = sums[i] + bias[i];
  }
}

/// Sizes of what lies in scratch. Outputs of a group are padded to whole panels.
struct Layout {
  explicit Layout(const ProductGeometry& g)
      : depth(g.depth()),
        outputs(padded(g.group_outputs(), kPanel)),
        weight(g.window.groups * outputs * depth),
        rows(kRows * depth),
        sums(kRows * outputs) {}
  std::int64_t depth, outputs, weight, rows, sums;
};

/// One thread's part of the scratch.
struct Workspace {
  float* rows;
  float* sums;
};

float weight_value(const Layer& layer, std::int64_t o, std::int64_t index) {
  if (layer.weight.dtype() == DType::kF32) return layer.weight.data<float>()[index];
  return real_weight(layer, o, layer.weight.data<std::int8_t>()[index]);
}

/// [groups, outputs / 16, depth, 16] with zeros in the padding.
void spread_weights(const ProductGeometry& g, const Layout& layout, const Layer& layer,
                    float* out) {
  std::fill(out, out + layout.weight, 0.0F);
  for (std::int64_t o = 0; o < g.o; ++o) {
    const std::int64_t inside = o % g.group_outputs();
    float* panel = out + o / g.group_outputs() * layout.outputs * layout.depth +
                   inside / kPanel * kPanel * layout.depth + inside % kPanel;
    for (std::int64_t k = 0; k < layout.depth; ++k) {
      panel[k * kPanel] = weight_value(layer, o, o * layout.depth + k);
    }
  }
}

/// Where results go.
struct Destination {
  const float* bias;
  const float* residual;  ///< nullptr for none
  Clip clip;
  float* out;
};

void run_block(const ProductGeometry& g, const Layout& layout, const float* source,
               const float* weight, const Destination& to, std::int64_t begin, std::int64_t count,
               const Workspace& work) {
  const auto convert = [](const float* from, std::int64_t values, float* row) {
    if (values > 0) std::memcpy(row, from, static_cast<std::size_t>(values) * sizeof(float));
  };
  const std::int64_t tiles = (count + kTile - 1) / kTile;
  std::fill(work.rows + count * layout.depth, work.rows + tiles * kTile * layout.depth, 0.0F);
  for (std::int64_t group = 0; group < g.window.groups; ++group) {
    for (std::int64_t r = 0; r < count; ++r) {
      gather_row(g, source, begin + r, group, convert, work.rows + r * layout.depth);
    }
    const float* group_weight = weight + group * layout.outputs * layout.depth;
    for (std::int64_t o = 0; o < layout.outputs; o += kPanel) {
      multiply_panel(work.rows, tiles, group_weight + o * layout.depth, layout.depth, work.sums + o,
                     layout.outputs);
    }
    const std::int64_t first = group * g.group_outputs();
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t at = (begin + r) * g.o + first;
      finish_row(work.sums + r * layout.outputs, to.bias + first,
                 to.residual == nullptr ? nullptr : to.residual + at, g.group_outputs(),
                 to.out + at);
      clip_row(to.out + at, g.group_outputs(), to.clip);
    }
  }
}

}  // namespace

std::size_t float_product_bytes(const ProductGeometry& g) {
  const Layout layout(g);
  const auto bytes = [](std::int64_t count) {
    return aligned_bytes(static_cast<std::size_t>(count) * sizeof(float));
  };
  const std::size_t count = static_cast<std::size_t>(threads());
  return bytes(layout.weight) + aligned_bytes(count * sizeof(Workspace)) +
         count * (bytes(layout.rows) + bytes(layout.sums));
}

void float_product(const ProductGeometry& g, const Layer& layer, ConstTensorView source,
                   ConstTensorView residual, TensorView out, std::span<std::byte> scratch) {
  const Layout layout(g);
  Scratch memory(scratch, float_product_bytes(g));
  float* weight = memory.take<float>(layout.weight);
  Workspace* work = memory.take<Workspace>(threads());
  for (int i = 0; i < threads(); ++i) {
    work[i].rows = memory.take<float>(layout.rows);
    work[i].sums = memory.take<float>(layout.sums);
  }
  spread_weights(g, layout, layer, weight);
  const Destination to{.bias = layer.bias.data<float>(),
                       .residual = residual.empty() ? nullptr : residual.data<float>(),
                       .clip = layer.clip,
                       .out = out.data<float>()};
  parallel_for(g.rows(), kRows, [&](std::int64_t first, std::int64_t last, int piece) {
    for (std::int64_t begin = first; begin < last; begin += kRows) {
      run_block(g, layout, source.data<float>(), weight, to, begin, std::min(kRows, last - begin),
                work[piece]);
    }
  });
}

}  // namespace bitloom::integer
