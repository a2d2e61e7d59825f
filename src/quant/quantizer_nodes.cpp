#include "quantizer_nodes.h"

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

using layers::Node;

const std::string kStatic = "static";

Node fake_quant_of(const Node& value) {
  return {
      .name = cat(value.name, ".q"), .op = "fake_quant", .inputs = {value.name}, .attributes = {}};
}

void describe(Node& node, const integer::AffineFormat& format) {
  node.set("bits", cat(format.bits));
  node.set("dtype", format.is_signed ? "s8" : "u8");
  node.set("qmin", cat(format.range.qmin));
  node.set("qmax", cat(format.range.qmax));
  if (format.zero_point != 0) node.set("zero_point", cat(format.zero_point));
  if (format.grid != integer::Grid::kAffine) node.set("grid", std::string(to_word(format.grid)));
}

std::string rounding_quantizer(const QuantOptions& options, const LevelMethod* method) {
  if (options.method != "qat") return kStatic;
  return method == nullptr ? options.quantizer : std::string(method->affine);
}

}  // namespace

QuantizerNodes::QuantizerNodes(const QuantOptions& options, const integer::DeviceProfile& profile)
    : options_(options),
      profile_(profile),
      method_(level_method(options)),
      quantizer_(rounding_quantizer(options, method_)) {}

Node QuantizerNodes::weight(const Node& weight, std::optional<int> own_bits) const {
  Node quantizer = fake_quant_of(weight);
  if (method_ != nullptr && !own_bits) return level_weight(std::move(quantizer));
  const std::string kind = weight_quantizer();
  const integer::CodeRange range = profile_.weights(own_bits.value_or(options_.weight_bits),
                                                    options_.narrow_weights || kind == "dorefa");
  quantizer.set("quantizer", kind);
  describe(quantizer, {integer::DeviceProfile::bits_of(range), true, 0, range});
  quantizer.set(options_.per_channel ? "axis" : "weight", options_.per_channel ? "0" : "1");
  round_while_training(quantizer, kind);
  return quantizer;
}

Node QuantizerNodes::level_weight(Node quantizer) const {
  quantizer.set("quantizer", std::string(method_->weights));
  describe(quantizer, method_->grid == integer::Grid::kBinary ? integer::kBinaryFormat
                                                              : integer::kTernaryFormat);
  const bool per_channel = options_.per_channel && !method_->per_layer;
  quantizer.set(per_channel ? "axis" : "weight", per_channel ? "0" : "1");
  if (method_->bounded) quantizer.set("bound", "1");
  if (options_.lr_scaling != "none") quantizer.set("lr_scaling", options_.lr_scaling);
  return quantizer;
}

Node QuantizerNodes::activation(const Node& value, int bits, bool carries_sign) const {
  integer::AffineFormat format = profile_.activations(bits, carries_sign);
  Node quantizer = fake_quant_of(value);
  const std::string kind = activation_quantizer(value, carries_sign);
  const bool asymmetric = carries_sign && (options_.asymmetric || kind == "lsq+");
  quantizer.set("quantizer", kind);
  if (asymmetric) format = {bits, false, 1 << (bits - 1), {0, (1 << bits) - 1}};
  describe(quantizer, format);
  if (asymmetric) quantizer.set("asymmetric", "1");
  if (kind == "ema") quantizer.set("decay", cat(options_.ema_decay));
  if (kind == "pact") quantizer.set("alpha_decay", cat(options_.pact_decay));
  round_while_training(quantizer, kind);
  return quantizer;
}

Node QuantizerNodes::sign(const Node& value) const {
  Node quantizer = fake_quant_of(value);
  quantizer.set("quantizer", std::string(method_->signs));
  describe(quantizer, integer::kBinaryFormat);
  return quantizer;
}

std::string QuantizerNodes::weight_quantizer() const {
  if (quantizer_ == "pact") return "dorefa";
  return quantizer_ == "lsq+" ? "lsq" : quantizer_;
}

std::string QuantizerNodes::activation_quantizer(const Node& node, bool carries_sign) const {
  // Pixels do not change while training, and a learned or followed scale would need the first
  // convolution's backward-data pass: 11 ms of a lenet5 step on two cores.
  if (node.op == "input") return kStatic;
  // A ReLU's output starts at 0, which is a code without an offset.
  return quantizer_ == "lsq+" && !carries_sign ? "lsq" : quantizer_;
}

// Calibration rounds the scales that never move afterwards.
void QuantizerNodes::round_while_training(Node& quantizer, const std::string& kind) const {
  if (options_.power_of_two && kind != kStatic) quantizer.set("power_of_two", "1");
}

}  // namespace bitloom::quant
