#include "bitloom/kernels/float_inference_product.h"

#include <algorithm>
#include <cstring>

#include "f32_primitive.h"
#include "int8_geometry.h"

namespace bitloom::kernels {
namespace {

using Memory = dnnl::memory;
using Tag = Memory::format_tag;
using Convolution = dnnl::convolution_forward;

constexpr const char* kPlace = "float product";
constexpr auto kF32 = Memory::data_type::f32;

Convolution::primitive_desc describe(const FloatInferenceProblem& problem,
                                     const ProductDims& dims) {
  dnnl::post_ops ops;
  if (problem.residual) ops.append_sum(1.0F);
  append_clip(ops, problem.clip);
  dnnl::primitive_attr attr = user_scratchpad();
  attr.set_post_ops(ops);
  return {engine(),
          dnnl::prop_kind::forward_inference,
          dnnl::algorithm::convolution_direct,
          Memory::desc(dims.source, onednn_type(problem.source_dtype), Tag::nhwc),
          Memory::desc(dims.weight, onednn_type(problem.source_dtype), Tag::any),
          vector_f32(dims.output.c()),
          Memory::desc(dims.destination, onednn_type(problem.destination_dtype), Tag::nhwc),
          dims.strides,
          dims.padding,
          dims.padding,
          attr};
}

Tensor byte_tensor(std::size_t bytes) {
  return {DType::kU8, Shape{static_cast<std::int64_t>(std::max<std::size_t>(bytes, 1))}};
}

/// The text is made when it is needed: a run must not allocate.
void require(DType dtype, const Shape& shape, const char* what, ConstTensorView found) {
  if (found.dtype() == dtype && found.elements() == shape.elements()) return;
  throw ShapeError({.place = kPlace,
                    .expected = cat(what, to_word(dtype), " ", to_string(shape)),
                    .found = cat(to_word(found.dtype()), " ", to_string(found.shape())),
                    .remedy = ""});
}

}  // namespace

class FloatInferenceProduct::Impl {
 public:
  explicit Impl(const FloatInferenceProblem& problem)
      : problem_(problem),
        dims_(product_dims(kPlace, problem.source, problem.weight, problem.window)),
        bias_(DType::kF32, Shape{dims_.output.c()}) {
    with_onednn_errors(kPlace, [&] {
      prepare();
      return 0;
    });
  }

  void set_weights(ConstTensorView weight, ConstTensorView bias) {
    require(DType::kF32, problem_.weight, "weights ", weight);
    BITLOOM_ASSERT(weight.shape() == problem_.weight);
    copy(bias, bias_);
    reorder_.run({weight.raw(), weight_.raw()}, static_cast<std::byte*>(scratch_.raw()));
  }

  void run(ConstTensorView source, ConstTensorView residual, TensorView destination) {
    require(problem_.source_dtype, problem_.source, "a source ", source);
    require(problem_.destination_dtype, dims_.output, "a destination ", destination);
    if (problem_.residual) {
      require(problem_.destination_dtype, dims_.output, "a residual ", residual);
      // The sum post-op reads the destination.
      if (residual.raw() != destination.raw()) {
        std::memcpy(destination.raw(), residual.raw(), residual.bytes());
      }
    }
    product_.run({source.raw(), weight_.raw(), bias_.raw(), destination.raw()},
                 static_cast<std::byte*>(scratch_.raw()));
  }

  const std::string& implementation() const { return product_.implementation(); }
  const Shape& output() const { return dims_.output; }
  std::size_t memory_bytes() const { return weight_.bytes() + bias_.bytes() + scratch_.bytes(); }

 private:
  void prepare() {
    const Convolution::primitive_desc pd = describe(problem_, dims_);
    const std::string name = pd.impl_info_str();
    if (problem_.source_dtype == DType::kBf16 && name.find("ref") != std::string::npos) {
      throw BackendError(cat("oneDNN has only its plain reference (", name, ") in bf16 for ",
                             to_string(problem_.source), " by ", to_string(problem_.weight)));
    }
    product_ = PreparedPrimitive::make<Convolution>(pd, {{DNNL_ARG_SRC, pd.src_desc()},
                                                         {DNNL_ARG_WEIGHTS, pd.weights_desc()},
                                                         {DNNL_ARG_BIAS, pd.bias_desc()},
                                                         {DNNL_ARG_DST, pd.dst_desc()}});
    const Memory::desc plain(dims_.weight, kF32, dims_.weight_tag);
    const dnnl::reorder::primitive_desc reorder(engine(), plain, engine(), pd.weights_desc(),
                                                user_scratchpad());
    reorder_ = PreparedPrimitive::make<dnnl::reorder>(
        reorder, {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, pd.weights_desc()}});
    weight_ = byte_tensor(pd.weights_desc().get_size());
    scratch_ = byte_tensor(std::max(product_.scratchpad_bytes(), reorder_.scratchpad_bytes()));
  }

  FloatInferenceProblem problem_;
  ProductDims dims_;
  PreparedPrimitive product_, reorder_;
  Tensor weight_, bias_, scratch_;
};

FloatInferenceProduct::FloatInferenceProduct(const FloatInferenceProblem& problem)
    : impl_(std::make_unique<Impl>(problem)) {}
FloatInferenceProduct::~FloatInferenceProduct() = default;
FloatInferenceProduct::FloatInferenceProduct(FloatInferenceProduct&&) noexcept = default;
FloatInferenceProduct& FloatInferenceProduct::operator=(FloatInferenceProduct&&) noexcept = default;

void FloatInferenceProduct::set_weights(ConstTensorView weight, ConstTensorView bias) {
  impl_->set_weights(weight, bias);
}

void FloatInferenceProduct::run(ConstTensorView source, ConstTensorView residual,
                                TensorView destination) {
  impl_->run(source, residual, destination);
}

std::string FloatInferenceProduct::implementation() const { return impl_->implementation(); }
Shape FloatInferenceProduct::destination() const { return impl_->output(); }
std::size_t FloatInferenceProduct::memory_bytes() const { return impl_->memory_bytes(); }

}  // namespace bitloom::kernels
