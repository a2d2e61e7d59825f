// An exported model as plain data: what every backend runs and the reference gives its meaning.
// Comes from: deploy. Goes to: integer/reference.h, integer/model_archive.h, backends.
//
// One schema for all methods: each layer says float, weight-only, dynamic or static.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"
#include "bitloom/integer/tuned_plan.h"

namespace bitloom::integer {

/// How a layer computes. The words stand in files: "float", "weight-only", "dynamic", "static",
/// "fixed-point".
enum class ComputeMode : std::uint8_t { kFloat, kWeightOnly, kDynamic, kStatic, kFixedPoint };
std::string_view to_word(ComputeMode mode);
ComputeMode compute_mode_from_word(std::string_view word);  ///< @throws FormatError

/// The operations of an exported model: "conv2d", "linear", "max_pool", "avg_pool",
/// "global_avg_pool", "add", "concat", "affine", "prelu", "k_map", "scale_map". "add" and "affine"
/// stand alone only where they could not be fused into a convolution.
enum class LayerOp : std::uint8_t {
  kConv2d,
  kLinear,
  kMaxPool,
  kAvgPool,
  kGlobalAvgPool,
  kAdd,
  kConcat,
  kAffine,
  kPrelu,
  kKMap,
  kScaleMap
};
std::string_view to_word(LayerOp op);
LayerOp layer_op_from_word(std::string_view word);  ///< @throws FormatError

/// One tensor between layers. dtype kF32 carries reals (format and scale unused); kU8 and kS8
/// carry codes of `format` with one scale.
struct TensorInfo {
  std::string name;
  Shape shape;  ///< [1, C, H, W] or [1, C]; the batch is set when a session is made
  DType dtype = DType::kF32;
  AffineFormat format;
  float scale = 1.0F;
};

/// Sliding window of conv2d, max_pool and avg_pool: square steps; as much padding above as below,
/// and left as right.
struct Window {
  std::int64_t kernel_h = 1;
  std::int64_t kernel_w = 1;
  std::int64_t stride = 1;
  std::int64_t pad = 0;  ///< above and below; left and right too unless column_pad says otherwise
  std::int64_t groups = 1;
  std::int64_t column_pad = -1;  ///< left and right, of conv2d alone; -1: as much as `pad`
  bool count_pad = false;        ///< avg_pool alone: padding counts as pixels of real 0

  std::int64_t pad_h() const { return pad; }
  std::int64_t pad_w() const { return column_pad < 0 ? pad : column_pad; }
  std::int64_t output_h(std::int64_t height) const {
    return (height + 2 * pad_h() - kernel_h) / stride + 1;
  }
  std::int64_t output_w(std::int64_t width) const {
    return (width + 2 * pad_w() - kernel_w) / stride + 1;
  }
};

/// One layer. Inputs and output index Model::tensors.
///
/// conv2d, linear: inputs[0] is the source, inputs[1] (optional) a residual of the output's shape,
///   added before the clip.
///   static:  acc = sum (x - z_x) * w, then integer/requantize.h with multiplier, bias,
///            residual_ratio and code_range(); an f32 output takes clipped(t), after an f32
///            residual, if any, was added (t = t + r). Padding is real 0.
///   Two scales (negative_multiplier is there; ternary weights, one group): acc_p sums over the
///            weights +1, acc_n over the weights -1, and t = float(acc_p) * multiplier[o] -
///            float(acc_n) * negative_multiplier[o], three roundings, then + b as ever.
///   float:   weight f32, y = clipped(conv(x, weight) + bias (+ residual)); any order of sums.
///   weight-only: as float, with weight = multiplier[o] * code, rounded once to f32.
///   dynamic: the source is f32 and becomes codes of source_format, image by image; then sums as
///            static and y by integer/dynamic.h. Source, residual and output are f32.
///   fixed-point: integers alone, by integer/fixed_point.h: bias_s32 and the three shifts; source,
///            residual and output are codes on steps that are powers of two, without zero points.
///   linear reads its source flattened in memory order (H, W, C); weight is [O, I] in that order.
/// max_pool: padding never wins. Where `lowest` is there, channels with a 1 in it take the lowest
///   value: a batch norm of negative slope stood between the pool and what made its source.
/// avg_pool, global_avg_pool: codes round_half_even(sum / count) over the pixels inside the image,
///   same format and scale as the source; f32: sum / count. With window.count_pad over the whole
///   window: padding adds the code of real 0, the zero point, and count is its area.
/// add: codes t = fma(float(r - z_r), s_r/s_y, float(a - z_a) * (s_a/s_y)) + z_y, clip to
///   code_range(), round, with a = inputs[0], r = inputs[1]; f32: clipped(a + r). Mode fixed-point:
///   a << source_shift in the accumulator's place.
/// concat: the channels of two or more inputs one behind another; inputs and output have one type,
///   format and scale.
/// affine: a batch norm, a quantizer or both, standing alone: t = float(x - z) * multiplier[c];
///   t = t + bias[c]; then clip to code_range() and round, or the sign of a binary output; an f32
///   output takes clipped(t). An f32 source is x itself (z 0).
/// prelu: f32; v = x - shift[c]; y = (v > 0 ? v : multiplier[c] * v) + bias[c].
/// k_map: f32 [C, H, W] to [1, H', W'], XNOR-Net's K: m = mean over c of |x|, then the sum of m
///   over the taps of the window inside the image, row by row, divided by kernel_h * kernel_w. To
///   [1], for a linear layer: the mean of |x| over the whole source, flattened in memory order.
/// scale_map: f32; y[c, h, w] = inputs[0][c, h, w] * inputs[1][0, h, w].
struct Layer {
  std::string name;
  LayerOp op = LayerOp::kConv2d;
  ComputeMode mode = ComputeMode::kFloat;
  std::vector<int> inputs;
  int output = 0;
  Window window;
  Clip clip;  ///< activation function, in the output's reals; only of conv2d, linear and add

