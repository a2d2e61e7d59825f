#include "bitloom/backends/session.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <cstring>

#include "backend.h"
#include "bitloom/core/arena.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/kernels/encode_pixels.h"
#include "bitloom/kernels/sign_bits.h"
#include "buffer_plan.h"
#include "session_plan.h"

namespace bitloom::backends {
namespace {

/// Hands what was freed back to the system: the plain weights, and what planning took meanwhile.
void return_free_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

/// Sign bits of codes [N, C, ...]: s32 [N, sign_words(C), ...].
Shape shape_of_bits(const Shape& codes) {
  const std::int64_t words = kernels::sign_words(codes.c());
  if (codes.rank() == 2) return {codes.n(), words};
  return {codes.n(), words, codes.h(), codes.w()};
}

}  // namespace

class Session::Impl {
 public:
  /// `owned` is empty, or what `model` refers to.
  Impl(const integer::Model& model, std::unique_ptr<integer::Model> owned,
       const SessionOptions& options)
      : owned_(std::move(owned)), model_(model), options_(options) {
    if (options.batch < 1) {
      throw ConfigError(
          {.place = "batch", .expected = "1 or more", .found = cat(options.batch), .remedy = ""});
    }
    const Backend& backend = backend_named(options.backend);
    check_profile(model, backend);
    prefer_ = preferred_implementations(model, options);
    infos_ = carried_tensors(model, backend);
    table_ = carried_table(model.input_table, infos_.front().dtype);
    plan_layers(backend);
    plan_bits();
    plan_places();
    plan_memory();
    if (owned_ != nullptr) return_free_memory();
  }

  const integer::Model& model() const { return model_; }

  void run(ConstTensorView images, TensorView logits, LapClock* clock);

  const std::vector<PlanRow>& plan() const { return plan_; }

  std::size_t memory_bytes() const {
    std::size_t sum = arena_.bytes();
    for (const Step& step : steps_) sum += step.runner->memory_bytes();
    return sum;
  }

  ConstTensorView tensor(int index) const {
    if (!options_.keep_all_tensors) return {};
    const auto i = static_cast<std::size_t>(index);
    const TensorView& tensor = tensors_.at(i);
    if (!bits_[i]) return tensor;
    const integer::TensorInfo& info = infos_[i];
    const Shape shape = info.shape.with_batch(options_.batch);
    if (unpacked_[i].empty()) unpacked_[i] = Tensor(info.dtype, shape);
    kernels::unpack_signs(static_cast<const std::uint32_t*>(tensor.raw()),
                          {shape.elements() / shape.c(), shape.c()},
                          unpacked_[i].data<std::int8_t>());
    return unpacked_[i];
  }

 private:
  struct Step {
    std::unique_ptr<LayerRunner> runner;
    std::vector<ConstTensorView> inputs;
    TensorView output;
  };

  void plan_layers(const Backend& backend);
  std::string_view preferred(std::size_t layer) const {
    return prefer_.empty() ? std::string_view() : prefer_[layer];
  }
  void plan_bits();
  void plan_places();
  void plan_memory();
  void drop_plain_weights(std::size_t layer);

