#include "bitloom/models/networks.h"

#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/core/words.h"

namespace bitloom::models {

namespace {

struct NetworkRow {
  std::string name;
  NetworkBuilder build;
};

std::vector<NetworkRow>& networks() {
  static std::vector<NetworkRow> rows = {{"lenet5", lenet5},
                                         {"resnet8", resnet8},
                                         {"resnet20", resnet20},
                                         {"resnet32", resnet32},
                                         {"resnet56", resnet56},
                                         {"lenet300", lenet300},
                                         {"vgg_small", vgg_small},
                                         {"alexnet", alexnet},
                                         {"squeezenet1_1", squeezenet1_1},
                                         {"mobilenet_v1", mobilenet_v1},
                                         {"mobilenet_v2", mobilenet_v2},
                                         {"resnet18", resnet18},
                                         {"resnet50", resnet50},
                                         {"resnet101", resnet101},
                                         {"resnet152", resnet152},
                                         {"inception_v3", inception_v3},
                                         {"vgg16", vgg16},
                                         {"vgg19", vgg19},
                                         {"mlp_bnn", mlp_bnn},
                                         {"lenet5_binary", lenet5_binary},
                                         {"vgg_small_xnor", vgg_small_xnor},
                                         {"resnet20_bireal", resnet20_bireal},
                                         {"resnet20_react", resnet20_react},
                                         {"resnet18_bireal", resnet18_bireal}};
  return rows;
}

}  // namespace

void register_network(const std::string& name, NetworkBuilder build) {
  require_new_word("register_network", name, network_names());
  networks().push_back({name, std::move(build)});
}

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const NetworkRow& row : networks()) names.push_back(row.name);
  return names;
}

layers::Graph build_network(std::string_view name, const NetworkShape& shape) {
  std::string known;
  for (const NetworkRow& row : networks()) {
    if (row.name == name) return row.build(shape);
    known += (known.empty() ? "" : ", ") + row.name;
  }
  throw ConfigError({.place = "model.network",
                     .expected = "one of " + known,
                     .found = cat("'", name, "'"),
                     .remedy = ""});
}

}  // namespace bitloom::models
