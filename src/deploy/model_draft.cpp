#include "model_draft.h"

#include <vector>

#include "bitloom/quant/fake_quant_layer.h"

namespace bitloom::deploy {

using integer::TensorInfo;
using layers::Node;

const TensorInfo& ModelDraft::info(const std::string& node) const { return info(index(node)); }

const TensorInfo& ModelDraft::info(int index) const {
  return model_.tensors[static_cast<std::size_t>(index)];
}

int ModelDraft::add_tensor(TensorInfo tensor, const std::string& node) {
  const int index = next_index();
  model_.tensors.push_back(std::move(tensor));
  share(node, index);
  return index;
}

void ModelDraft::add_layer(integer::Layer layer, TensorInfo output, const std::string& node) {
  layer.output = add_tensor(std::move(output), node);
  model_.layers.push_back(std::move(layer));
}

TensorInfo ModelDraft::describe(const std::string& name, const Shape& shape,
                                const Node* quantizer) const {
  TensorInfo tensor{.name = name, .shape = shape};
  if (quantizer == nullptr) return tensor;
  tensor.format = quant::format_of(*quantizer);
  tensor.dtype = tensor.format.is_signed ? DType::kS8 : DType::kU8;
  tensor.scale = store_.at(quant::scale_name(*quantizer)).value.data<float>()[0];
  return tensor;
}

const Node* ModelDraft::quantizer_behind(const std::string& name) const {
  const std::vector<std::string> readers = graph_.readers(name);
  const Node* reader = readers.size() == 1 ? graph_.find(readers[0]) : nullptr;
  return reader != nullptr && quant::is_fake_quant(*reader) ? reader : nullptr;
}

}  // namespace bitloom::deploy
