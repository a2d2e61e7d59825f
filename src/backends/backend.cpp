#include "backend.h"

#include "bitloom/core/error.h"

namespace bitloom::backends {

const std::vector<Backend>& all_backends() {
  static const std::vector<Backend> backends{
      {.name = "onednn",
       .implementations = {{"xnor", plan_faster_xnor},
                           {"own", plan_own},
                           {"onednn", plan_onednn},
                           {"onednn-next", plan_onednn_next},
                           {"own-vnni", plan_own_vnni}},
       .sums_pairs = true},
      {.name = "onednn-bf16", .implementations = {{"onednn-bf16", plan_bf16}}, .bf16 = true},
      {.name = "reference", .implementations = {{"reference", plan_reference}}},
      {.name = "xnor", .implementations = {{"xnor", plan_xnor}}},
      {.name = "cudnn", .implementations = {{"cudnn", plan_cudnn}}}};
  return backends;
}

const Backend& backend_named(std::string_view name) {
  std::string known;
  for (const Backend& backend : all_backends()) {
    if (backend.name == name) return backend;
    known += cat(known.empty() ? "" : ", ", backend.name);
  }
  throw ConfigError({.place = "backend",
                     .expected = "one of " + known,
                     .found = cat("'", name, "'"),
                     .remedy = ""});
}

Choice choose(const std::vector<Implementation>& implementations, const LayerContext& context,
              std::string_view preferred) {
  Choice choice;
  const auto takes = [&](const Implementation& implementation) {
    PlanResult result = implementation.plan(context);
    if (auto* runner = std::get_if<std::unique_ptr<LayerRunner>>(&result)) {
      choice.runner = std::move(*runner);
      choice.name = implementation.name;
      return true;
    }
    const std::string& reason = std::get<Declined>(result).reason;
    if (!reason.empty()) {
      choice.declined +=
          cat(choice.declined.empty() ? "" : "; ", implementation.name, ": ", reason);
    }
    return false;
  };
  for (const Implementation& implementation : implementations) {
    if (implementation.name == preferred && takes(implementation)) return choice;
  }
  for (const Implementation& implementation : implementations) {
    if (implementation.name != preferred && takes(implementation)) return choice;
  }
  return choice;
}

}  // namespace bitloom::backends
