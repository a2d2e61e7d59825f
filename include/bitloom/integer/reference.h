// The reference executor: plain, threaded C++ that gives an exported model its meaning.
// Integer sums may run in any order; everything after the accumulator follows requantize.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// tensors[0] from pixels: out[n, c, h, w] = table[c, pixel]. Shared by all backends.
/// Shapes: images u8 [N, C, H, W]; table [C, 256]; out [N, C, H, W] of the table's type.
void encode_input(ConstTensorView images, ConstTensorView table, TensorView out);

/// Bytes of scratch that run_layer and accumulate use for this layer, batch and thread count.
std::size_t scratch_bytes(const Model& model, const Layer& layer, std::int64_t batch);

/// Accumulators of a static or dynamic conv2d or linear: acc[n, o, y, x] = sum (x - z_x) * w, s32.
/// Layers with two scales have 2 * O of them: over the weights +1, then over the weights -1.
/// `source` is what the layer reads: codes, or reals that a dynamic layer quantizes first.
/// With at least scratch_bytes() of 64-byte aligned scratch it allocates nothing; with less it
/// brings its own.
void accumulate(const Model& model, const Layer& layer, ConstTensorView source, TensorView acc_s32,
                std::span<std::byte> scratch = {});

/// requantize.h over a whole tensor of a static layer: acc s32 [N, O, H, W] (two scales:
/// [N, 2 * O, H, W]) to its output's type.
/// `residual` is empty where the layer has none. Shared by backends whose kernels stop at s32.
void requantize(const Model& model, const Layer& layer, ConstTensorView acc_s32,
                ConstTensorView residual, TensorView out);

/// Runs one layer. `inputs` follow layer.inputs; scratch as for accumulate. The output may be the
/// memory of an added input (the residual, or either input of an add), of no other.
/// @throws NumericError if a dynamic layer's source is not finite.
void run_layer(const Model& model, const Layer& layer, std::span<const ConstTensorView> inputs,
               TensorView output, std::span<std::byte> scratch = {});

/// Index of the largest logit of each row; ties take the lowest index.
std::vector<std::int32_t> argmax_rows(ConstTensorView logits);

}  // namespace bitloom::integer
