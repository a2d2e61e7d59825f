#include "bitloom/kernels/int8_product.h"

#include <algorithm>
#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "f32_primitive.h"
#include "int8_geometry.h"

namespace bitloom::kernels {
namespace {

using Memory = dnnl::memory;
using Tag = Memory::format_tag;
using Convolution = dnnl::convolution_forward;

constexpr const char* kPlace = "int8 product";

/// The residual as oneDNN's sum post-op takes it; baked into the primitive.
struct Residual {
  float ratio = 1.0F;
  std::int32_t zero_point = 0;
  bool operator==(const Residual&) const = default;
};

/// The bounds that saturation to `dtype` does not hold by itself.
integer::Clip beyond_saturation(const integer::Clip& clip, DType dtype) {
  if (dtype == DType::kF32) return clip;
  const integer::Clip type = dtype == DType::kU8 ? integer::Clip{.low = 0.0F, .high = 255.0F}
                                                 : integer::Clip{.low = -128.0F, .high = 127.0F};
  if (clip.low <= type.low && clip.high >= type.high) return {};
  return {.low = std::max(clip.low, type.low), .high = std::min(clip.high, type.high)};
}

bool is_bare(const Int8Problem& problem) {
  return problem.destination_dtype == DType::kS32 || problem.destination_dtype == DType::kBf16;
}

/// Residual, then clip.
dnnl::post_ops post_ops_of(const Int8Problem& problem, const Residual& residual) {
  dnnl::post_ops ops;
  if (is_bare(problem)) return ops;
  const bool codes = problem.destination_dtype != DType::kF32;
  if (problem.residual && codes) {
    ops.append_sum(residual.ratio, residual.zero_point, onednn_type(problem.residual_dtype));
  } else if (problem.residual) {
    ops.append_sum(residual.ratio);  // run() leaves float(r - z) in the destination
  }
  append_clip(ops, beyond_saturation(problem.clip, problem.destination_dtype));
  return ops;
}

bool has_bias(const Int8Problem& problem) { return problem.bias && !is_bare(problem); }

Convolution::primitive_desc describe(const Int8Problem& problem, const ProductDims& dims,
                                     const Residual& residual) {
  dnnl::primitive_attr attr = user_scratchpad();
  if (!is_bare(problem)) {
    attr.set_scales_mask(DNNL_ARG_WEIGHTS, dims.channel_mask);
  }
  if (problem.source_zero_point) attr.set_zero_points_mask(DNNL_ARG_SRC, 0);
  attr.set_post_ops(post_ops_of(problem, residual));
  const Memory::desc source(dims.source, onednn_type(problem.source_dtype), Tag::nhwc);
  const Memory::desc weight(dims.weight, Memory::data_type::s8, Tag::any);
  const Memory::desc bias = has_bias(problem) ? vector_f32(dims.output.c()) : Memory::desc();
  const Memory::desc destination(dims.destination, onednn_type(problem.destination_dtype),
                                 Tag::nhwc);
  return {engine(),
          dnnl::prop_kind::forward_inference,
          dnnl::algorithm::convolution_direct,
          source,
          weight,
          bias,
          destination,
          dims.strides,
          dims.padding,
          dims.padding,
          attr};
}

/// "avx512_core_vnni" of "brgconv:avx512_core_vnni".
std::string isa_of(const Convolution::primitive_desc& pd) {
  const std::string name = pd.impl_info_str();
  return name.substr(name.find_last_of(':') + 1);
}

/// The next of oneDNN's implementations on the same instructions: those on weaker ones saturate
/// pairs of products (AVX2) or do not fuse the residual's multiply-add (SSE4.1).
void take_next(Convolution::primitive_desc& pd) {
  const std::string isa = isa_of(pd);
  while (pd.next_impl()) {
    if (isa_of(pd) == isa) return;
  }
  throw BackendError(cat(kPlace, ": oneDNN has no other implementation on ", isa));
}

/// to[i] = float(code - zero_point), exact.
template <typename T>
void convert_codes(const T* codes, std::int64_t count, std::int32_t zero_point, float* to) {
  parallel_for(count, 4096, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first; i < last; ++i) to[i] = static_cast<float>(codes[i] - zero_point);
  });
}

Tensor byte_tensor(std::size_t bytes) {
  return {DType::kU8, Shape{static_cast<std::int64_t>(std::max<std::size_t>(bytes, 1))}};
}

}  // namespace

