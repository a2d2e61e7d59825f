#include "memory_plan.h"

#include <algorithm>

#include "bitloom/core/arena.h"

namespace bitloom::layers {
namespace {

class Planner {
 public:
  Planner(std::span<const PlanNode> nodes, bool training, bool keep_all)
      : nodes_(nodes),
        count_(static_cast<int>(nodes.size())),
        training_(training),
        keep_all_(keep_all),
        last_step_(training ? 2 * count_ - 1 : count_ - 1),
        gradient_owner_(nodes.size()) {
    plan_.nodes.resize(nodes.size());
  }

  MemoryPlan run() {
    find_backward_nodes();
    find_value_owners();
    place_values();
    if (training_) {
      find_contributions();
      place_gradients();
    }
    place_calls();
    const ArenaPlan arena = plan_arena(lifetimes_);
    for (std::size_t i = 0; i < targets_.size(); ++i) *targets_[i] = arena.offsets[i];
    share_with_owners();
    plan_.total = arena.total;
    return std::move(plan_);
  }

 private:
  static constexpr std::size_t kElsewhere = NodePlacement::kElsewhere;

  const PlanNode& node(int i) const { return nodes_[static_cast<std::size_t>(i)]; }
  NodePlacement& place(int i) { return plan_.nodes[static_cast<std::size_t>(i)]; }
  int& gradient_owner(int i) { return gradient_owner_[static_cast<std::size_t>(i)]; }
  int backward_step(int i) const { return 2 * count_ - 1 - i; }
  // The node whose layer writes the value and reads the gradient: itself, mostly.
  int maker(int i) const { return node(i).memory.carried ? node(i).inputs[0] : i; }
  bool is_output(int i) const { return i == count_ - 1; }

  bool reads_input(int reader, std::size_t position) const {
    const auto& reads = node(reader).memory.backward_reads_input;
    return position < reads.size() && reads[position];
  }

  // A node runs backward if its gradient is needed and some path leads from it to the output.
  void find_backward_nodes() {
    if (!training_) return;
    place(count_ - 1).runs_backward = node(count_ - 1).needs_gradient;
    for (int i = count_ - 1; i >= 0; --i) {
      if (!place(i).runs_backward) continue;
      for (const int input : node(i).inputs) {
        place(input).runs_backward |= node(input).needs_gradient;
      }
    }
  }

  // Whether reader i may overwrite its input 0: nobody else reads that content, now or later.
  // `content` maps a node to the first node that shows the same content (flatten shows its
  // input's).
  bool may_overwrite(int i, const std::vector<int>& content) {
    const PlanNode& reader = node(i);
    if (keep_all_ || !reader.memory.forward_in_place) return false;
    const int input = reader.inputs[0];
    const int owner = place(input).value_owner;
    if (node(owner).external_value || node(input).value_bytes != reader.value_bytes) return false;
    const int shown = content[static_cast<std::size_t>(input)];
    int uses = 0;
    for (int j = 0; j < count_; ++j) {
      const bool read_later =
          is_output(j) || (place(j).runs_backward && node(j).memory.backward_reads_output);
      if (content[static_cast<std::size_t>(j)] == shown && read_later) return false;
      for (std::size_t k = 0; k < node(j).inputs.size(); ++k) {
        const int from = node(j).inputs[k];
        if (content[static_cast<std::size_t>(from)] != shown) continue;
        if (place(j).runs_backward && reads_input(j, k)) return false;
        if (!node(j).memory.aliases_input) ++uses;
      }
    }
    return uses == 1;
  }

  void find_value_owners() {
    std::vector<int> content(nodes_.size());
    for (int i = 0; i < count_; ++i) {
      content[static_cast<std::size_t>(i)] =
          node(i).memory.aliases_input ? content[static_cast<std::size_t>(node(i).inputs[0])] : i;
    }
    for (int i = 0; i < count_; ++i) {
      const bool shares = node(i).memory.aliases_input || may_overwrite(i, content);
      place(i).value_owner = shares ? place(node(i).inputs[0]).value_owner : i;
    }
  }

  int add_lifetime(std::size_t bytes, int first, int last, std::size_t* target) {
    lifetimes_.push_back({bytes, first, last});
    targets_.push_back(target);
    return static_cast<int>(lifetimes_.size()) - 1;
  }

  void place_values() {
    std::vector<int> lifetime(nodes_.size(), -1);
    for (int i = 0; i < count_; ++i) {
      const int owner = place(i).value_owner;
      if (node(owner).external_value) continue;
      if (owner == i) {
        lifetime[static_cast<std::size_t>(i)] =
            add_lifetime(node(i).value_bytes, maker(i), i, &place(i).value);
      }
      const auto extend = [&](int step) {
        int& last =
            lifetimes_[static_cast<std::size_t>(lifetime[static_cast<std::size_t>(owner)])].last;
        last = std::max(last, step);
      };
      extend(i);
      if (keep_all_ || is_output(i)) extend(last_step_);
      if (place(i).runs_backward && node(i).memory.backward_reads_output) extend(backward_step(i));
      for (int reader = i + 1; reader < count_; ++reader) {
        for (std::size_t k = 0; k < node(reader).inputs.size(); ++k) {
          if (node(reader).inputs[k] != i) continue;
          extend(reader);
          if (place(reader).runs_backward && reads_input(reader, k)) extend(backward_step(reader));
        }
      }
    }
  }

