// Binary and ternary layers on popcount kernels: products, the signs of reals, max pooling of bits.
#include "backend.h"
#include "bitloom/core/error.h"

#include "bitloom/integer/reference.h"
#include "bitloom/kernels/popcount_product.h"
#include "bitloom/kernels/sign_bits.h"

namespace bitloom::backends {
namespace {

using integer::Grid;
using kernels::BitRows;

std::size_t aligned(std::size_t bytes) {
  return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
}

BitRows rows_of(const Shape& codes) { return {codes.elements() / codes.c(), codes.c()}; }

std::size_t bits_bytes(const Shape& codes) {
  const BitRows rows = rows_of(codes);
  return aligned(static_cast<std::size_t>(rows.pixels * kernels::sign_words(rows.channels)) *
                 sizeof(std::uint32_t));
}

std::uint32_t* words(std::byte* memory) { return reinterpret_cast<std::uint32_t*>(memory); }
std::uint32_t* words(TensorView bits) { return static_cast<std::uint32_t*>(bits.raw()); }
const std::uint32_t* words(ConstTensorView bits) {
  return static_cast<const std::uint32_t*>(bits.raw());
}

// A layer that may read and write sign bits. Where its neighbour knows only codes, they are
// converted here.
class BitRunner : public LayerRunner {
 public:
  explicit BitRunner(const LayerContext& context)
      : model_(context.model),
        layer_(context.layer),
        source_(context.input(0).shape.with_batch(context.batch)),
        output_(context.output().shape.with_batch(context.batch)) {}

  void use_bits(bool reads, bool writes) override {
    reads_ = reads;
    writes_ = writes;
  }

 protected:
  const integer::Model& model_;
  const integer::Layer& layer_;
  Shape source_, output_;  // of the codes
  bool reads_ = false;
  bool writes_ = false;
};

// Two scales: the weights +1 and -1 as outputs of their own.
Shape weight_shape(const integer::Layer& layer) {
  const Shape& shape = layer.weight.shape();
  return integer::has_two_scales(layer) ? shape.with_batch(2 * shape.n()) : shape;
}

kernels::PopcountProblem problem_of(const LayerContext& context) {
  return {.source = context.input(0).shape.with_batch(context.batch),
          .source_grid = context.input(0).format.grid,
          .weight = weight_shape(context.layer),
          .weight_grid = context.layer.weight_grid,
          .window = context.layer.window};
}

enum class Finish : std::uint8_t { kReals, kSigns, kRequantize };

class PopcountRunner final : public BitRunner {
 public:
  explicit PopcountRunner(const LayerContext& context)
      : BitRunner(context),
        binary_source_(context.input(0).format.grid == Grid::kBinary),
        product_(problem_of(context)),
        finish_(finish_of(context, product_)) {
    if (finish_ == Finish::kSigns) {
      product_.set_sign_weights(layer_.weight, layer_.multiplier, layer_.bias,
                                integer::code_range(layer_, context.output()));
      return;
    }
    if (integer::has_two_scales(layer_)) {
      Tensor split(DType::kS8, weight_shape(layer_));
      integer::split_codes(layer_.weight, split.data<std::int8_t>());
      product_.set_weights(split);
    } else {
      product_.set_weights(layer_.weight);
    }
    if (finish_ == Finish::kReals) product_.set_scales(layer_.multiplier, layer_.bias);
  }

  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    const kernels::PopcountSource source =
        reads_ ? kernels::PopcountSource{.bits = words(inputs[0])}
               : kernels::PopcountSource{.codes = inputs[0].data<std::int8_t>()};
    const ConstTensorView residual = inputs.size() == 2 ? inputs[1] : ConstTensorView();
    std::byte* own = scratch.data() + aligned(product_.scratch_bytes());
    switch (finish_) {
      case Finish::kReals:
        product_.run_reals(source,
                           {.out = output.data<float>(),
                            .residual = residual.empty() ? nullptr : residual.data<float>(),
                            .clip = layer_.clip},
                           scratch);
        return;
      case Finish::kSigns:
        product_.run_signs(source, writes_ ? words(output) : words(own), scratch);
        if (!writes_) {
          kernels::unpack_signs(words(own), rows_of(output_), output.data<std::int8_t>());
        }
        return;
      case Finish::kRequantize: {
        const TensorView acc(DType::kS32, product_.destination(), own);
        product_.run_sums(source, acc.data<std::int32_t>(), scratch);
        integer::requantize(model_, layer_, acc, residual, output);
        return;
      }
    }
  }

  std::string implementation() const override { return product_.implementation(); }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  std::size_t scratch_bytes() const override {
    const std::size_t spread = aligned(product_.scratch_bytes());
    if (finish_ == Finish::kSigns) return spread + (writes_ ? 0 : bits_bytes(output_));
    if (finish_ == Finish::kReals) return spread;
    return spread +
           static_cast<std::size_t>(product_.destination().elements()) * sizeof(std::int32_t);
  }
  bool can_read_bits() const override { return binary_source_; }
  bool can_write_bits() const override { return finish_ == Finish::kSigns; }