class Int8Product::Impl {
 public:
  explicit Impl(const Int8Problem& problem)
      : problem_(problem),
        dims_(product_dims(kPlace, problem.source, problem.weight, problem.window)),
        scale_(DType::kF32, Shape{dims_.output.c()}),
        bias_(DType::kF32, Shape{dims_.output.c()}),
        zero_point_(DType::kS32, Shape{1}) {
    if (problem.residual && is_bare(problem)) {
      throw BackendError(cat(kPlace, ": bare accumulators take no residual"));
    }
    if (problem.residual && problem.residual_dtype == DType::kF32 &&
        problem.destination_dtype != DType::kF32) {
      throw BackendError(cat(kPlace, ": codes take no real residual"));
    }
    plan();
    weight_ = byte_tensor(weight_desc_.get_size());
    prepare_reorder();
  }

  void set_weights(ConstTensorView weight) {
    require(
        weight.dtype() == DType::kS8 && weight.shape() == problem_.weight,
        [&] { return cat("weights s8 ", to_string(problem_.weight)); }, weight);
    reorder_.run({weight.raw(), weight_.raw()}, static_cast<std::byte*>(scratch_.raw()));
  }

  void set_scales(ConstTensorView multiplier, ConstTensorView bias) {
    copy(multiplier, scale_);
    if (has_bias(problem_)) copy(bias, bias_);
  }

  void set_source_zero_point(std::int32_t zero_point) {
    zero_point_.data<std::int32_t>()[0] = zero_point;
  }

  void set_residual(const Residual& residual) {
    const bool codes = problem_.destination_dtype != DType::kF32;
    // Reals take the zero point out themselves, before the sum.
    const Residual planned{.ratio = residual.ratio, .zero_point = codes ? residual.zero_point : 0};
    residual_zero_point_ = residual.zero_point;
    if (planned == residual_) return;
    residual_ = planned;
    const Memory::desc before = weight_desc_;
    plan();
    if (weight_desc_ != before) {
      throw BackendError(cat(kPlace, ": the residual's ratio changed the weights' layout"));
    }
  }

  void run(ConstTensorView source, ConstTensorView residual, TensorView destination);

  const std::string& implementation() const { return product_.implementation(); }
  const Shape& output() const { return dims_.output; }
  std::size_t memory_bytes() const {
    return weight_.bytes() + scale_.bytes() + bias_.bytes() + scratch_.bytes();
  }

 private:
  /// `expected` makes its text when it is needed: a run must not allocate.
  template <typename Text>
  static void require(bool holds, const Text& expected, ConstTensorView found) {
    if (holds) return;
    throw ShapeError({.place = kPlace,
                      .expected = expected(),
                      .found = cat(to_word(found.dtype()), " ", to_string(found.shape())),
                      .remedy = ""});
  }

  void plan();
  void prepare_reorder();
  void place_residual(ConstTensorView residual, TensorView destination) const;

  Int8Problem problem_;
  ProductDims dims_;
  Residual residual_;
  std::int32_t residual_zero_point_ = 0;
  Memory::desc weight_desc_;
  PreparedPrimitive product_;
  PreparedPrimitive reorder_;
  Tensor weight_, scale_, bias_, zero_point_, scratch_;
};

void Int8Product::Impl::plan() {
  with_onednn_errors(kPlace, [&] {
    Convolution::primitive_desc pd = describe(problem_, dims_, residual_);
    for (int i = 0; i < problem_.choice; ++i) take_next(pd);
    const std::string name = pd.impl_info_str();
    if (name.find("ref") != std::string::npos) {
      throw BackendError(cat("oneDNN has only its plain reference (", name, ") for ",
                             to_string(problem_.source), " by ", to_string(problem_.weight)));
    }
    weight_desc_ = pd.weights_desc();
    std::vector<PrimitiveArgument> arguments{{DNNL_ARG_SRC, pd.src_desc()},
                                             {DNNL_ARG_WEIGHTS, weight_desc_},
                                             {DNNL_ARG_DST, pd.dst_desc()}};
    if (!is_bare(problem_)) {
      arguments.push_back({DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, vector_f32(dims_.output.c())});
    }
    if (problem_.source_zero_point) {
      arguments.push_back({DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC,
                           Memory::desc({1}, Memory::data_type::s32, Tag::x)});
    }
    if (has_bias(problem_)) arguments.push_back({DNNL_ARG_BIAS, vector_f32(dims_.output.c())});
    product_ = PreparedPrimitive::make<Convolution>(pd, arguments);
    return 0;
  });
  if (product_.scratchpad_bytes() > scratch_.bytes() || scratch_.empty()) {
    scratch_ = byte_tensor(product_.scratchpad_bytes());
  }
}

