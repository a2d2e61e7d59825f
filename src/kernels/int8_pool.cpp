#include "bitloom/kernels/int8_pool.h"

#include <algorithm>

#include "f32_primitive.h"
#include "int8_geometry.h"

namespace bitloom::kernels {
namespace {

using Memory = dnnl::memory;
using Pooling = dnnl::pooling_forward;

constexpr const char* kPlace = "max pool";

Shape pooled(const Shape& source, const integer::Window& window) {
  const std::int64_t height = source.h() + 2 * window.pad - window.kernel_h;
  const std::int64_t width = source.w() + 2 * window.pad - window.kernel_w;
  const bool fits = source.rank() == 4 && window.stride >= 1 && window.pad >= 0 &&
                    window.pad < std::min(window.kernel_h, window.kernel_w) && height >= 0 &&
                    width >= 0;
  if (!fits) {
    throw ShapeError(
        {.place = kPlace,
         .expected = "a window that fits the source",
         .found = cat(window.kernel_h, "x", window.kernel_w, ", stride ", window.stride, ", pad ",
                      window.pad, " over ", to_string(source)),
         .remedy = ""});
  }
  return {source.n(), source.c(), height / window.stride + 1, width / window.stride + 1};
}

}  // namespace

class Int8MaxPool::Impl {
 public:
  Impl(const Shape& source, DType dtype, const integer::Window& window)
      : source_(source), output_(pooled(source, window)), dtype_(dtype) {
    with_onednn_errors(kPlace, [&] {
      const Memory::dims strides{window.stride, window.stride};
      const Memory::dims padding{window.pad, window.pad};
      // Below and right of a window that does not end at the border oneDNN wants less padding.
      const Memory::dims padding_end{end_padding(output_.h(), window.kernel_h, source.h(), window),
                                     end_padding(output_.w(), window.kernel_w, source.w(), window)};
      const Pooling::primitive_desc pd(
          engine(), dnnl::prop_kind::forward_inference, dnnl::algorithm::pooling_max,
          nhwc(source, dtype), nhwc(output_, dtype), strides, {window.kernel_h, window.kernel_w},
          {0, 0}, padding, padding_end, user_scratchpad());
      const std::string name = pd.impl_info_str();
      if (name.find("ref") != std::string::npos) {
        throw BackendError(cat("oneDNN has only its plain reference (", name, ") for max pooling ",
                               to_word(dtype), " ", to_string(source)));
      }
      pool_ = PreparedPrimitive::make<Pooling>(
          pd, {{DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_DST, pd.dst_desc()}});
      return 0;
    });
    scratch_ = Tensor(
        DType::kU8,
        Shape{static_cast<std::int64_t>(std::max<std::size_t>(pool_.scratchpad_bytes(), 1))});
  }

  void run(ConstTensorView source, TensorView destination) {
    if (source.dtype() != dtype_ || destination.dtype() != dtype_ ||
        source.elements() != source_.elements() || destination.elements() != output_.elements()) {
      throw ShapeError(
          {.place = kPlace,
           .expected = cat(to_string(source_), " to ", to_string(output_)),
           .found = cat(to_string(source.shape()), " to ", to_string(destination.shape())),
           .remedy = ""});
    }
    pool_.run({source.raw(), destination.raw()}, static_cast<std::byte*>(scratch_.raw()));
  }

  const std::string& implementation() const { return pool_.implementation(); }
  const Shape& output() const { return output_; }
  std::size_t memory_bytes() const { return scratch_.bytes(); }

 private:
  static std::int64_t end_padding(std::int64_t outputs, std::int64_t kernel, std::int64_t side,
                                  const integer::Window& window) {
    return (outputs - 1) * window.stride + kernel - side - window.pad;
  }

  Shape source_, output_;
  DType dtype_;
  PreparedPrimitive pool_;
  Tensor scratch_;
};

Int8MaxPool::Int8MaxPool(const Shape& source, DType dtype, const integer::Window& window)
    : impl_(std::make_unique<Impl>(source, dtype, window)) {}
Int8MaxPool::~Int8MaxPool() = default;
Int8MaxPool::Int8MaxPool(Int8MaxPool&&) noexcept = default;
Int8MaxPool& Int8MaxPool::operator=(Int8MaxPool&&) noexcept = default;

void Int8MaxPool::run(ConstTensorView source, TensorView destination) {
  impl_->run(source, destination);
}

std::string Int8MaxPool::implementation() const { return impl_->implementation(); }
Shape Int8MaxPool::destination() const { return impl_->output(); }
std::size_t Int8MaxPool::memory_bytes() const { return impl_->memory_bytes(); }

}  // namespace bitloom::kernels
