#include "bitloom/quant/passes.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "experiment.h"
#include "probe.h"

namespace bitloom::trainers {

void quantize(const QuantizeRequest& request) {
  if (!request.config.quant.method.starts_with("ptq-")) {
    throw ConfigError(ErrorText{"quant.method", "ptq-static, ptq-dynamic or ptq-weight-only",
                                request.config.quant.method,
                                "quantization-aware training is `bitloom train`"});
  }
  train::Checkpoint checkpoint = train::load_trained(request.checkpoint);
  if (checkpoint.method != "float") {
    throw ConfigError(ErrorText{request.checkpoint.string(), "a float checkpoint",
                                checkpoint.method,
                                "quantize the run that trained the float network"});
  }
  Config config = config_for(checkpoint, request.config, request.checkpoint);
  const Experiment experiment(config);
  resolve_auto_bits(config, checkpoint, experiment);
  quantize_checkpoint(checkpoint, config, experiment);
  checkpoint.config_text = to_ini(config);
  checkpoint.environment = train::current_environment(checkpoint.environment.precision);
  train::save_checkpoint(request.out, checkpoint);
}

}  // namespace bitloom::trainers
