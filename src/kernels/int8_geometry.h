// oneDNN's view of one product (convolution, or linear as a 1x1 convolution whose pixels are the
// batch), shared by the int8 and the float inference kernels.
#pragma once

#include <string>

#include "bitloom/core/error.h"
#include "bitloom/integer/model.h"
#include "bitloom/kernels/onednn.h"

namespace bitloom::kernels {

/// Dimensions and strides of one product; memory is NHWC and OHWI.
struct ProductDims {
  dnnl::memory::dims source, weight, destination;
  dnnl::memory::dims strides, padding;
  dnnl::memory::format_tag weight_tag = dnnl::memory::format_tag::ohwi;
  int channel_mask = 1;  ///< mask of one value per output channel over the weight's dimensions
  Shape output;          ///< [N, O, OH, OW], or [N, O] of a linear layer
};

/// @throws ShapeError that opens with `place` if source, weight and window do not fit.
ProductDims product_dims(const std::string& place, const Shape& source, const Shape& weight,
                         const integer::Window& window);

/// One eltwise for the bounds, none where both are infinite.
void append_clip(dnnl::post_ops& ops, const integer::Clip& clip);

dnnl::memory::data_type onednn_type(DType dtype);

}  // namespace bitloom::kernels
