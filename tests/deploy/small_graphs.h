// Small float graphs, each with the operations of a network family.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace bitloom::deploy {

struct SmallGraph {
  std::string name;
  std::string text;
  std::vector<std::string> layers;  ///< of the exported model, as "op name"
};

inline void PrintTo(const SmallGraph& graph, std::ostream* out) { *out << graph.name; }

/// Depthwise and pointwise convolutions with ReLU6, a linear bottleneck, a residual of it
/// (mobilenet_v2); odd channels.
inline SmallGraph mobilenet_graph() {
  return {"mobilenet",
          R"(bitloom-graph 1
input = input(shape=3x9x8)
stem.weight = parameter(shape=9x3x3x3)
stem = conv2d(input, stem.weight, stride=2, pad=1)
stem.bn = batch_norm(stem)
stem.act = relu6(stem.bn)
dw.weight = parameter(shape=9x1x3x3)
dw = conv2d(stem.act, dw.weight, pad=1, groups=9)
dw.bn = batch_norm(dw)
dw.act = relu6(dw.bn)
project.weight = parameter(shape=7x9x1x1)
project = conv2d(dw.act, project.weight)
project.bn = batch_norm(project)
expand.weight = parameter(shape=21x7x1x1)
expand = conv2d(project.bn, expand.weight)
expand.bn = batch_norm(expand)
expand.act = relu6(expand.bn)
dw2.weight = parameter(shape=21x1x3x3)
dw2 = conv2d(expand.act, dw2.weight, pad=1, groups=21)
dw2.bn = batch_norm(dw2)
dw2.act = relu6(dw2.bn)
project2.weight = parameter(shape=7x21x1x1)
project2 = conv2d(dw2.act, project2.weight)
project2.bn = batch_norm(project2)
sum = add(project2.bn, project.bn)
gap = global_avg_pool(sum)
flatten = flatten(gap)
fc.weight = parameter(shape=5x7)
fc = linear(flatten, fc.weight, bias=1)
)",
          {"conv2d stem", "conv2d dw", "conv2d project", "conv2d expand", "conv2d dw2",
           "conv2d project2", "global_avg_pool gap", "linear fc"}};
}

/// A fire module, dropout, a convolution as classifier, average last (squeezenet).
inline SmallGraph fire_graph() {
  return {"fire",
          R"(bitloom-graph 1
input = input(shape=3x9x9)
stem.weight = parameter(shape=8x3x3x3)
stem = conv2d(input, stem.weight, stride=2, pad=1, bias=1)
stem.act = relu(stem)
pool = max_pool(stem.act, kernel=2)
squeeze.weight = parameter(shape=3x8x1x1)
squeeze = conv2d(pool, squeeze.weight, bias=1)
squeeze.act = relu(squeeze)
e1.weight = parameter(shape=5x3x1x1)
e1 = conv2d(squeeze.act, e1.weight, bias=1)
e1.act = relu(e1)
e3.weight = parameter(shape=6x3x3x3)
e3 = conv2d(squeeze.act, e3.weight, pad=1, bias=1)
e3.act = relu(e3)
cat = concat(e1.act, e3.act)
drop = dropout(cat, ratio=0.5)
last.weight = parameter(shape=5x11x1x1)
last = conv2d(drop, last.weight, bias=1)
last.act = relu(last)
gap = global_avg_pool(last.act)
logits = flatten(gap)
)",
          {"conv2d stem", "max_pool pool", "conv2d squeeze", "conv2d e1", "conv2d e3", "concat cat",
           "conv2d last", "global_avg_pool gap"}};
}

/// Branches of unlike kinds into one concat: a bare pool, a signed branch behind an average and a
/// depthwise convolution of signed codes, windows longer than high and higher than long, an average
/// that counts padding, a hardtanh (inception, densenet); the input of the concat is read
/// elsewhere, too.
inline SmallGraph inception_graph() {
  return {"inception",
          R"(bitloom-graph 1
input = input(shape=1x8x7)
stem.weight = parameter(shape=4x1x3x3)
stem = conv2d(input, stem.weight, pad=1)
stem.bn = batch_norm(stem)
stem.act = hardtanh(stem.bn, low=-0.8, high=1.3)
avg = avg_pool(stem.act, kernel=3, stride=1, pad=1, count_pad=1)
b0.weight = parameter(shape=4x1x3x3)
b0 = conv2d(avg, b0.weight, pad=1, groups=4)
b0.bn = batch_norm(b0)
b1.weight = parameter(shape=3x4x1x1)
b1 = conv2d(b0.bn, b1.weight)
b1.bn = batch_norm(b1)
b2.weight = parameter(shape=6x2x3x3)
b2 = conv2d(stem.act, b2.weight, pad=1, groups=2)
b2.bn = batch_norm(b2)
b2.act = hardtanh(b2.bn, low=0, high=2)
pool = max_pool(stem.act, kernel=3, stride=1, pad=1)
b3.weight = parameter(shape=5x4x1x7)
b3 = conv2d(stem.act, b3.weight, pad_w=3)
b3.bn = batch_norm(b3)
b3.act = relu(b3.bn)
b4.weight = parameter(shape=6x5x7x1)
b4 = conv2d(b3.act, b4.weight, pad=3, pad_w=0)
b4.bn = batch_norm(b4)
b4.act = relu(b4.bn)
cat = concat(b1.bn, b2.act, pool, b4.act)
tail.weight = parameter(shape=8x19x1x1)
tail = conv2d(cat, tail.weight)
tail.bn = batch_norm(tail)
tail.act = relu(tail.bn)
half = avg_pool(tail.act, kernel=2)
drop = dropout(half, ratio=0.25)
flatten = flatten(drop)
fc.weight = parameter(shape=4x96)
fc = linear(flatten, fc.weight, bias=1)
)",
          {"conv2d stem", "avg_pool avg", "conv2d b0", "conv2d b1", "conv2d b2", "max_pool pool",
           "conv2d b3", "conv2d b4", "concat cat", "conv2d tail", "avg_pool half", "linear fc"}};
}

/// Two residual blocks, one of them with a rounded downsample (resnet): signed shortcuts.
inline SmallGraph residual_graph() {
  return {
      "residual",
      R"(bitloom-graph 1
input = input(shape=3x8x8)
c1.weight = parameter(shape=8x3x3x3)
c1 = conv2d(input, c1.weight, pad=1)
c1.bn = batch_norm(c1)
c1.act = relu(c1.bn)
c2.weight = parameter(shape=8x8x3x3)
c2 = conv2d(c1.act, c2.weight, pad=1)
c2.bn = batch_norm(c2)
sum1 = add(c2.bn, c1.act)
c3.weight = parameter(shape=16x8x3x3)
c3 = conv2d(sum1, c3.weight, pad=1, stride=2)
c3.bn = batch_norm(c3)
down.weight = parameter(shape=16x8x1x1)
down = conv2d(sum1, down.weight, stride=2)
down.bn = batch_norm(down)
sum2 = add(c3.bn, down.bn)
act2 = relu(sum2)
gap = global_avg_pool(act2)
flatten = flatten(gap)
fc.weight = parameter(shape=6x16)
fc = linear(flatten, fc.weight, bias=1)
)",
      {"conv2d c1", "conv2d c2", "conv2d down", "conv2d c3", "global_avg_pool gap", "linear fc"}};
}

inline std::vector<SmallGraph> small_graphs() {
  return {mobilenet_graph(), fire_graph(), inception_graph(), residual_graph()};
}

}  // namespace bitloom::deploy
