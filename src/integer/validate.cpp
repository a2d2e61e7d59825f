// Every promise of model.h, checked before a backend trusts a model.
#include <cmath>
#include <cstdlib>
#include <limits>
#include <span>

#include "bitloom/core/error.h"
#include "bitloom/integer/fixed_point.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {
namespace {

// One image of more values than this comes from a damaged file.
constexpr std::int64_t kMostElements = std::int64_t{1} << 30;
constexpr std::size_t kMostInputs = 1000;  // of a concat

template <typename... Args>
void require(bool holds, const std::string& place, const Args&... expected) {
  if (!holds) throw FormatError(cat(place, ": expected ", expected...));
}

void require_finite(ConstTensorView values, const std::string& place) {
  for (const float value : values.span<float>()) {
    if (!std::isfinite(value)) {
      throw NumericError({.place = place,
                          .expected = "finite numbers",
                          .found = std::to_string(value),
                          .remedy = "the checkpoint it was exported from is damaged or diverged"});
    }
  }
}

void require_positive(float scale, const std::string& place) {
  if (std::isfinite(scale) && scale > 0.0F) return;
  throw NumericError({.place = place,
                      .expected = "a positive finite scale",
                      .found = cat(scale),
                      .remedy = "the checkpoint it was exported from is damaged or diverged"});
}

template <typename T>
void require_codes(std::span<const T> codes, CodeRange range, const std::string& place) {
  for (const T code : codes) {
    require(code >= range.qmin && code <= range.qmax, place, "codes in [", range.qmin, ", ",
            range.qmax, "], found ", int{code});
  }
}

/// Code 0 does not exist on a binary grid.
void require_no_zero(std::span<const std::int8_t> codes, Grid grid, const std::string& place) {
  if (grid != Grid::kBinary) return;
  for (const std::int8_t code : codes) require(code != 0, place, "codes -1 and +1, found 0");
}

/// Binary and ternary grids have one format each.
void check_format(const AffineFormat& format, const std::string& place) {
  if (format.grid != Grid::kAffine) {
    require(format == (format.grid == Grid::kBinary ? kBinaryFormat : kTernaryFormat), place,
            "the one format of ", to_word(format.grid),
            " codes: ", format.grid == Grid::kBinary ? 1 : 2, " bits, s8, [-1, 1], zero point 0");
    return;
  }
  require(format.bits >= 2 && format.bits <= 8, place, "2 to 8 bits, found ", format.bits);
  const CodeRange widest = activation_range(format.bits, format.is_signed);
  const CodeRange range = format.range;
  require(range.qmin >= widest.qmin && range.qmax <= widest.qmax && range.qmin < range.qmax, place,
          "codes within [", widest.qmin, ", ", widest.qmax, "], found [", range.qmin, ", ",
          range.qmax, "]");
  require(format.zero_point >= range.qmin && format.zero_point <= range.qmax, place,
          "a zero point in [", range.qmin, ", ", range.qmax, "], found ", format.zero_point);
}

void check_tensor(const TensorInfo& info) {
  const std::string place = "tensor " + info.name;
  const Shape& shape = info.shape;
  require(shape.rank() == 2 || shape.rank() == 4, place, "[1, C] or [1, C, H, W], found ",
          to_string(shape));
  require(shape.n() == 1 && shape.elements() > 0 && shape.elements() <= kMostElements, place,
          "a batch of 1 and 1 to 2^30 elements, found ", to_string(shape));
  if (info.dtype == DType::kF32) return;

  require(info.dtype == DType::kU8 || info.dtype == DType::kS8, place, "type f32, u8 or s8, found ",
          to_word(info.dtype));
  const AffineFormat& format = info.format;
  require(format.is_signed == (info.dtype == DType::kS8), place,
          "signed codes in s8, others in u8");
  check_format(format, place);
  require_positive(info.scale, place + " scale");
}

void check_input(const Model& model) {
  const TensorInfo& input = model.tensors.front();
  const Tensor& table = model.input_table;
  require(!table.empty() && table.shape() == Shape{input.shape.c(), 256} &&
              table.dtype() == input.dtype,
          "input table", to_word(input.dtype), " [", input.shape.c(), ", 256], found ",
          to_word(table.dtype()), " ", to_string(table.shape()));
  if (input.dtype == DType::kF32) require_finite(table, "input table");
  if (input.dtype == DType::kU8) {
    require_codes(table.span<std::uint8_t>(), input.format.range, "input table");
  }
  if (input.dtype == DType::kS8) {
    require_codes(table.span<std::int8_t>(), input.format.range, "input table");
    require_no_zero(table.span<std::int8_t>(), input.format.grid, "input table");
  }
}

/// Checks of one layer; `place` starts every message.
class LayerCheck {
 public:
  LayerCheck(const Model& model, const Layer& layer)
      : model_(model), layer_(layer), place_("layer " + layer.name) {}

