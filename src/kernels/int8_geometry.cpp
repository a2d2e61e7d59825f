#include "int8_geometry.h"

namespace bitloom::kernels {
namespace {

using Tag = dnnl::memory::format_tag;

ProductDims linear_dims(const std::string& place, const Shape& source, const Shape& weight) {
  const std::int64_t inputs = source.elements() / source.n();
  if (weight.c() != inputs) {
    throw ShapeError({.place = place,
                      .expected = cat("weight [O, ", inputs, "]"),
                      .found = to_string(weight),
                      .remedy = ""});
  }
  // The batch lies along the width: as pixels of one image, rows share the weights they load (twice
  // as fast at a batch of 100 as one image per row).
  return {.source = {1, inputs, 1, source.n()},
          .weight = {weight.n(), inputs, 1, 1},
          .destination = {1, weight.n(), 1, source.n()},
          .strides = {1, 1},
          .padding = {0, 0},
          .weight_tag = Tag::ohwi,
          .channel_mask = 1,
          .output = {source.n(), weight.n()}};
}

}  // namespace

ProductDims product_dims(const std::string& place, const Shape& source, const Shape& weight,
                         const integer::Window& window) {
  if (weight.rank() == 2) return linear_dims(place, source, weight);
  const std::int64_t groups = window.groups;
  const std::int64_t height = source.h() + 2 * window.pad_h() - weight.h();
  const std::int64_t width = source.w() + 2 * window.pad_w() - weight.w();
  if (weight.rank() != 4 || groups < 1 || window.stride < 1 || window.pad < 0 ||
      weight.c() * groups != source.c() || weight.n() % groups != 0 || height < 0 || width < 0) {
    throw ShapeError(
        {.place = place,
         .expected = cat("weight [O, C/groups, KH, KW] for source ", to_string(source)),
         .found = cat(to_string(weight), ", groups ", groups, ", stride ", window.stride, ", pad ",
                      window.pad),
         .remedy = ""});
  }
  const Shape output{source.n(), weight.n(), height / window.stride + 1, width / window.stride + 1};
  ProductDims dims{.source = {source.n(), source.c(), source.h(), source.w()},
                   .weight = {weight.n(), weight.c(), weight.h(), weight.w()},
                   .destination = {output.n(), output.c(), output.h(), output.w()},
                   .strides = {window.stride, window.stride},
                   .padding = {window.pad_h(), window.pad_w()},
                   .weight_tag = Tag::ohwi,
                   .channel_mask = 1,
                   .output = output};
  if (groups > 1) {
    dims.weight = {groups, weight.n() / groups, weight.c(), weight.h(), weight.w()};
    dims.weight_tag = Tag::gohwi;
    dims.channel_mask = 3;  // groups and outputs of a group
  }
  return dims;
}

void append_clip(dnnl::post_ops& ops, const integer::Clip& clip) {
  if (clip == integer::Clip()) return;
  if (clip == integer::kRelu) {
    ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0F, 0.0F);
  } else {
    ops.append_eltwise(dnnl::algorithm::eltwise_clip, clip.low, clip.high);
  }
}

dnnl::memory::data_type onednn_type(DType dtype) {
  switch (dtype) {
    case DType::kU8:
      return dnnl::memory::data_type::u8;
    case DType::kS8:
      return dnnl::memory::data_type::s8;
    case DType::kS32:
      return dnnl::memory::data_type::s32;
    case DType::kF32:
      return dnnl::memory::data_type::f32;
    case DType::kBf16:
      return dnnl::memory::data_type::bf16;
    default:
      break;
  }
  throw BackendError({.place = "oneDNN",
                      .expected = "f32, bf16, s32, u8 or s8",
                      .found = std::string(to_word(dtype)),
                      .remedy = ""});
}

}  // namespace bitloom::kernels