void Int8Product::Impl::prepare_reorder() {
  with_onednn_errors(kPlace, [&] {
    const Memory::desc plain(dims_.weight, Memory::data_type::s8, dims_.weight_tag);
    const dnnl::reorder::primitive_desc pd(engine(), plain, engine(), weight_desc_,
                                           user_scratchpad());
    reorder_ = PreparedPrimitive::make<dnnl::reorder>(
        pd, {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, weight_desc_}});
    return 0;
  });
  if (reorder_.scratchpad_bytes() > scratch_.bytes()) {
    scratch_ = byte_tensor(reorder_.scratchpad_bytes());
  }
}

/// The sum post-op reads the destination: the residual must lie there first.
void Int8Product::Impl::place_residual(ConstTensorView residual, TensorView destination) const {
  if (problem_.destination_dtype == problem_.residual_dtype ||
      problem_.destination_dtype != DType::kF32) {
    if (residual.raw() != destination.raw()) {
      std::memcpy(destination.raw(), residual.raw(), residual.bytes());
    }
    return;
  }
  float* to = destination.data<float>();
  if (residual.dtype() == DType::kU8) {
    convert_codes(residual.data<std::uint8_t>(), residual.elements(), residual_zero_point_, to);
  } else {
    convert_codes(residual.data<std::int8_t>(), residual.elements(), residual_zero_point_, to);
  }
}

void Int8Product::Impl::run(ConstTensorView source, ConstTensorView residual,
                            TensorView destination) {
  require(
      source.dtype() == problem_.source_dtype && source.elements() == problem_.source.elements(),
      [&] {
        return cat("a source ", to_word(problem_.source_dtype), " ", to_string(problem_.source));
      },
      source);
  require(
      destination.dtype() == problem_.destination_dtype &&
          destination.elements() == dims_.output.elements(),
      [&] {
        return cat("a destination ", to_word(problem_.destination_dtype), " ",
                   to_string(dims_.output));
      },
      destination);
  if (problem_.residual) {
    require(
        residual.dtype() == problem_.residual_dtype &&
            residual.elements() == destination.elements(),
        [&] {
          return cat("a residual ", to_word(problem_.residual_dtype), " ", to_string(dims_.output));
        },
        residual);
    place_residual(residual, destination);
  }
  // In the order of plan(); absent arguments leave no gap.
  const void* pointers[6] = {source.raw(), weight_.raw(), destination.raw()};
  std::size_t count = 3;
  if (!is_bare(problem_)) pointers[count++] = scale_.raw();
  if (problem_.source_zero_point) pointers[count++] = zero_point_.raw();
  if (has_bias(problem_)) pointers[count++] = bias_.raw();
  product_.run({pointers[0], pointers[1], pointers[2], pointers[3], pointers[4], pointers[5]},
               static_cast<std::byte*>(scratch_.raw()));
}

Int8Product::Int8Product(const Int8Problem& problem) : impl_(std::make_unique<Impl>(problem)) {}
Int8Product::~Int8Product() = default;
Int8Product::Int8Product(Int8Product&&) noexcept = default;
Int8Product& Int8Product::operator=(Int8Product&&) noexcept = default;

void Int8Product::set_weights(ConstTensorView weight_s8) { impl_->set_weights(weight_s8); }

void Int8Product::set_scales(ConstTensorView multiplier, ConstTensorView bias) {
  impl_->set_scales(multiplier, bias);
}

void Int8Product::set_source_zero_point(std::int32_t zero_point) {
  impl_->set_source_zero_point(zero_point);
}

void Int8Product::set_residual(float ratio, std::int32_t zero_point) {
  impl_->set_residual({.ratio = ratio, .zero_point = zero_point});
}

void Int8Product::run(ConstTensorView source, ConstTensorView residual, TensorView destination) {
  impl_->run(source, residual, destination);
}

std::string Int8Product::implementation() const { return impl_->implementation(); }
Shape Int8Product::destination() const { return impl_->output(); }
std::size_t Int8Product::memory_bytes() const { return impl_->memory_bytes(); }

}  // namespace bitloom::kernels
