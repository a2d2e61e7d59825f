#include "bitloom/quant/quantize.h"

#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/quant/adaround.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/bias_correction.h"
#include "bitloom/quant/equalize.h"
#include "bitloom/quant/passes.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

void log_equalization(const Equalization& done) {
  log_info(cat("equalize: ", done.pairs, " pairs of layers, rows of ", done.balanced, " weights, ",
               done.sweeps, " sweeps"));
}

void log_rounding(const std::vector<LearnedRounding>& learned) {
  for (const LearnedRounding& layer : learned) {
    log_info(cat("adaround: ", layer.layer, ": error ", layer.nearest_loss, " to nearest, ",
                 layer.learned_loss, " learned (", layer.moved, " weights moved)",
                 layer.kept ? "" : "; kept to nearest"));
  }
}

void log_biases(const std::vector<BiasCorrection>& corrected) {
  for (const BiasCorrection& layer : corrected) {
    log_info(cat("bias correction: ", layer.layer, ": mean shift ", layer.mean_shift));
  }
}

}  // namespace

layers::Graph quantize_network(const layers::Graph& graph, layers::ParameterStore& store,
                               const QuantOptions& options, const QuantizeTarget& target,
                               const CalibrationBatches& batches, std::int64_t batch) {
  const layers::Graph start = options.fold_batch_norm ? fold_batch_norm(graph, store) : graph;
  if (options.equalize) log_equalization(equalize(start, store));
  const bool needs_float = options.adaround || options.bias_correction;
  layers::ParameterStore float_store =
      needs_float ? clone(store) : layers::ParameterStore(store.seed());
  const layers::Graph inserted =
      insert_fake_quant(start, options, target.profile, target.input_is_signed);
  const layers::Graph quantized =
      calibrate(inserted, store, batches, batch, calibration_options(options));
  if (options.adaround) {
    log_rounding(
        adaround(quantized, store, float_store, batches, batch, {.steps = options.adaround_steps}));
  }
  if (options.bias_correction) {
    log_biases(correct_biases(quantized, store, float_store, batches, batch));
  }
  return quantized;
}

}  // namespace bitloom::quant