  std::unique_ptr<integer::Model> owned_;
  const integer::Model& model_;
  SessionOptions options_;
  std::vector<std::string> prefer_;  ///< one a layer, or none
  std::vector<integer::TensorInfo> infos_;
  Tensor table_;  ///< pixels to tensors[0]
  std::vector<PlanRow> plan_;
  std::vector<Step> steps_;
  std::vector<TensorView> tensors_;
  std::vector<int> hosts_;                ///< per tensor: the concat's that it lies in, or -1
  std::vector<std::int64_t> first_byte_;  ///< per tensor: of its first pixel in there
  std::vector<bool> bits_;                ///< per tensor: sign bits instead of codes
  mutable std::vector<Tensor> unpacked_;  ///< codes of such tensors, for those who ask
  std::span<std::byte> scratch_;
  Tensor arena_;
};

void Session::Impl::plan_layers(const Backend& backend) {
  std::vector<Implementation> implementations = backend.implementations;
  if (options_.fallback_to_reference && backend.name != "reference") {
    implementations.push_back({"reference", plan_reference});
  }
  std::string refused;
  for (const integer::Layer& layer : model_.layers) {
    const LayerContext context{.model = model_,
                               .layer = layer,
                               .tensors = infos_,
                               .batch = options_.batch,
                               .isa = effective_isa()};
    Choice choice = choose(implementations, context, preferred(plan_.size()));
    PlanRow row = row_of(context);
    row.chosen = choice.name;
    row.declined = choice.declined;
    if (choice.runner == nullptr) {
      const std::string reason =
          choice.declined.empty() ? cat(backend.name, " does not run ", integer::to_word(layer.op))
                                  : choice.declined;
      refused += cat(refused.empty() ? "" : "\n  ", layer.name, ": ", reason);
    } else {
      row.implementation = choice.runner->implementation();
      steps_.push_back({.runner = std::move(choice.runner), .inputs = {}, .output = {}});
      drop_plain_weights(plan_.size());
    }
    plan_.push_back(std::move(row));
  }
  if (refused.empty()) return;
  throw BackendError(cat("backend ", backend.name, " cannot run these layers:\n  ", refused,
                         "\n  pass --fallback=reference to run them on the reference executor"));
}

/// At once, not after the last: a session never holds the weights of all layers twice.
void Session::Impl::drop_plain_weights(std::size_t layer) {
  if (owned_ == nullptr || steps_.back().runner->reads_plain_weights()) return;
  owned_->layers[layer].weight = Tensor();
}

/// A binary tensor stays packed where the layer that makes it and all that read it know bits.
void Session::Impl::plan_bits() {
  const std::size_t count = model_.tensors.size();
  bits_.assign(count, false);
  unpacked_.resize(count);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const auto output = static_cast<std::size_t>(model_.layers[i].output);
    bits_[output] = output + 1 < count && infos_[output].format.grid == integer::Grid::kBinary &&
                    steps_[i].runner->can_write_bits();
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const std::vector<int>& inputs = model_.layers[i].inputs;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      if (k > 0 || !steps_[i].runner->can_read_bits()) {
        bits_[static_cast<std::size_t>(inputs[k])] = false;
      }
    }
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const integer::Layer& layer = model_.layers[i];
    steps_[i].runner->use_bits(bits_[static_cast<std::size_t>(layer.inputs[0])],
                               bits_[static_cast<std::size_t>(layer.output)]);
    plan_[i].implementation = steps_[i].runner->implementation();
  }
}

/// What a concat alone reads is written into the concat's memory, where its maker can do that.
void Session::Impl::plan_places() {
  const std::size_t count = model_.tensors.size();
  hosts_.assign(count, -1);
  first_byte_.assign(count, 0);
  if (options_.keep_all_tensors) return;
  std::vector<int> readers(count, 0);
  std::vector<LayerRunner*> makers(count, nullptr);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    makers[static_cast<std::size_t>(model_.layers[i].output)] = steps_[i].runner.get();
    for (const int input : model_.layers[i].inputs) ++readers[static_cast<std::size_t>(input)];
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i].runner->takes_inputs_in_place()) continue;
    const integer::Layer& layer = model_.layers[i];
    const integer::TensorInfo& host = infos_[static_cast<std::size_t>(layer.output)];
    const auto size = static_cast<std::int64_t>(size_of(host.dtype));
    std::int64_t first = 0;
    int placed = 0;
    for (const int input : layer.inputs) {
      const auto tensor = static_cast<std::size_t>(input);
      if (readers[tensor] == 1 && makers[tensor] != nullptr && makers[tensor]->can_write_apart() &&
          !bits_[tensor]) {
        hosts_[tensor] = layer.output;
        first_byte_[tensor] = first;
        makers[tensor]->write_apart(host.shape.c() * size);
        ++placed;
      }
      first += infos_[tensor].shape.c() * size;
    }
    if (placed > 0) plan_[i].implementation += cat(", ", placed, " in place");
  }
}

