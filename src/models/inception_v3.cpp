#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

using Position = GraphBuilder::Position;

constexpr PoolOptions kHalve{.kernel = 3, .stride = 2};

/// One convolution of a branch, with batch norm and ReLU.
struct Step {
  std::string name;
  std::int64_t channels = 0;
  ConvOptions window;
};

constexpr ConvOptions kPoint{.kernel = 1};
constexpr ConvOptions kSquare3{.kernel = 3, .pad = 1};
constexpr ConvOptions kSquare5{.kernel = 5, .pad = 2};
constexpr ConvOptions kStrided3{.kernel = 3, .stride = 2};
constexpr ConvOptions kRow3{.kernel = 1, .kernel_w = 3, .pad_w = 1};
constexpr ConvOptions kColumn3{.kernel = 3, .kernel_w = 1, .pad = 1, .pad_w = 0};
constexpr ConvOptions kRow7{.kernel = 1, .kernel_w = 7, .pad_w = 3};
constexpr ConvOptions kColumn7{.kernel = 7, .kernel_w = 1, .pad = 3, .pad_w = 0};

void convolve(GraphBuilder& builder, const std::string& name, std::int64_t channels,
              const ConvOptions& window) {
  builder.conv2d(name + ".conv", channels, window);
  builder.batch_norm(name + ".bn", "0.001");
  builder.relu(name + ".relu");
}

/// The branches of one mixed block, each from the block's input, joined in the order of their ends.
class Mixed {
 public:
  Mixed(GraphBuilder& builder, std::string name)
      : builder_(builder), name_(std::move(name)), input_(builder.at()) {}

  /// Goes back to the block's input.
  void start() { builder_.move_to(input_); }
  void step(const Step& step) {
    convolve(builder_, cat(name_, ".", step.name), step.channels, step.window);
  }
  void end() { ends_.push_back(builder_.at()); }

  void branch(const std::vector<Step>& steps) {
    start();
    for (const Step& each : steps) step(each);
    end();
  }
  /// Average pooling, then a 1x1 convolution.
  void pooled_branch(std::int64_t channels) {
    start();
    builder_.avg_pool(name_ + ".branch_pool.pool",
                      {.kernel = 3, .stride = 1, .pad = 1, .count_pad = true});
    step({"branch_pool", channels, kPoint});
    end();
  }
  void max_pool_branch() {
    start();
    builder_.max_pool(name_ + ".branch_pool", kHalve);
    end();
  }
  /// 1x3 and 3x1 side by side behind the step before.
  void split(const std::string& name, std::int64_t channels) {
    const Position before = builder_.at();
    step({name + "a", channels, kRow3});
    end();
    builder_.move_to(before);
    step({name + "b", channels, kColumn3});
    end();
  }
  void join() { builder_.concat(name_, ends_); }

 private:
  GraphBuilder& builder_;
  std::string name_;
  Position input_;
  std::vector<Position> ends_;
};

// Figure 5 of the paper, with a 5x5 left whole.
void block_35(GraphBuilder& builder, const std::string& name, std::int64_t pooled) {
  Mixed block(builder, name);
  block.branch({{"branch1x1", 64, kPoint}});
  block.branch({{"branch5x5_1", 48, kPoint}, {"branch5x5_2", 64, kSquare5}});
  block.branch({{"branch3x3dbl_1", 64, kPoint},
                {"branch3x3dbl_2", 96, kSquare3},
                {"branch3x3dbl_3", 96, kSquare3}});
  block.pooled_branch(pooled);
  block.join();
}

void reduction_35(GraphBuilder& builder, const std::string& name) {
  Mixed block(builder, name);
  block.branch({{"branch3x3", 384, kStrided3}});
  block.branch({{"branch3x3dbl_1", 64, kPoint},
                {"branch3x3dbl_2", 96, kSquare3},
                {"branch3x3dbl_3", 96, kStrided3}});
  block.max_pool_branch();
  block.join();
}

// Figure 6 with n = 7; `inner`: channels within the branches.
void block_17(GraphBuilder& builder, const std::string& name, std::int64_t inner) {
  Mixed block(builder, name);
  block.branch({{"branch1x1", 192, kPoint}});
  block.branch({{"branch7x7_1", inner, kPoint},
                {"branch7x7_2", inner, kRow7},
                {"branch7x7_3", 192, kColumn7}});
  block.branch({{"branch7x7dbl_1", inner, kPoint},
                {"branch7x7dbl_2", inner, kColumn7},
                {"branch7x7dbl_3", inner, kRow7},
                {"branch7x7dbl_4", inner, kColumn7},
                {"branch7x7dbl_5", 192, kRow7}});
  block.pooled_branch(192);
  block.join();
}

void reduction_17(GraphBuilder& builder, const std::string& name) {
  Mixed block(builder, name);
  block.branch({{"branch3x3_1", 192, kPoint}, {"branch3x3_2", 320, kStrided3}});
  block.branch({{"branch7x7x3_1", 192, kPoint},
                {"branch7x7x3_2", 192, kRow7},
                {"branch7x7x3_3", 192, kColumn7},
                {"branch7x7x3_4", 192, kStrided3}});
  block.max_pool_branch();
  block.join();
}

// Figure 7; its two small concats and the large one are one here, in the same order.
void block_8(GraphBuilder& builder, const std::string& name) {
  Mixed block(builder, name);
  block.branch({{"branch1x1", 320, kPoint}});
  block.start();
  block.step({"branch3x3_1", 384, kPoint});
  block.split("branch3x3_2", 384);
  block.start();
  block.step({"branch3x3dbl_1", 448, kPoint});
  block.step({"branch3x3dbl_2", 384, kSquare3});
  block.split("branch3x3dbl_3", 384);
  block.pooled_branch(192);
  block.join();
}

void stem(GraphBuilder& builder, bool small) {
  constexpr ConvOptions kValid3{.kernel = 3};
  convolve(builder, "stem.1a", 32, small ? kSquare3 : kStrided3);
  convolve(builder, "stem.2a", 32, small ? kSquare3 : kValid3);
  convolve(builder, "stem.2b", 64, kSquare3);
  if (!small) builder.max_pool("stem.pool1", kHalve);
  convolve(builder, "stem.3b", 80, kPoint);
  convolve(builder, "stem.4a", 192, small ? kSquare3 : kValid3);
  if (!small) builder.max_pool("stem.pool2", kHalve);
}

}  // namespace

layers::Graph inception_v3(const NetworkShape& shape) {
  constexpr std::int64_t kLeast = 75;  // the last reduction would not fit
  GraphBuilder builder(shape);
  stem(builder, std::min(shape.height, shape.width) < kLeast);
  block_35(builder, "mixed5b", 32);
  block_35(builder, "mixed5c", 64);
  block_35(builder, "mixed5d", 64);
  reduction_35(builder, "mixed6a");
  block_17(builder, "mixed6b", 128);
  block_17(builder, "mixed6c", 160);
  block_17(builder, "mixed6d", 160);
  block_17(builder, "mixed6e", 192);
  reduction_17(builder, "mixed7a");
  block_8(builder, "mixed7b");
  block_8(builder, "mixed7c");
  builder.global_avg_pool("pool");
  builder.dropout("dropout", "0.5");
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
