#include "bitloom/integer/model.h"

#include <array>

#include "bitloom/core/error.h"

namespace bitloom::integer {
namespace {

constexpr std::array<std::string_view, 5> kModes{"float", "weight-only", "dynamic", "static",
                                                 "fixed-point"};
constexpr std::array<std::string_view, 11> kOps{"conv2d",          "linear", "max_pool", "avg_pool",
                                                "global_avg_pool", "add",    "concat",   "affine",
                                                "prelu",           "k_map",  "scale_map"};

template <std::size_t N>
std::size_t index_of(const std::array<std::string_view, N>& words, std::string_view word,
                     const char* place) {
  std::string known;
  for (std::size_t i = 0; i < N; ++i) {
    if (words[i] == word) return i;
    known += cat(i == 0 ? "" : ", ", words[i]);
  }
  throw FormatError({.place = place,
                     .expected = "one of " + known,
                     .found = cat("'", word, "'"),
                     .remedy = "update bitloom if a newer version wrote the file"});
}

}  // namespace

std::string_view to_word(ComputeMode mode) { return kModes[static_cast<std::size_t>(mode)]; }

ComputeMode compute_mode_from_word(std::string_view word) {
  return static_cast<ComputeMode>(index_of(kModes, word, "layer mode"));
}

std::string_view to_word(LayerOp op) { return kOps[static_cast<std::size_t>(op)]; }

LayerOp layer_op_from_word(std::string_view word) {
  return static_cast<LayerOp>(index_of(kOps, word, "layer operation"));
}

void split_codes(const Tensor& weight, std::int8_t* to) {
  const std::int64_t count = weight.elements();
  const std::int8_t* codes = weight.data<std::int8_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] = codes[i] > 0 ? std::int8_t{1} : std::int8_t{0};
    to[count + i] = codes[i] < 0 ? std::int8_t{1} : std::int8_t{0};
  }
}

CodeRange code_range(const Layer& layer, const TensorInfo& output) {
  return clipped_range(layer.clip, output.format, output.scale);
}

}  // namespace bitloom::integer