void Session::Impl::plan_memory() {
  std::vector<TensorView> views;  // without their memory
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < model_.tensors.size(); ++i) {
    const integer::TensorInfo& info = infos_[i];
    const Shape shape = info.shape.with_batch(options_.batch);
    views.push_back(bits_[i] ? TensorView(DType::kS32, shape_of_bits(shape), nullptr)
                             : TensorView(info.dtype, shape, nullptr));
    sizes.push_back(views.back().bytes());
  }
  BufferPlan buffers = options_.keep_all_tensors ? plan_separate_buffers(model_, sizes)
                                                 : plan_buffers(model_, sizes, hosts_);
  const int steps = static_cast<int>(steps_.size());
  std::size_t scratch_bytes = 0;
  for (const Step& step : steps_) {
    scratch_bytes = std::max(scratch_bytes, step.runner->scratch_bytes());
  }
  buffers.lifetimes.push_back({scratch_bytes, 0, steps});
  const ArenaPlan arena = plan_arena(buffers.lifetimes);
  arena_ = Tensor(DType::kU8, Shape{static_cast<std::int64_t>(arena.total)});
  std::byte* base = static_cast<std::byte*>(arena_.raw());
  scratch_ = {base + arena.offsets.back(), scratch_bytes};
  for (std::size_t i = 0; i < model_.tensors.size(); ++i) {
    tensors_.emplace_back(views[i].dtype(), views[i].shape(),
                          base + arena.offsets[buffers.buffer_of[i]] + first_byte_[i]);
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const integer::Layer& layer = model_.layers[i];
    for (const int input : layer.inputs) {
      steps_[i].inputs.push_back(tensors_[static_cast<std::size_t>(input)]);
    }
    steps_[i].output = tensors_[static_cast<std::size_t>(layer.output)];
  }
}

void Session::Impl::run(ConstTensorView images, TensorView logits, LapClock* clock) {
  const TensorView& input = tensors_.front();
  const TensorView& output = tensors_.back();
  const std::int64_t count = images.shape().n();
  if (images.dtype() != DType::kU8 || count < 1 || count > options_.batch ||
      images.shape() != input.shape().with_batch(count)) {
    throw ShapeError({.place = "session input",
                      .expected = cat("u8 ", to_string(input.shape()), " or fewer images"),
                      .found = cat(to_word(images.dtype()), " ", to_string(images.shape())),
                      .remedy = ""});
  }
  const Shape wanted = output.shape().with_batch(count);
  if (logits.dtype() != output.dtype() || logits.shape() != wanted) {
    throw ShapeError({.place = "session logits",
                      .expected = cat(to_word(output.dtype()), " ", to_string(wanted)),
                      .found = cat(to_word(logits.dtype()), " ", to_string(logits.shape())),
                      .remedy = ""});
  }
  const TensorView used(input.dtype(), input.shape().with_batch(count), input.raw());
  kernels::encode_pixels(images, table_, used);
  std::memset(static_cast<std::byte*>(input.raw()) + used.bytes(), 0, input.bytes() - used.bytes());
  lap(clock, Lap::kData);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (clock != nullptr) clock->enter(i);
    Step& step = steps_[i];
    step.runner->run(step.inputs, step.output, scratch_);
    lap(clock, Lap::kForward);
  }
  if (clock != nullptr) clock->leave();
  std::memcpy(logits.raw(), output.raw(), logits.bytes());
  lap(clock, Lap::kData);
}

Session::Session(const integer::Model& model, const SessionOptions& options)
    : impl_(std::make_unique<Impl>(model, nullptr, options)) {}
Session::Session(integer::Model&& model, const SessionOptions& options) {
  auto owned = std::make_unique<integer::Model>(std::move(model));
  const integer::Model& kept = *owned;
  impl_ = std::make_unique<Impl>(kept, std::move(owned), options);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

void Session::run(ConstTensorView images_u8, TensorView logits, LapClock* clock) {
  impl_->run(images_u8, logits, clock);
}
const integer::Model& Session::model() const { return impl_->model(); }
const std::vector<PlanRow>& Session::plan() const { return impl_->plan(); }
std::size_t Session::memory_bytes() const { return impl_->memory_bytes(); }
ConstTensorView Session::tensor(int index) const { return impl_->tensor(index); }

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const Backend& backend : all_backends()) names.emplace_back(backend.name);
  return names;
}

}  // namespace bitloom::backends
