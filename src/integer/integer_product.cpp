#include "integer_product.h"

#include <algorithm>

#include "bitloom/core/parallel.h"
#include "scratch.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kRows = 16;    // output pixels per block: rows and a panel stay in L1
constexpr std::int64_t kPanel = 4;    // output channels per panel
constexpr std::int64_t kVector = 32;  // s16 values of the widest register; rows are padded to it

std::int64_t padded(std::int64_t count, std::int64_t step) {
  return (count + step - 1) / step * step;
}

BITLOOM_SIMD_CLONES
void subtract_u8(const std::uint8_t* from, std::int64_t count, std::int32_t zero_point,
                 std::int16_t* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<std::int16_t>(from[i] - zero_point);
}

BITLOOM_SIMD_CLONES
void subtract_s8(const std::int8_t* from, std::int64_t count, std::int32_t zero_point,
                 std::int16_t* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<std::int16_t>(from[i] - zero_point);
}

/// out[r * out_stride + j] = dot(row r, weight row j) for two rows and four channels at a time, of
/// which `channels` are stored. |x - z| <= 255 and |w| <= 128, so a pair of products fits 32 bits.
BITLOOM_SIMD_CLONES
void multiply_panel(const std::int16_t* rows, std::int64_t row_pairs, const std::int16_t* panel,
                    std::int64_t vectors, std::int32_t* out, std::int64_t out_stride,
                    std::int64_t channels) {
  const std::int64_t depth = vectors * kVector;
  const std::int16_t* w0 = panel;
  const std::int16_t* w1 = panel + depth;
  const std::int16_t* w2 = panel + 2 * depth;
  const std::int16_t* w3 = panel + 3 * depth;
  for (std::int64_t pair = 0; pair < row_pairs; ++pair) {
    const std::int16_t* a = rows + 2 * pair * depth;
    const std::int16_t* b = a + depth;
    std::int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      a0 += a[k] * w0[k];
      a1 += a[k] * w1[k];
      a2 += a[k] * w2[k];
      a3 += a[k] * w3[k];
      b0 += b[k] * w0[k];
      b1 += b[k] * w1[k];
      b2 += b[k] * w2[k];
      b3 += b[k] * w3[k];
    }
    const std::int32_t sums[2][kPanel] = {{a0, a1, a2, a3}, {b0, b1, b2, b3}};
    for (std::int64_t r = 0; r < 2; ++r) {
      for (std::int64_t j = 0; j < channels; ++j) out[(2 * pair + r) * out_stride + j] = sums[r][j];
    }
  }
}

BITLOOM_SIMD_CLONES
void add_products(const std::int16_t* x, const std::int16_t* w, std::int64_t count,
                  std::int32_t* acc) {
  for (std::int64_t i = 0; i < count; ++i) acc[i] += x[i] * w[i];
}

struct SubtractZero {
  std::int32_t zero_point;
  void operator()(const std::uint8_t* from, std::int64_t count, std::int16_t* to) const {
    subtract_u8(from, count, zero_point, to);
  }
  void operator()(const std::int8_t* from, std::int64_t count, std::int16_t* to) const {
    subtract_s8(from, count, zero_point, to);
  }
};

/// Sizes of what lies in scratch.
struct Layout {
  explicit Layout(const ProductGeometry& g)
      : depth(padded(g.depth(), kVector)),
        panels(padded(g.group_outputs(), kPanel)),
        weight(g.is_depthwise() ? g.depth() * g.c : g.window.groups * panels * depth),
        rows(g.is_depthwise() ? g.depth() * g.c : kRows * depth),
        acc(g.is_depthwise() ? g.o : kRows * g.o) {}
  std::int64_t depth;   ///< products per output, padded
  std::int64_t panels;  ///< outputs per group, padded
  std::int64_t weight;  ///< s16 values of all weights
  std::int64_t rows;    ///< s16 values of one thread's rows
  std::int64_t acc;     ///< s32 values of one thread's sums
};

/// One thread's part of the scratch.
struct Workspace {
  std::int16_t* rows;
  std::int32_t* acc;
};

/// [groups, panels, depth] with zeros behind each row.
void spread_weights(const ProductGeometry& g, const Layout& layout, const std::int8_t* weight,
                    std::int16_t* out) {
  const std::int64_t depth = g.depth();
  std::fill(out, out + layout.weight, std::int16_t{0});
  for (std::int64_t o = 0; o < g.o; ++o) {
    const std::int64_t group = o / g.group_outputs();
    const std::int64_t row = group * layout.panels + o % g.group_outputs();
    subtract_s8(weight + o * depth, depth, 0, out + row * layout.depth);
  }
}

/// [KH * KW, C].
void transpose_depthwise(const ProductGeometry& g, const std::int8_t* weight, std::int16_t* out) {
  const std::int64_t depth = g.depth();
  for (std::int64_t k = 0; k < depth; ++k) {
    for (std::int64_t c = 0; c < g.c; ++c) out[k * g.c + c] = weight[c * depth + k];
  }
}