  Tensor weight;                     ///< s8 codes or f32; [O, I/groups, KH, KW] or [O, I]
  int weight_bits = 32;              ///< width of weight codes; 32 where mode is float
  Grid weight_grid = Grid::kAffine;  ///< binary: 1 bit, ternary: 2 bits; range [-1, 1]
  CodeRange weight_range;            ///< codes that may occur
  Tensor weight_scale;               ///< f32 [O], for readers: no layer computes with it
  Tensor multiplier;            ///< f32 [O], all but float; dynamic, weight-only: s_w[o] * slope[o]
  Tensor negative_multiplier;   ///< f32 [O] where positive and negative weights differ in scale
  Tensor bias;                  ///< f32 [O]
  Tensor shift;                 ///< f32 [C], prelu only
  Tensor lowest;                ///< u8 [C] of 0 and 1, max_pool only; empty: all take the largest
  float residual_ratio = 0.0F;  ///< s_r / s_y, static only
  Tensor bias_s32;              ///< s32 [O], products of mode fixed-point: on the sums' grid
  int source_shift = 0;         ///< fixed-point only: 0 .. 31
  int residual_shift = 0;       ///< fixed-point only: 0 .. 31
  int right_shift = 0;          ///< fixed-point only: -31 .. 31
  CodeRange clip_codes;         ///< fixed-point only: code_range(), so that no run computes it
  AffineFormat source_format;   ///< dynamic only: codes that the source becomes while it runs
};

/// Whole model. tensors[0] is the input; tensors.back() is the logits, f32 [1, classes].
struct Model {
  std::string network;        ///< "lenet5" or the file the graph came from
  std::string method;         ///< "float", "ptq-static", "ptq-dynamic", "ptq-weight-only", "qat"
  std::string profile;        ///< DeviceProfile name; "" where no layer multiplies integers
  std::string graph_text;     ///< layers/graph.h text form, with fake-quant nodes
  std::string config_text;    ///< resolved config, INI; its [data] section feeds `eval`
  std::string weights_label;  ///< "w8a8"
  Tensor input_table;         ///< [C, 256] of tensors[0].dtype: pixel -> real or code
  std::vector<TensorInfo> tensors;
  std::vector<Layer> layers;     ///< in execution order
  std::vector<TunedPlan> tuned;  ///< measured choices of kernels; each for one machine

  std::int64_t classes() const { return tensors.back().shape.c(); }
};

/// True for ternary weights with one scale for +1 and another for -1 (trained ternary
/// quantization).
inline bool has_two_scales(const Layer& layer) { return !layer.negative_multiplier.empty(); }

/// The real weight behind a code of output `o`, weight-only layers: one f32 rounding.
inline float real_weight(const Layer& layer, std::int64_t o, std::int32_t code) {
  const bool negative = code < 0 && has_two_scales(layer);
  return dequantize(code,
                    (negative ? layer.negative_multiplier : layer.multiplier).data<float>()[o], 0);
}

/// Weights of a layer with two scales as a product of twice the outputs: first the places of +1,
/// then those of -1, all as code 1. to s8 [2 * O, ...].
void split_codes(const Tensor& weight, std::int8_t* to);

/// Codes that a layer's clip leaves of its output's range; @pre the output is codes.
CodeRange code_range(const Layer& layer, const TensorInfo& output);

/// Checks every promise above: indices, order, shapes, types, ranges, scales > 0 and finite,
/// codes within range, and that no static or dynamic layer's worst case |acc| reaches 2^31.
/// @throws FormatError or NumericError that names the layer.
void validate(const Model& model);

}  // namespace bitloom::integer
