#include "bitloom/integer/reference.h"

#include "backend.h"

namespace bitloom::backends {
namespace {

class OwnLoopsRunner final : public LayerRunner {
 public:
  OwnLoopsRunner(const LayerContext& context, std::string implementation)
      : model_(context.model),
        layer_(context.layer),
        implementation_(std::move(implementation)),
        scratch_bytes_(integer::scratch_bytes(context.model, context.layer, context.batch)) {}

  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    integer::run_layer(model_, layer_, inputs, output, scratch);
  }
  std::string implementation() const override { return implementation_; }
  std::size_t scratch_bytes() const override { return scratch_bytes_; }
  bool takes_inputs_in_place() const override { return layer_.op == integer::LayerOp::kConcat; }

 private:
  const integer::Model& model_;
  const integer::Layer& layer_;
  std::string implementation_;
  std::size_t scratch_bytes_;
};

}  // namespace

std::unique_ptr<LayerRunner> own_loops(const LayerContext& context, std::string implementation) {
  return std::make_unique<OwnLoopsRunner>(context, std::move(implementation));
}

PlanResult plan_reference(const LayerContext& context) {
  if (context.input(0).dtype == DType::kBf16) return Declined{"computes with f32, not with bf16"};
  return own_loops(context, "reference");
}

}  // namespace bitloom::backends
