#include "buffer_plan.h"

#include <algorithm>

namespace bitloom::backends {

BufferPlan plan_buffers(const integer::Model& model, const std::vector<std::size_t>& sizes,
                        const std::vector<int>& hosts) {
  const int steps = static_cast<int>(model.layers.size());
  std::vector<int> last_read(model.tensors.size(), 0);
  for (int step = 1; step <= steps; ++step) {
    for (const int input : model.layers[static_cast<std::size_t>(step - 1)].inputs) {
      last_read[static_cast<std::size_t>(input)] = step;
    }
  }
  const auto bytes = [&](std::size_t tensor) { return sizes[tensor]; };
  BufferPlan plan{.buffer_of = std::vector<std::size_t>(model.tensors.size(), 0), .lifetimes = {}};
  plan.lifetimes.push_back({bytes(0), 0, last_read[0]});
  for (int step = 1; step <= steps; ++step) {
    const integer::Layer& layer = model.layers[static_cast<std::size_t>(step - 1)];
    const std::size_t output = static_cast<std::size_t>(layer.output);
    const int last = std::max(step, last_read[output]);
    if (hosts[output] >= 0) {
      const auto host = static_cast<std::size_t>(hosts[output]);
      if (plan.buffer_of[host] == 0) {  // buffer 0 is the input's
        plan.buffer_of[host] = plan.lifetimes.size();
        plan.lifetimes.push_back({bytes(host), step, std::max(last, last_read[host])});
      }
      plan.buffer_of[output] = plan.buffer_of[host];
      continue;
    }
    if (plan.buffer_of[output] != 0) continue;  // an input that it holds made it
    if (layer.inputs.size() == 2) {
      const std::size_t source = static_cast<std::size_t>(layer.inputs[0]);
      const std::size_t residual = static_cast<std::size_t>(layer.inputs[1]);
      if (last_read[residual] == step && bytes(residual) == bytes(output) &&
          plan.buffer_of[source] != plan.buffer_of[residual]) {
        plan.buffer_of[output] = plan.buffer_of[residual];
        plan.lifetimes[plan.buffer_of[output]].last = last;
        continue;
      }
    }
    plan.buffer_of[output] = plan.lifetimes.size();
    plan.lifetimes.push_back({bytes(output), step, last});
  }
  return plan;
}

BufferPlan plan_separate_buffers(const integer::Model& model,
                                 const std::vector<std::size_t>& sizes) {
  BufferPlan plan;
  for (const std::size_t size : sizes) {
    plan.buffer_of.push_back(plan.lifetimes.size());
    plan.lifetimes.push_back({size, 0, static_cast<int>(model.layers.size())});
  }
  return plan;
}

}  // namespace bitloom::backends
