#include "bitloom/quant/passes.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "experiment.h"

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
  // The network and its data are the checkpoint's; how to quantize is the request's.
  Config config = config_from_ini(checkpoint.config_text, request.checkpoint.string());
  config.quant = request.config.quant;
  config.profile = request.config.quant.method == "ptq-weight-only"
                       ? ""
                       : usable_profile(request.config.profile).name;
  config.threads = request.config.threads;
  config.isa = request.config.isa;
  config.data.path = request.config.data.path;
  const Experiment experiment(config);
  quantize_checkpoint(checkpoint, config, experiment);
  checkpoint.config_text = to_ini(config);
  checkpoint.environment = train::current_environment(checkpoint.environment.precision);
  train::save_checkpoint(request.out, checkpoint);
}

}  // namespace bitloom::trainers