  // First contribution (latest reader) writes the gradient; the others get a summand. A first
  // contribution may reuse the reader's own gradient, which is dead after it.
  void find_contributions() {
    std::vector<bool> written(nodes_.size(), false);
    for (int i = 0; i < count_; ++i) gradient_owner(i) = i;
    for (int reader = count_ - 1; reader >= 0; --reader) {
      const PlanNode& from = node(reader);
      place(reader).summand.assign(from.inputs.size(), kElsewhere);
      place(reader).writes_second.assign(from.inputs.size(), false);
      if (!place(reader).runs_backward || from.memory.carried) continue;
      const bool passes = from.memory.passes_gradient && !from.gradient_in_terms && !keep_all_ &&
                          second_fits(reader, written);
      const bool second_in_place =
          passes || (from.memory.backward_in_place_of_second && second_fits(reader, written));
      place(reader).passes_gradient = passes;
      for (std::size_t k = 0; k < from.inputs.size(); ++k) {
        const int input = from.inputs[k];
        if (!place(input).runs_backward) continue;
        if (written[static_cast<std::size_t>(input)]) {
          if (node(input).gradient_in_terms) {
            place(reader).writes_second[k] = true;
            second_terms_.push_back({reader, k});
          } else if (k == 0 && from.memory.backward_adds && !keep_all_) {
            place(reader).adds = true;
          } else {
            summands_.push_back({reader, k});
          }
          continue;
        }
        written[static_cast<std::size_t>(input)] = true;
        const bool first_in_place =
            !second_in_place && from.memory.backward_in_place && fits_gradient(reader, input);
        if (k == 1 ? second_in_place : k == 0 && first_in_place) {
          gradient_owner(input) = gradient_owner(reader);
        }
      }
    }
  }

  // Whether an input's gradient may take the memory of its reader's own.
  bool fits_gradient(int reader, int input) const {
    return !is_output(reader) && !node(input).external_gradient &&
           node(reader).gradient_bytes == node(input).gradient_bytes;
  }

  // Whether the gradient of input 1 may take that memory; nobody has written to it so far.
  bool second_fits(int reader, const std::vector<bool>& written) {
    const PlanNode& from = node(reader);
    if (from.inputs.size() != 2) return false;
    const int shortcut = from.inputs[1];
    return shortcut != from.inputs[0] && place(shortcut).runs_backward &&
           !written[static_cast<std::size_t>(shortcut)] && fits_gradient(reader, shortcut);
  }

  void place_gradients() {
    std::vector<int> lifetime(nodes_.size(), -1);
    for (int i = count_ - 2; i >= 0; --i) {  // the output's gradient is the caller's
      if (!place(i).runs_backward || node(i).external_gradient) continue;
      const int owner = gradient_owner(i);
      if (owner == i) {
        lifetime[static_cast<std::size_t>(i)] =
            add_lifetime(node(i).gradient_bytes, first_contribution(i), backward_step(maker(i)),
                         &place(i).gradient);
      } else {
        Lifetime& shared =
            lifetimes_[static_cast<std::size_t>(lifetime[static_cast<std::size_t>(owner)])];
        shared.last = std::max(shared.last, backward_step(maker(i)));
      }
    }
    for (const auto& [reader, k] : second_terms_) {
      const int input = node(reader).inputs[k];
      add_lifetime(node(input).gradient_bytes, backward_step(reader), backward_step(input),
                   &place(input).second_gradient);
    }
    for (const auto& [reader, k] : summands_) {
      add_lifetime(node(node(reader).inputs[k]).gradient_bytes, backward_step(reader),
                   backward_step(reader), &place(reader).summand[k]);
    }
  }

  int first_contribution(int i) {
    for (int reader = count_ - 1; reader > i; --reader) {
      if (!place(reader).runs_backward || node(reader).memory.carried) continue;
      if (std::ranges::find(node(reader).inputs, i) != node(reader).inputs.end()) {
        return backward_step(reader);
      }
    }
    return backward_step(i);
  }

  void place_calls() {
    for (int i = 0; i < count_; ++i) {
      const LayerMemory& memory = node(i).memory;
      const int end = place(i).runs_backward ? backward_step(i) : i;
      add_lifetime(memory.saved_bytes, i, end, &place(i).saved);
      add_lifetime(memory.scratch_bytes, i, i, &place(i).forward_scratch);
      if (!place(i).runs_backward) continue;
      add_lifetime(memory.scratch_bytes, end, end, &place(i).backward_scratch);
    }
  }

  void share_with_owners() {
    for (int i = 0; i < count_; ++i) {
      place(i).value = place(place(i).value_owner).value;
      if (training_ && place(i).runs_backward)
        place(i).gradient = place(gradient_owner(i)).gradient;
    }
  }

  struct Summand {
    int reader;
    std::size_t input;
  };

  std::span<const PlanNode> nodes_;
  int count_;
  bool training_;
  bool keep_all_;
  int last_step_;
  std::vector<int> gradient_owner_;
  std::vector<Summand> summands_;
  std::vector<Summand> second_terms_;
  std::vector<Lifetime> lifetimes_;
  std::vector<std::size_t*> targets_;
  MemoryPlan plan_;
};

}  // namespace

MemoryPlan plan_memory(std::span<const PlanNode> nodes, bool training, bool keep_all) {
  return Planner(nodes, training, keep_all).run();
}

}  // namespace bitloom::layers