  void run() const {
    const bool product = layer_.op == LayerOp::kConv2d || layer_.op == LayerOp::kLinear;
    require(product || layer_.mode == ComputeMode::kStatic || layer_.mode == ComputeMode::kFloat ||
                is_fixed_add(),
            place_, "mode float or static, found ", to_word(layer_.mode), " without weights");
    check_clip();
    switch (layer_.op) {
      case LayerOp::kConv2d:
      case LayerOp::kLinear:
        return check_product();
      case LayerOp::kMaxPool:
      case LayerOp::kAvgPool:
      case LayerOp::kGlobalAvgPool:
        return check_pool();
      case LayerOp::kAdd:
        return check_add();
      case LayerOp::kConcat:
        return check_concat();
      case LayerOp::kAffine:
        return check_affine();
      case LayerOp::kPrelu:
        return check_prelu();
      case LayerOp::kKMap:
        return check_k_map();
      case LayerOp::kScaleMap:
        return check_scale_map();
    }
  }

 private:
  const TensorInfo& input(std::size_t i) const {
    return model_.tensors[static_cast<std::size_t>(layer_.inputs[i])];
  }
  const TensorInfo& output() const {
    return model_.tensors[static_cast<std::size_t>(layer_.output)];
  }

  bool is_fixed_add() const {
    return layer_.op == LayerOp::kAdd && layer_.mode == ComputeMode::kFixedPoint;
  }

  void require_inputs(std::size_t least, std::size_t most) const {
    require(layer_.inputs.size() >= least && layer_.inputs.size() <= most, place_, least, " to ",
            most, " inputs, found ", layer_.inputs.size());
  }

  void require_output(const Shape& shape) const {
    require(output().shape == shape, place_, "output ", to_string(shape), ", found ",
            to_string(output().shape));
  }

  /// Output side of a window over `extent`; at least one.
  std::int64_t window_side(std::int64_t extent, std::int64_t kernel, std::int64_t pad) const {
    const Window& window = layer_.window;
    require(kernel >= 1 && window.stride >= 1 && pad >= 0 && pad < (1 << 20) &&
                extent + 2 * pad >= kernel,
            place_, "a window that fits the source: side ", extent, ", kernel ", kernel,
            ", stride ", window.stride, ", pad ", pad);
    return (extent + 2 * pad - kernel) / window.stride + 1;
  }

  /// [1, channels, H', W'] of the window over `source`. Columns have a padding of their own in
  /// conv2d alone, and padding counts in avg_pool alone.
  Shape window_output(std::int64_t channels, const Shape& source) const {
    const Window& window = layer_.window;
    require(window.column_pad == -1 || layer_.op == LayerOp::kConv2d, place_,
            "as much padding left as above, found ", window.column_pad, " and ", window.pad);
    require(!window.count_pad || layer_.op == LayerOp::kAvgPool, place_,
            "padding that does not count");
    return {1, channels, window_side(source.h(), window.kernel_h, window.pad_h()),
            window_side(source.w(), window.kernel_w, window.pad_w())};
  }

  void check_vector(const Tensor& values, std::int64_t outputs, const char* name) const {
    require(!values.empty() && values.dtype() == DType::kF32 && values.shape() == Shape{outputs},
            place_, name, " f32 [", outputs, "], found ",
            values.empty() ? "nothing" : to_string(values.shape()));
    require_finite(values, cat(place_, " ", name));
  }

  void check_weight_scale(std::int64_t outputs) const {
    check_vector(layer_.weight_scale, outputs, "weight scale");
    for (const float scale : layer_.weight_scale.span<float>()) {
      require_positive(scale, place_ + " weight scale");
    }
  }

