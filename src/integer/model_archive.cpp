#include "bitloom/integer/model_archive.h"

#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/integer/packing.h"

namespace bitloom::integer {
namespace {

constexpr const char* kSchema = "bitloom.model";
constexpr int kVersion = 5;
constexpr std::int64_t kMostItems = 100000;  // more layers or tensors come from a damaged file

/// "layers/00007": numbers keep the order of execution in a file sorted by name.
std::string numbered(const char* folder, std::size_t index) {
  const std::string digits = std::to_string(index);
  return cat(folder, "/", std::string(5 - std::min<std::size_t>(5, digits.size()), '0'), digits);
}

std::string axes_of(const Tensor& weight) { return weight.shape().rank() == 4 ? "OHWI" : "OI"; }

Tensor s64_tensor(std::span<const std::int64_t> values) {
  return make_tensor<std::int64_t>(Shape{static_cast<std::int64_t>(values.size())}, values);
}

void put_shape(Archive& archive, const std::string& path, const Shape& shape) {
  std::vector<std::int64_t> dims;
  for (int axis = 0; axis < shape.rank(); ++axis) dims.push_back(shape[axis]);
  archive.put(path, s64_tensor(dims), "D", "1");
}

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw FormatError(cat(path, ": ", why));  // the file's name comes before it, naming_source
}

std::vector<std::int64_t> get_list(const Archive& archive, const std::string& path) {
  const Tensor& tensor = archive.tensor(path);
  if (tensor.dtype() != DType::kS64 || tensor.shape().rank() != 1) {
    refuse(path, "expected a list of s64");
  }
  const auto values = tensor.span<std::int64_t>();
  return {values.begin(), values.end()};
}

Shape get_shape(const Archive& archive, const std::string& path) {
  const std::vector<std::int64_t> dims = get_list(archive, path);
  try {
    switch (dims.size()) {
      case 1:
        return {dims[0]};
      case 2:
        return {dims[0], dims[1]};
      case 4:
        return {dims[0], dims[1], dims[2], dims[3]};
      default:
        break;
    }
  } catch (const ShapeError& error) {
    refuse(path, error.what());
  }
  refuse(path, cat("expected 1, 2 or 4 dimensions, found ", dims.size()));
}

int get_int(const Archive& archive, const std::string& path, const char* name) {
  const std::int64_t value = archive.integer(path, name);
  if (value < -1000000 || value > 1000000) {
    refuse(path, cat(name, " expected a small integer, found ", value));
  }
  return static_cast<int>(value);
}

void put_range(Archive& archive, const std::string& path, CodeRange range) {
  archive.put_attribute(path, "qmin", std::int64_t{range.qmin});
  archive.put_attribute(path, "qmax", std::int64_t{range.qmax});
}

CodeRange get_range(const Archive& archive, const std::string& path) {
  return {.qmin = get_int(archive, path, "qmin"), .qmax = get_int(archive, path, "qmax")};
}

/// A grid that is absent is affine.
void put_grid(Archive& archive, const std::string& path, const char* name, Grid grid) {
  if (grid != Grid::kAffine) archive.put_attribute(path, name, std::string(to_word(grid)));
}

Grid get_grid(const Archive& archive, const std::string& path, const char* name) {
  if (!archive.has_attribute(path, name)) return Grid::kAffine;
  try {
    return grid_from_word(archive.word(path, name));
  } catch (const FormatError& error) {
    refuse(path, error.what());
  }
}

void put_format(Archive& archive, const std::string& path, const AffineFormat& format) {
  archive.put_attribute(path, "bits", std::int64_t{format.bits});
  archive.put_attribute(path, "zero_point", std::int64_t{format.zero_point});
  put_range(archive, path, format.range);
  put_grid(archive, path, "grid", format.grid);
}

AffineFormat get_format(const Archive& archive, const std::string& path, DType dtype) {
  return {.bits = get_int(archive, path, "bits"),
          .is_signed = dtype == DType::kS8,
          .zero_point = get_int(archive, path, "zero_point"),
          .range = get_range(archive, path),
          .grid = get_grid(archive, path, "grid")};
}

void put_tensor_info(Archive& archive, const std::string& path, const TensorInfo& info) {
  put_shape(archive, path + "/shape", info.shape);
  archive.put_attribute(path, "name", info.name);
  archive.put_attribute(path, "dtype", std::string(to_word(info.dtype)));
  if (info.dtype == DType::kF32) return;
  put_format(archive, path, info.format);
  archive.put_attribute(path, "scale", double{info.scale});
}

TensorInfo get_tensor_info(const Archive& archive, const std::string& path) {
  TensorInfo info;
  info.shape = get_shape(archive, path + "/shape");
  info.name = archive.word(path, "name");
  info.dtype = dtype_from_word(archive.word(path, "dtype"));
  if (info.dtype == DType::kF32) return info;
  info.format = get_format(archive, path, info.dtype);
  info.scale = static_cast<float>(archive.real(path, "scale"));
  return info;
}

void put_weight(Archive& archive, const std::string& path, const Layer& layer) {
  archive.put_attribute(path, "weight_bits", std::int64_t{layer.weight_bits});
  put_range(archive, path, layer.weight_range);
  put_grid(archive, path, "weight_grid", layer.weight_grid);
  if (layer.weight.dtype() != DType::kS8 || layer.weight_bits >= 8) {
    const bool codes = layer.weight.dtype() == DType::kS8;
    archive.put(path + "/weight", layer.weight.clone(), axes_of(layer.weight),
                codes ? "code" : "weight");
    return;
  }
  put_shape(archive, path + "/weight_shape", layer.weight.shape());
  if (layer.weight_grid == Grid::kBinary) {
    archive.put(path + "/weight_packed", pack_signs(layer.weight), "OB", "1 bit each, 1 for -1");
    return;
  }
  archive.put(path + "/weight_packed",
              pack_codes(layer.weight, layer.weight_bits, layer.weight_range.qmin), "OB",
              cat("code - qmin, ", layer.weight_bits, " bits each"));
}

void get_weight(const Archive& archive, const std::string& path, Layer& layer) {
  layer.weight_bits = get_int(archive, path, "weight_bits");
  layer.weight_range = get_range(archive, path);
  layer.weight_grid = get_grid(archive, path, "weight_grid");
  if (archive.has(path + "/weight")) {
    layer.weight = archive.tensor(path + "/weight").clone();
    return;
  }
  const Tensor& packed = archive.tensor(path + "/weight_packed");
  const Shape shape = get_shape(archive, path + "/weight_shape");
  try {
    layer.weight = layer.weight_grid == Grid::kBinary
                       ? unpack_signs(packed, shape)
                       : unpack_codes(packed, shape, layer.weight_bits, layer.weight_range.qmin);
  } catch (const FormatError& error) {
    refuse(path + "/weight_packed", error.what());
  }
}

void put_vector(Archive& archive, const std::string& path, const Tensor& values) {
  if (!values.empty()) archive.put(path, values.clone(), "O", "1");
}

/// Vectors of a layer and where they stand below its path.
struct NamedVector {
  const char* name;
  Tensor Layer::*vector;
};
constexpr NamedVector kVectors[] = {{"/weight_scale", &Layer::weight_scale},
                                    {"/multiplier", &Layer::multiplier},
                                    {"/negative_multiplier", &Layer::negative_multiplier},
                                    {"/bias", &Layer::bias},
                                    {"/bias_s32", &Layer::bias_s32},
                                    {"/shift", &Layer::shift},
                                    {"/lowest", &Layer::lowest}};

/// Shifts of a fixed-point layer, likewise.
struct NamedShift {
  const char* name;
  int Layer::*shift;
};
constexpr NamedShift kShifts[] = {{"source_shift", &Layer::source_shift},
                                  {"residual_shift", &Layer::residual_shift},
                                  {"right_shift", &Layer::right_shift}};

Tensor get_vector(const Archive& archive, const std::string& path) {
  return archive.has(path) ? archive.tensor(path).clone() : Tensor();
}

bool is_product(const Layer& layer) {
  return layer.op == LayerOp::kConv2d || layer.op == LayerOp::kLinear;
}

bool has_window(const Layer& layer) {
  return layer.op == LayerOp::kConv2d || layer.op == LayerOp::kMaxPool ||
         layer.op == LayerOp::kAvgPool || layer.op == LayerOp::kKMap;
}

/// A bound that is absent is infinite.
void put_clip(Archive& archive, const std::string& path, const Clip& clip) {
  if (clip.low != Clip().low) archive.put_attribute(path, "clip_low", double{clip.low});
  if (clip.high != Clip().high) archive.put_attribute(path, "clip_high", double{clip.high});
}

Clip get_clip(const Archive& archive, const std::string& path) {
  const auto bound = [&](const char* name, float absent) {
    return archive.has_attribute(path, name) ? static_cast<float>(archive.real(path, name))
                                             : absent;
  };
  return {.low = bound("clip_low", Clip().low), .high = bound("clip_high", Clip().high)};
}

void put_layer(Archive& archive, const std::string& path, const Layer& layer) {
  archive.put_attribute(path, "name", layer.name);
  archive.put_attribute(path, "op", std::string(to_word(layer.op)));
  archive.put_attribute(path, "mode", std::string(to_word(layer.mode)));
  archive.put_attribute(path, "output", std::int64_t{layer.output});
  put_clip(archive, path, layer.clip);
  archive.put(path + "/inputs",
              s64_tensor(std::vector<std::int64_t>(layer.inputs.begin(), layer.inputs.end())), "I",
              "tensor");
  if (has_window(layer)) {
    const Window& window = layer.window;
    archive.put_attribute(path, "kernel_h", window.kernel_h);
    archive.put_attribute(path, "kernel_w", window.kernel_w);
    archive.put_attribute(path, "stride", window.stride);
    archive.put_attribute(path, "pad", window.pad);
    archive.put_attribute(path, "groups", window.groups);
    if (window.column_pad >= 0) archive.put_attribute(path, "column_pad", window.column_pad);
    if (window.count_pad) archive.put_attribute(path, "count_pad", std::int64_t{1});
  }
  for (const auto& [name, vector] : kVectors) put_vector(archive, path + name, layer.*vector);
  if (layer.mode == ComputeMode::kFixedPoint) {
    for (const auto& [name, shift] : kShifts) {
      archive.put_attribute(path, name, std::int64_t{layer.*shift});
    }
    put_range(archive, path + "/clip", layer.clip_codes);
  }
  if (!is_product(layer)) return;
  put_weight(archive, path, layer);
  archive.put_attribute(path, "residual_ratio", double{layer.residual_ratio});
  if (layer.mode != ComputeMode::kDynamic) return;
  const DType codes = layer.source_format.is_signed ? DType::kS8 : DType::kU8;
  archive.put_attribute(path + "/source", "dtype", std::string(to_word(codes)));
  put_format(archive, path + "/source", layer.source_format);
}

Layer get_layer(const Archive& archive, const std::string& path) {
  Layer layer;
  layer.name = archive.word(path, "name");
  layer.op = layer_op_from_word(archive.word(path, "op"));
  layer.mode = compute_mode_from_word(archive.word(path, "mode"));
  layer.output = get_int(archive, path, "output");
  layer.clip = get_clip(archive, path);
  for (const std::int64_t input : get_list(archive, path + "/inputs")) {
    if (input < 0 || input > kMostItems) refuse(path, cat("input ", input));
    layer.inputs.push_back(static_cast<int>(input));
  }
  if (has_window(layer)) {
    layer.window = {.kernel_h = get_int(archive, path, "kernel_h"),
                    .kernel_w = get_int(archive, path, "kernel_w"),
                    .stride = get_int(archive, path, "stride"),
                    .pad = get_int(archive, path, "pad"),
                    .groups = get_int(archive, path, "groups")};
    if (archive.has_attribute(path, "column_pad")) {
      layer.window.column_pad = get_int(archive, path, "column_pad");
    }
    layer.window.count_pad =
        archive.has_attribute(path, "count_pad") && get_int(archive, path, "count_pad") != 0;
  }
  for (const auto& [name, vector] : kVectors) layer.*vector = get_vector(archive, path + name);
  if (layer.mode == ComputeMode::kFixedPoint) {
    for (const auto& [name, shift] : kShifts) layer.*shift = get_int(archive, path, name);
    layer.clip_codes = get_range(archive, path + "/clip");
  }
  if (!is_product(layer)) return layer;
  get_weight(archive, path, layer);
  layer.residual_ratio = static_cast<float>(archive.real(path, "residual_ratio"));
  if (layer.mode == ComputeMode::kDynamic) {
    const std::string source = path + "/source";
    layer.source_format =
        get_format(archive, source, dtype_from_word(archive.word(source, "dtype")));
  }
  return layer;
}

std::size_t get_count(const Archive& archive, const char* name) {
  const std::int64_t count = archive.integer("", name);
  if (count < 1 || count > kMostItems) refuse(name, cat("unlikely count ", count));
  return static_cast<std::size_t>(count);
}

Model read_model(const Archive& archive) {
  Model model;
  model.network = archive.word("", "network");
  model.method = archive.word("", "method");
  model.profile = archive.word("", "profile");
  model.weights_label = archive.word("", "weights_label");
  model.graph_text = archive.text("graph");
  model.config_text = archive.text("config");
  model.input_table = archive.tensor("input_table").clone();
  const std::size_t tensors = get_count(archive, "tensors");
  for (std::size_t i = 0; i < tensors; ++i) {
    model.tensors.push_back(get_tensor_info(archive, numbered("tensors", i)));
  }
  const std::size_t layers = get_count(archive, "layers");
  for (std::size_t i = 0; i < layers; ++i) {
    model.layers.push_back(get_layer(archive, numbered("layers", i)));
  }
  if (archive.has_text("tuned")) {
    model.tuned = tuned_from_text(archive.text("tuned"), layers);
  }
  validate(model);
  return model;
}

}  // namespace

Archive to_archive(const Model& model) {
  Archive archive(kSchema, kVersion);
  archive.set_packed(true);
  archive.put_attribute("", "network", model.network);
  archive.put_attribute("", "method", model.method);
  archive.put_attribute("", "profile", model.profile);
  archive.put_attribute("", "weights_label", model.weights_label);
  archive.put_attribute("", "tensors", static_cast<std::int64_t>(model.tensors.size()));
  archive.put_attribute("", "layers", static_cast<std::int64_t>(model.layers.size()));
  archive.put_text("graph", model.graph_text);
  archive.put_text("config", model.config_text);
  if (!model.tuned.empty()) archive.put_text("tuned", tuned_to_text(model.tuned));
  archive.put("input_table", model.input_table.clone(), "CP",
              model.input_table.dtype() == DType::kF32 ? "1" : "code");
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    put_tensor_info(archive, numbered("tensors", i), model.tensors[i]);
  }
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    put_layer(archive, numbered("layers", i), model.layers[i]);
  }
  return archive;
}

Model model_from_archive(const Archive& archive) {
  archive.require_schema(kSchema, kVersion);
  return naming_source(archive, [&] { return read_model(archive); });
}

}  // namespace bitloom::integer
