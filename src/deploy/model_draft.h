// The exported model while its layers are lowered: tensors by the node that makes them.
// Goes to: lower.cpp, plain_lowering.h.
#pragma once

#include <map>
#include <string>

#include "bitloom/integer/model.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::deploy {

/// A node's value is one tensor of the model; several nodes may share one (flatten, the quantizer
/// behind an average).
class ModelDraft {
 public:
  /// Both are kept by reference.
  ModelDraft(const layers::Graph& graph, const layers::ParameterStore& store)
      : graph_(graph), store_(store) {}

  const layers::Graph& graph() const { return graph_; }
  const layers::ParameterStore& store() const { return store_; }
  integer::Model& model() { return model_; }
  const integer::Model& model() const { return model_; }

  bool has(const std::string& node) const { return index_of_.contains(node); }
  /// @throws std::out_of_range for a node that is no tensor yet.
  int index(const std::string& node) const { return index_of_.at(node); }
  const integer::TensorInfo& info(const std::string& node) const;
  const integer::TensorInfo& info(int index) const;

  /// Appends the tensor that `node` makes; its index.
  int add_tensor(integer::TensorInfo tensor, const std::string& node);
  /// Appends a layer whose inputs are there, and the tensor that `node` reads from it.
  void add_layer(integer::Layer layer, integer::TensorInfo output, const std::string& node);
  /// `node` is the tensor `index`, which may be the next one to come.
  void share(const std::string& node, int index) { index_of_[node] = index; }
  int next_index() const { return static_cast<int>(model_.tensors.size()); }

  /// Type, format and scale of what a fake_quant node emits; f32 where it is nullptr.
  integer::TensorInfo describe(const std::string& name, const Shape& shape,
                               const layers::Node* quantizer) const;
  /// A fake_quant node that is the only reader of `name`, or nullptr.
  const layers::Node* quantizer_behind(const std::string& name) const;

 private:
  const layers::Graph& graph_;
  const layers::ParameterStore& store_;
  integer::Model model_;
  std::map<std::string, int> index_of_;  // node > tensor
};

}  // namespace bitloom::deploy