  /// Codes, what they are multiplied with, and their scales where the model keeps those.
  void check_coded_weights(std::int64_t outputs) const {
    check_weight_codes();
    check_vector(layer_.multiplier, outputs, "multiplier");
    if (!layer_.weight_scale.empty()) check_weight_scale(outputs);
    if (!has_two_scales(layer_)) return;
    check_vector(layer_.negative_multiplier, outputs, "negative multiplier");
    require(layer_.weight_grid == Grid::kTernary && layer_.window.groups == 1, place_,
            "two scales only of ternary weights in one group");
  }

  void check_weight_codes() const {
    require(layer_.weight.dtype() == DType::kS8, place_, "weight codes of type s8, found ",
            to_word(layer_.weight.dtype()));
    const int bits = layer_.weight_bits;
    if (layer_.weight_grid != Grid::kAffine) {
      check_format({.bits = bits,
                    .is_signed = true,
                    .range = layer_.weight_range,
                    .grid = layer_.weight_grid},
                   place_ + " weight");
      require_codes(layer_.weight.span<std::int8_t>(), layer_.weight_range, place_ + " weight");
      require_no_zero(layer_.weight.span<std::int8_t>(), layer_.weight_grid, place_ + " weight");
      return;
    }
    require(bits >= 2 && bits <= 8, place_, "weights of 2 to 8 bits, found ", bits);
    const CodeRange range = layer_.weight_range;
    const std::int32_t half = 1 << (bits - 1);
    require(range.qmin >= -half && range.qmax < half && range.qmin < range.qmax, place_,
            "a weight range of ", bits, " bits, found [", range.qmin, ", ", range.qmax, "]");
    require_codes(layer_.weight.span<std::int8_t>(), range, place_ + " weight");
  }

  void check_product() const {
    require_inputs(1, 2);
    check_product_shapes();
    const std::int64_t outputs = layer_.weight.shape().n();
    const bool fixed = layer_.mode == ComputeMode::kFixedPoint;
    if (!fixed) check_vector(layer_.bias, outputs, "bias");
    if (layer_.inputs.size() == 2) {
      require(input(1).shape == output().shape, place_, "a residual of shape ",
              to_string(output().shape), ", found ", to_string(input(1).shape));
    }
    switch (layer_.mode) {
      case ComputeMode::kStatic:
        return check_static(outputs);
      case ComputeMode::kWeightOnly:
        check_coded_weights(outputs);
        return require_reals();
      case ComputeMode::kFloat:
        require(layer_.weight.dtype() == DType::kF32, place_, "weights of type f32, found ",
                to_word(layer_.weight.dtype()));
        require_finite(layer_.weight, place_ + " weight");
        return require_reals();
      case ComputeMode::kDynamic:
        return check_dynamic(outputs);
      case ComputeMode::kFixedPoint:
        check_weight_codes();
        check_weight_scale(outputs);
        return validate_fixed_point(model_, layer_);
    }
  }

  void check_product_shapes() const {
    const Shape& source = input(0).shape;
    const Shape& weight = layer_.weight.shape();
    require(!layer_.weight.empty() && layer_.weight.elements() > 0, place_, "weights");
    if (layer_.op == LayerOp::kLinear) {
      require(weight.rank() == 2 && weight.c() == source.elements(), place_, "weight [O, ",
              source.elements(), "], found ", to_string(weight));
      return require_output({1, weight.n()});
    }
    const Window& window = layer_.window;
    require(source.rank() == 4, place_, "a source [1, C, H, W], found ", to_string(source));
    require(
        window.groups >= 1 && source.c() % window.groups == 0 && weight.n() % window.groups == 0,
        place_, "groups that divide ", source.c(), " inputs and ", weight.n(), " outputs, found ",
        window.groups);
    const Shape wanted{weight.n(), source.c() / window.groups, window.kernel_h, window.kernel_w};
    require(weight == wanted, place_, "weight ", to_string(wanted), ", found ", to_string(weight));
    require_output(window_output(weight.n(), source));
  }

