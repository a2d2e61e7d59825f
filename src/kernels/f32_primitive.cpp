#include "f32_primitive.h"

#include "bitloom/core/tensor.h"
#include "int8_geometry.h"

namespace bitloom::kernels {

void PreparedPrimitive::bind(const PrimitiveArgument& argument) {
  memories_.emplace_back(argument.desc, engine(), nullptr);
  arguments_.push_back({argument.index, memories_.back().get()});
}

void PreparedPrimitive::run(std::initializer_list<const void*> pointers, std::byte* scratchpad) {
  const std::size_t count = memories_.size() - 1;
  BITLOOM_ASSERT(pointers.size() >= count);
  // oneDNN takes sources as void* too; it only reads them.
  for (std::size_t i = 0; i < count; ++i) {
    memories_[i].set_data_handle(const_cast<void*>(pointers.begin()[i]));
  }
  memories_[count].set_data_handle(scratchpad);
  // The C call takes the prepared array; dnnl::primitive::execute would build a new one.
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_.get(), stream().get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success) {
    throw BackendError({.place = implementation_,
                        .expected = "oneDNN to run this primitive",
                        .found = cat("status ", static_cast<int>(status)),
                        .remedy = ""});
  }
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

dnnl::memory::desc nhwc(const Shape& shape, DType dtype) {
  return {{shape.n(), shape.c(), shape.h(), shape.w()},
          onednn_type(dtype),
          dnnl::memory::format_tag::nhwc};
}

dnnl::memory::desc nhwc_f32(const Shape& shape) { return nhwc(shape, DType::kF32); }

dnnl::memory::desc vector_f32(std::int64_t count) {
  return {{count}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::x};
}

std::string names_of(
    std::initializer_list<std::pair<const char*, const PreparedPrimitive*>> primitives) {
  std::string out;
  for (const auto& [direction, primitive] : primitives) {
    if (!*primitive) continue;
    if (!out.empty()) out += ", ";
    out += cat(direction, " ", primitive->implementation());
  }
  return out;
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
}

}  // namespace bitloom::kernels