template <typename T>
void run_blocks(const ProductGeometry& g, const Layout& layout, const T* source,
                const SubtractZero& subtract, const std::int16_t* weight, const RowSink& sink,
                std::int64_t first, std::int64_t last, const Workspace& work) {
  for (std::int64_t begin = first; begin < last; begin += kRows) {
    const std::int64_t count = std::min(kRows, last - begin);
    // An odd count computes one row too many, of which nobody reads the sums.
    if (count % 2 != 0)
      std::fill_n(work.rows + count * layout.depth, layout.depth, std::int16_t{0});
    for (std::int64_t group = 0; group < g.window.groups; ++group) {
      for (std::int64_t r = 0; r < count; ++r) {
        std::int16_t* row = work.rows + r * layout.depth;
        gather_row(g, source, begin + r, group, subtract, row);
        std::fill(row + g.depth(), row + layout.depth, std::int16_t{0});
      }
      for (std::int64_t o = 0; o < g.group_outputs(); o += kPanel) {
        multiply_panel(work.rows, (count + 1) / 2,
                       weight + (group * layout.panels + o) * layout.depth, layout.depth / kVector,
                       work.acc + group * g.group_outputs() + o, g.o,
                       std::min(kPanel, g.group_outputs() - o));
      }
    }
    for (std::int64_t r = 0; r < count; ++r) sink.take(sink.context, begin + r, work.acc + r * g.o);
  }
}

template <typename T>
void run_depthwise(const ProductGeometry& g, const T* source, const SubtractZero& subtract,
                   const std::int16_t* weight, const RowSink& sink, std::int64_t first,
                   std::int64_t last, const Workspace& work) {
  const ProductGeometry dense = [&] {
    ProductGeometry copy = g;  // all channels of a window in one run: [KH, KW, C]
    copy.window.groups = 1;
    return copy;
  }();
  for (std::int64_t row = first; row < last; ++row) {
    gather_row(dense, source, row, 0, subtract, work.rows);
    std::fill(work.acc, work.acc + g.c, 0);
    for (std::int64_t k = 0; k < g.depth(); ++k) {
      add_products(work.rows + k * g.c, weight + k * g.c, g.c, work.acc);
    }
    sink.take(sink.context, row, work.acc);
  }
}

template <typename T>
void run_product(const ProductGeometry& g, const Layout& layout, const T* source,
                 const SubtractZero& subtract, const std::int16_t* weight, const RowSink& sink,
                 Workspace* work) {
  parallel_for(g.rows(), kRows, [&](std::int64_t first, std::int64_t last, int piece) {
    if (g.is_depthwise()) {
      run_depthwise(g, source, subtract, weight, sink, first, last, work[piece]);
    } else {
      run_blocks(g, layout, source, subtract, weight, sink, first, last, work[piece]);
    }
  });
}

}  // namespace

std::size_t integer_product_bytes(const ProductGeometry& g) {
  const Layout layout(g);
  const std::size_t per_thread =
      aligned_bytes(static_cast<std::size_t>(layout.rows + layout.depth) * sizeof(std::int16_t)) +
      aligned_bytes(static_cast<std::size_t>(layout.acc + g.o) * sizeof(std::int32_t));
  const std::size_t count = static_cast<std::size_t>(threads());
  return aligned_bytes(static_cast<std::size_t>(layout.weight) * sizeof(std::int16_t)) +
         aligned_bytes(count * sizeof(Workspace)) + count * per_thread;
}

void integer_product(const ProductGeometry& g, ConstTensorView source, std::int32_t zero_point,
                     ConstTensorView weight, const RowSink& sink, std::span<std::byte> scratch) {
  const Layout layout(g);
  Scratch memory(scratch, integer_product_bytes(g));
  std::int16_t* spread = memory.take<std::int16_t>(layout.weight);
  Workspace* work = memory.take<Workspace>(threads());
  for (int i = 0; i < threads(); ++i) {
    // One row more than a block, for the odd count.
    work[i].rows = memory.take<std::int16_t>(layout.rows + layout.depth);
    work[i].acc = memory.take<std::int32_t>(layout.acc + g.o);
  }
  if (g.is_depthwise()) {
    transpose_depthwise(g, weight.data<std::int8_t>(), spread);
  } else {
    spread_weights(g, layout, weight.data<std::int8_t>(), spread);
  }
  const SubtractZero subtract{zero_point};
  if (source.dtype() == DType::kU8) {
    run_product(g, layout, source.data<std::uint8_t>(), subtract, spread, sink, work);
  } else {
    run_product(g, layout, source.data<std::int8_t>(), subtract, spread, sink, work);
  }
}

}  // namespace bitloom::integer