  void check_static(std::int64_t outputs) const {
    check_coded_weights(outputs);
    require(input(0).dtype != DType::kF32, place_, "a source of codes, found f32");
    if (layer_.inputs.size() == 2) {
      require(input(1).dtype != DType::kF32 || output().dtype == DType::kF32, place_,
              "a residual of codes in front of codes, found f32");
      require_positive(layer_.residual_ratio, place_ + " residual ratio");
    }
    check_worst_accumulator(input(0).format);
  }

  void check_dynamic(std::int64_t outputs) const {
    check_coded_weights(outputs);
    check_format(layer_.source_format, place_ + " source");
    require(layer_.source_format.zero_point < layer_.source_format.range.qmax, place_,
            "source codes above the zero point, found none");
    check_worst_accumulator(layer_.source_format);
    require_reals();
  }

  /// max over o of sum |w[o]| * max |x - z| must stay below 2^31.
  void check_worst_accumulator(const AffineFormat& format) const {
    const std::int64_t reach =
        std::max(format.range.qmax - format.zero_point, format.zero_point - format.range.qmin);
    const std::span<const std::int8_t> weight = layer_.weight.span<std::int8_t>();
    const std::size_t outputs = static_cast<std::size_t>(layer_.weight.shape().n());
    const std::size_t row = weight.size() / outputs;
    for (std::size_t o = 0; o < outputs; ++o) {
      std::int64_t sum = 0;
      for (const std::int8_t code : weight.subspan(o * row, row)) sum += std::abs(int{code});
      require(sum * reach <= std::numeric_limits<std::int32_t>::max(), place_,
              "sums that fit 32 bits, found a worst case of ", sum * reach, " in channel ", o,
              "; use fewer weight or activation bits");
    }
  }

  void require_reals() const {
    for (std::size_t i = 0; i < layer_.inputs.size(); ++i) {
      require(input(i).dtype == DType::kF32, place_, "f32 inputs, found ", to_word(input(i).dtype));
    }
    require(output().dtype == DType::kF32, place_, "an f32 output, found ",
            to_word(output().dtype));
  }

  /// Codes that are moved, selected or averaged keep their grid.
  void require_one_grid(const TensorInfo& source) const {
    require(source.dtype == output().dtype &&
                (source.dtype == DType::kF32 ||
                 (source.format == output().format && source.scale == output().scale)),
            place_, "one format and scale for its inputs and its output");
  }

  void check_clip() const {
    const bool clips = layer_.op == LayerOp::kConv2d || layer_.op == LayerOp::kLinear ||
                       layer_.op == LayerOp::kAdd || layer_.op == LayerOp::kAffine;
    const Clip& clip = layer_.clip;
    require(clips || clip == Clip(), place_, "no clip in ", to_word(layer_.op));
    require(clip.low < clip.high, place_, "a clip from below to above, found [", clip.low, ", ",
            clip.high, "]");
  }

  void check_concat() const {
    require_inputs(2, kMostInputs);
    std::int64_t channels = 0;
    for (std::size_t i = 0; i < layer_.inputs.size(); ++i) {
      const Shape& shape = input(i).shape;
      require(shape.rank() == 4 && output().shape.rank() == 4 && shape.h() == output().shape.h() &&
                  shape.w() == output().shape.w(),
              place_, "inputs of the output's height and width ", to_string(output().shape),
              ", found ", to_string(shape));
      require_one_grid(input(i));
      channels += shape.c();
    }
    require_output({1, channels, output().shape.h(), output().shape.w()});
  }

  void check_pool() const {
    require_inputs(1, 1);
    const TensorInfo& source = input(0);
    require_one_grid(source);
    require(layer_.op == LayerOp::kMaxPool || source.dtype == DType::kF32 ||
                source.format.grid == Grid::kAffine,
            place_, "reals or codes of an affine grid to average, found ",
            to_word(source.format.grid));
    check_lowest(source.shape.c());
    require(source.shape.rank() == 4, place_, "a source [1, C, H, W], found ",
            to_string(source.shape));
    if (layer_.op == LayerOp::kGlobalAvgPool) {
      const Shape flat{1, source.shape.c()};
      const Shape map{1, source.shape.c(), 1, 1};
      require(output().shape == flat || output().shape == map, place_, "output ", to_string(flat),
              ", found ", to_string(output().shape));
      return;
    }
    const Window& window = layer_.window;
    require(window.pad < window.kernel_h && window.pad < window.kernel_w, place_,
            "a pad below the kernel, found ", window.pad);
    require_output(window_output(source.shape.c(), source.shape));
  }

