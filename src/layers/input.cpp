#include "bitloom/core/error.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// Network lets the edge be the images themselves.
class Input final : public Layer {
 public:
  explicit Input(const LayerContext& context) {
    const Shape shape = context.node.shape("shape");
    if (shape.rank() == 1) {
      edge_.shape = Shape{context.batch, shape[0]};
    } else if (shape.rank() == 4 && shape[0] == 1) {
      edge_.shape = shape.with_batch(context.batch);
    } else {
      throw ConfigError({.place = context.node.name,
                         .expected = "shape=CxHxW or shape=C, without the batch",
                         .found = context.node.word("shape", ""),
                         .remedy = ""});
    }
  }

  const Edge& output() const override { return edge_; }
  void forward(const ForwardCall&) override {}
  void backward(const BackwardCall&) override {}

 private:
  Edge edge_;
};

// Network lets the edge be the store's memory; readers write its gradient.
class ParameterLayer final : public Layer {
 public:
  explicit ParameterLayer(const LayerContext& context)
      : parameter_(context.parameters.declare(context.node.name, context.node.shape("shape"),
                                              Role::kWeight,
                                              {.kind = Initializer::Kind::kHeNormal})) {
    edge_.shape = parameter_.value.shape();
  }

  const Edge& output() const override { return edge_; }
  Parameter* parameter() override { return &parameter_; }
  void forward(const ForwardCall&) override {}
  void backward(const BackwardCall&) override {}

 private:
  Parameter& parameter_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_input(const LayerContext& context) {
  return std::make_unique<Input>(context);
}

std::unique_ptr<Layer> make_parameter(const LayerContext& context) {
  return std::make_unique<ParameterLayer>(context);
}

}  // namespace bitloom::layers
