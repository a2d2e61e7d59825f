#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {

layers::Graph lenet300(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  builder.flatten("flatten");
  builder.linear("fc1", 300);
  builder.relu("relu1");
  builder.linear("fc2", 100);
  builder.relu("relu2");
  builder.linear("fc3", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