 private:
  static Finish finish_of(const LayerContext& context, const kernels::PopcountProduct& product) {
    const bool residual = context.layer.inputs.size() == 2;
    if (integer::has_two_scales(context.layer)) return Finish::kRequantize;
    if (context.output().dtype == DType::kF32) {
      const bool reals = !residual || context.input(1).dtype == DType::kF32;
      return reals ? Finish::kReals : Finish::kRequantize;
    }
    const bool signs = context.output().format.grid == Grid::kBinary && !residual;
    return signs && product.writes_signs() ? Finish::kSigns : Finish::kRequantize;
  }

  bool binary_source_;
  kernels::PopcountProduct product_;
  Finish finish_;
};

// Signs of reals, behind a batch norm or a threshold per channel.
class SignRunner final : public BitRunner {
 public:
  explicit SignRunner(const LayerContext& context)
      : BitRunner(context),
        packs_(context.input(0).dtype == DType::kF32 &&
               integer::code_range(layer_, context.output()) == integer::kBinaryFormat.range) {}

  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    if (writes_) {
      kernels::pack_signs(inputs[0].data<float>(), rows_of(output_),
                          layer_.multiplier.data<float>(), layer_.bias.data<float>(),
                          words(output));
    } else {
      integer::run_layer(model_, layer_, inputs, output, scratch);
    }
  }
  std::string implementation() const override {
    return writes_ ? "bitloom:pack_signs" : "bitloom:affine";
  }
  bool can_write_bits() const override { return packs_; }

 private:
  bool packs_;
};

class BitPoolRunner final : public BitRunner {
 public:
  explicit BitPoolRunner(const LayerContext& context) : BitRunner(context) {
    if (layer_.lowest.empty()) return;
    lowest_.resize(static_cast<std::size_t>(kernels::sign_words(source_.c())));
    for (std::int64_t c = 0; c < source_.c(); ++c) {
      const auto word = static_cast<std::size_t>(c / kernels::kSignsPerWord);
      if (layer_.lowest.data<std::uint8_t>()[c] != 0) {
        lowest_[word] |= 1U << (c % kernels::kSignsPerWord);
      }
    }
  }

  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    const std::uint32_t* source = words(inputs[0]);
    if (!reads_) {
      kernels::pack_codes(inputs[0].data<std::int8_t>(), rows_of(source_), words(scratch.data()),
                          nullptr);
      source = words(scratch.data());
    }
    std::byte* own = scratch.data() + bits_bytes(source_);
    std::uint32_t* pooled = writes_ ? words(output) : words(own);
    kernels::max_pool_signs(source, source_, layer_.window,
                            lowest_.empty() ? nullptr : lowest_.data(), pooled);
    if (!writes_) kernels::unpack_signs(pooled, rows_of(output_), output.data<std::int8_t>());
  }
  std::string implementation() const override { return "bitloom:max_pool_signs"; }
  std::size_t scratch_bytes() const override { return bits_bytes(source_) + bits_bytes(output_); }
  bool can_read_bits() const override { return true; }
  bool can_write_bits() const override { return true; }

 private:
  std::vector<std::uint32_t> lowest_;
};

// Why popcount does not take a product; "" where it does.
std::string objection(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  const bool codes = layer.mode == integer::ComputeMode::kStatic ||
                     layer.mode == integer::ComputeMode::kDynamic ||
                     layer.mode == integer::ComputeMode::kFixedPoint;
  if (codes && layer.weight_grid == Grid::kAffine) {
    return cat("weights have ", layer.weight_bits, " bits, popcount takes binary and ternary");
  }
  if (layer.mode != integer::ComputeMode::kStatic) return "activations are real";
  const integer::AffineFormat& source = context.input(0).format;
  if (source.grid == Grid::kAffine) {
    return cat("activations have ", source.bits, " bits, popcount takes binary and ternary");
  }
  return "";
}

PlanResult plan_product(const LayerContext& context) {
  const std::string reason = objection(context);
  if (!reason.empty()) return Declined{reason};
  try {
    return std::make_unique<PopcountRunner>(context);
  } catch (const BackendError& error) {
    return Declined{error.what()};
  }
}

// Why oneDNN's int8 kernels are faster; "" where they are not, or cannot run the layer at all.
std::string faster_int8(const LayerContext& context) {
  if (kernels::popcount_beats_int8(problem_of(context))) return "";
  if (!std::holds_alternative<std::unique_ptr<LayerRunner>>(plan_onednn(context))) return "";
  return cat("int8 kernels run these codes faster on ", to_word(context.isa));
}

}  // namespace

PlanResult plan_xnor(const LayerContext& context) {
  const bool signs = context.output().format.grid == Grid::kBinary;
  switch (context.layer.op) {
    case integer::LayerOp::kConv2d:
    case integer::LayerOp::kLinear:
      return plan_product(context);
    case integer::LayerOp::kMaxPool:
      if (signs) return std::make_unique<BitPoolRunner>(context);
      break;
    case integer::LayerOp::kAffine:
      if (signs) return std::make_unique<SignRunner>(context);
      break;
    default:
      break;
  }
  return Declined{""};
}

PlanResult plan_faster_xnor(const LayerContext& context) {
  if (context.is_product() && objection(context).empty()) {
    const std::string reason = faster_int8(context);
    if (!reason.empty()) return Declined{reason};
  }
  return plan_xnor(context);
}

}  // namespace bitloom::backends
