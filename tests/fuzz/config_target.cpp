#include "bitloom/trainers/config.h"

#include <stdexcept>

#include "fuzz/target.h"

namespace bitloom::fuzz {
namespace {

/// What is read prints as INI that reads back to itself.
void run(std::string_view bytes) {
  const std::string text = trainers::to_ini(trainers::config_from_ini(std::string(bytes), "fuzz"));
  if (trainers::to_ini(trainers::config_from_ini(text, "again")) != text) {
    throw std::logic_error("a configuration's text does not read back");
  }
}

std::vector<std::string> seeds() {
  return {trainers::to_ini(trainers::Config()),
          "# comment\nseed = 3\n[quant]\nmethod = qat\nweight_bits = 4\n"};
}

}  // namespace

Target config_target() { return {"config", run, seeds}; }

}  // namespace bitloom::fuzz
