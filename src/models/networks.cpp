#include "bitloom/models/networks.h"

#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/core/words.h"

namespace bitloom::models {

namespace {

struct NetworkRow {
  std::string name;
  NetworkBuilder build;
  NetworkShape native;
};

constexpr NetworkShape kMnist{.channels = 1, .height = 28, .width = 28, .classes = 10};
constexpr NetworkShape kCifar{.channels = 3, .height = 32, .width = 32, .classes = 10};
constexpr NetworkShape kImageNet{.channels = 3, .height = 224, .width = 224, .classes = 1000};
constexpr NetworkShape kImageNet299{.channels = 3, .height = 299, .width = 299, .classes = 1000};

std::vector<NetworkRow>& networks() {
  static std::vector<NetworkRow> rows = {{"lenet5", lenet5, kMnist},
                                         {"resnet8", resnet8, kCifar},
                                         {"resnet20", resnet20, kCifar},
                                         {"resnet32", resnet32, kCifar},
                                         {"resnet56", resnet56, kCifar},
                                         {"lenet300", lenet300, kMnist},
                                         {"vgg_small", vgg_small, kCifar},
                                         {"alexnet", alexnet, kImageNet},
                                         {"squeezenet1_1", squeezenet1_1, kImageNet},
                                         {"mobilenet_v1", mobilenet_v1, kImageNet},
                                         {"mobilenet_v2", mobilenet_v2, kImageNet},
                                         {"resnet18", resnet18, kImageNet},
                                         {"resnet50", resnet50, kImageNet},
                                         {"resnet101", resnet101, kImageNet},
                                         {"resnet152", resnet152, kImageNet},
                                         {"inception_v3", inception_v3, kImageNet299},
                                         {"vgg16", vgg16, kImageNet},
                                         {"vgg19", vgg19, kImageNet},
                                         {"mlp_bnn", mlp_bnn, kMnist},
                                         {"lenet5_binary", lenet5_binary, kMnist},
                                         {"vgg_small_xnor", vgg_small_xnor, kCifar},
                                         {"resnet20_bireal", resnet20_bireal, kCifar},
                                         {"resnet20_react", resnet20_react, kCifar},
                                         {"resnet18_bireal", resnet18_bireal, kImageNet}};
  return rows;
}

const NetworkRow& network_named(std::string_view name) {
  std::string known;
  for (const NetworkRow& row : networks()) {
    if (row.name == name) return row;
    known += (known.empty() ? "" : ", ") + row.name;
  }
  throw ConfigError({.place = "model.network",
                     .expected = "one of " + known,
                     .found = cat("'", name, "'"),
                     .remedy = ""});
}

}  // namespace

void register_network(const std::string& name, NetworkBuilder build) {
  require_new_word("register_network", name, network_names());
  networks().push_back({name, std::move(build), kCifar});
}

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const NetworkRow& row : networks()) names.push_back(row.name);
  return names;
}

NetworkShape native_shape(std::string_view name) { return network_named(name).native; }

layers::Graph build_network(std::string_view name, const NetworkShape& shape) {
  return network_named(name).build(shape);
}

}  // namespace bitloom::models