  void check_lowest(std::int64_t channels) const {
    if (layer_.lowest.empty()) return;
    require(layer_.op == LayerOp::kMaxPool && layer_.lowest.dtype() == DType::kU8 &&
                layer_.lowest.shape() == Shape{channels},
            place_, "which channels take the lowest as u8 [", channels, "] of a max_pool");
    require_codes(layer_.lowest.span<std::uint8_t>(), {0, 1}, place_ + " lowest");
  }

  void check_affine() const {
    require_inputs(1, 1);
    require_output(input(0).shape);
    const std::int64_t channels = input(0).shape.c();
    check_vector(layer_.multiplier, channels, "multiplier");
    check_vector(layer_.bias, channels, "bias");
    require((layer_.mode == ComputeMode::kFloat) == (output().dtype == DType::kF32), place_,
            "mode float for an f32 output, static for codes, found ", to_word(layer_.mode));
  }

  void check_prelu() const {
    require_inputs(1, 1);
    require_reals();
    require_output(input(0).shape);
    const std::int64_t channels = input(0).shape.c();
    check_vector(layer_.multiplier, channels, "slope");
    if (!layer_.bias.empty()) check_vector(layer_.bias, channels, "offset");
    if (!layer_.shift.empty()) check_vector(layer_.shift, channels, "shift");
  }

  void check_k_map() const {
    require_inputs(1, 1);
    require_reals();
    const Shape& source = input(0).shape;
    if (source.rank() != 4 || output().shape.rank() != 4) return require_output({1, 1});
    require_output(window_output(1, source));
  }

  void check_scale_map() const {
    require_inputs(2, 2);
    require_reals();
    const Shape& y = input(0).shape;
    require_output(y);
    const Shape map = y.rank() == 4 ? Shape{1, 1, y.h(), y.w()} : Shape{1, 1};
    require(input(1).shape == map, place_, "a map ", to_string(map), ", found ",
            to_string(input(1).shape));
  }

  void check_add() const {
    require_inputs(2, 2);
    for (std::size_t i = 0; i < 2; ++i) {
      require(input(i).shape == output().shape, place_, "two inputs ", to_string(output().shape),
              ", found ", to_string(input(i).shape));
      require((input(i).dtype == DType::kF32) == (output().dtype == DType::kF32), place_,
              "codes everywhere or f32 everywhere");
    }
    if (layer_.mode == ComputeMode::kFixedPoint) validate_fixed_point(model_, layer_);
  }

  const Model& model_;
  const Layer& layer_;
  std::string place_;
};

/// Each tensor but the first is made by exactly one layer, before it is read.
void check_order(const Model& model) {
  std::vector<bool> ready(model.tensors.size(), false);
  ready[0] = true;
  const auto known = [&](int index) {
    return index >= 0 && static_cast<std::size_t>(index) < model.tensors.size();
  };
  for (const Layer& layer : model.layers) {
    const std::string place = "layer " + layer.name;
    for (const int input : layer.inputs) {
      require(known(input) && ready[static_cast<std::size_t>(input)], place,
              "inputs that earlier layers make, found tensor ", input);
    }
    require(known(layer.output) && !ready[static_cast<std::size_t>(layer.output)], place,
            "an output of its own, found tensor ", layer.output);
    ready[static_cast<std::size_t>(layer.output)] = true;
  }
  for (std::size_t i = 0; i < ready.size(); ++i) {
    require(ready[i], "tensor " + model.tensors[i].name, "a layer that makes it");
  }
}

}  // namespace

void validate(const Model& model) {
  require(!model.tensors.empty() && !model.layers.empty(), "model", "tensors and layers");
  for (const TensorInfo& info : model.tensors) check_tensor(info);
  check_input(model);
  const TensorInfo& logits = model.tensors.back();
  require(logits.dtype == DType::kF32 && logits.shape.rank() == 2, "logits " + logits.name,
          "f32 [1, classes], found ", to_word(logits.dtype), " ", to_string(logits.shape));
  check_order(model);
  for (const Layer& layer : model.layers) LayerCheck(model, layer).run();
}

}  // namespace bitloom::integer
