#include "session_plan.h"

#include "bitloom/backends/tune.h"
#include "bitloom/core/error.h"
#include "bitloom/integer/profile.h"
#include "bitloom/integer/tuned_plan.h"
#include "bitloom/kernels/bf16_convert.h"

namespace bitloom::backends {
namespace {

int activation_bits(const LayerContext& context) {
  if (context.layer.mode == integer::ComputeMode::kDynamic) return context.layer.source_format.bits;
  return context.input(0).dtype == DType::kF32 ? 32 : context.input(0).format.bits;
}

}  // namespace

void check_profile(const integer::Model& model, const Backend& backend) {
  if (model.profile.empty() || !backend.sums_pairs) return;
  const std::string objection =
      integer::profile_objection(integer::profile_named(model.profile), effective_isa());
  if (objection.empty()) return;
  throw BackendError(cat("backend ", backend.name, ": ", objection,
                         "; export with --profile=int8-reduced or run with --backend=reference"));
}

std::vector<std::string> preferred_implementations(const integer::Model& model,
                                                   const SessionOptions& options) {
  if (options.prefer.empty()) {
    if (model.tuned.empty()) return {};
    const integer::TunedPlan* plan = integer::find_tuned(model.tuned, tuned_for(options));
    return plan == nullptr || plan->implementations.size() != model.layers.size()
               ? std::vector<std::string>()
               : plan->implementations;
  }
  if (options.prefer.size() != model.layers.size()) {
    throw ConfigError({.place = "preferred implementations",
                       .expected = cat("one a layer, ", model.layers.size()),
                       .found = cat(options.prefer.size()),
                       .remedy = ""});
  }
  return options.prefer;
}

PlanRow row_of(const LayerContext& context) {
  return {.layer = context.layer.name,
          .op = std::string(integer::to_word(context.layer.op)),
          .mode = std::string(integer::to_word(context.layer.mode)),
          .weight_bits = context.layer.weight_bits,
          .activation_bits = activation_bits(context),
          .chosen = "",
          .implementation = "",
          .isa = std::string(to_word(context.isa)),
          .declined = ""};
}

std::vector<integer::TensorInfo> carried_tensors(const integer::Model& model,
                                                 const Backend& backend) {
  std::vector<integer::TensorInfo> tensors = model.tensors;
  if (!backend.bf16) return tensors;
  for (std::size_t i = 0; i + 1 < tensors.size(); ++i) {
    if (tensors[i].dtype == DType::kF32) tensors[i].dtype = DType::kBf16;
  }
  return tensors;
}

Tensor carried_table(const Tensor& table, DType dtype) {
  if (table.dtype() == dtype || dtype != DType::kBf16) return table.clone();
  Tensor out(dtype, table.shape());
  kernels::to_bf16(table.data<float>(), 1, table.elements(), nullptr, out.data<Bf16>());
  return out;
}

}  // namespace bitloom::backends
