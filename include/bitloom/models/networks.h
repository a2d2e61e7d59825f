// The named networks, each a function that builds a graph.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bitloom/layers/graph.h"

namespace bitloom::models {

/// What a network is fitted to.
struct NetworkShape {
  std::int64_t channels = 1;
  std::int64_t height = 28;
  std::int64_t width = 28;
  std::int64_t classes = 10;
};

/// 32C5(pad 2)-BN-ReLU-MP2-64C5(pad 2)-BN-ReLU-MP2-512FC-ReLU-FC.
layers::Graph lenet5(const NetworkShape& shape);

/// CIFAR-style: 16C3-BN-ReLU, three residual stages of n basic blocks (16, 32, 64 channels, the
/// last two halve the map), global average pool, FC; 6n + 2 weighted layers, n = 1, 3, 5, 9.
/// Source: He et al. 2016, section 4.2 (resnet8: MLPerf Tiny). Ours differs: a shortcut whose shape
/// changes is a 1x1 convolution + BN (their option B), which integers can run.
layers::Graph resnet8(const NetworkShape& shape);
layers::Graph resnet20(const NetworkShape& shape);
layers::Graph resnet32(const NetworkShape& shape);
layers::Graph resnet56(const NetworkShape& shape);

/// 300FC-ReLU-100FC-ReLU-FC on the flattened image; 266,610 trained values on 28x28x1.
/// Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998; as
/// LeNet-300-100 in Han et al., "Deep Compression", arXiv:1510.00149. ReLU for their tanh.
layers::Graph lenet300(const NetworkShape& shape);

/// 2x128C3-MP2-2x256C3-MP2-2x512C3-MP2-FC, each convolution (pad 1) with BN and ReLU.
/// Source: Hubara et al., "Binarized Neural Networks", arXiv:1602.02830, with one FC instead of
/// three as in Zhang et al., "LQ-Nets", arXiv:1807.10029.
layers::Graph vgg_small(const NetworkShape& shape);

// The networks below were made for 224x224x3. Images under 64 pixels a side get the stem customary
// for CIFAR: a 3x3 convolution of stride 1, padded, and no pooling after it, except where said.
// Trainable from 32x32 (28x28 too) up. Names of torchvision's modules stand beside ours.

/// The single tower: five convolutions, three overlapping poolings, three FC with dropout 0.5.
/// Small images keep the pooling after the stem. The last pooling is flattened as it comes: 6x6 at
/// 224, as torchvision's, which averages other sizes to 6x6.
/// Names: conv1 .. conv5 are features.0, 3, 6, 8, 10; fc1, fc2, fc3 are classifier.1, 4, 6.
/// Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
/// arXiv:1404.5997.
layers::Graph alexnet(const NetworkShape& shape);

/// Stem, fire modules 2 to 9 (1x1 squeeze; 1x1 and 3x3 expand side by side), dropout 0.5, 1x1
/// convolution to the classes, ReLU, global average pool. No batch norm. Poolings round sizes down
/// (torchvision's up; at 224 nothing is left over). It wants a small learning rate: with 4 classes,
/// batches of 16 and momentum 0.9 it learned at 0.001; at 0.005 its last ReLU fell silent.
/// Names: stem.conv is features.0; fire2 .. fire9 are features.3, 4, 6, 7, 9, 10, 11, 12, with
/// squeeze.conv, expand1x1.conv, expand3x3.conv for squeeze, expand1x1, expand3x3;
/// classifier.conv is classifier.1.
/// Source: Iandola et al., "SqueezeNet", arXiv:1602.07360, version 1.1 of its repository.
layers::Graph squeezenet1_1(const NetworkShape& shape);

/// Stem, 13 depthwise separable blocks (3x3 depthwise, 1x1 pointwise; each with BN and ReLU),
/// global average pool, FC; width 1. Not in torchvision. Source: Howard et al., "MobileNets",
/// arXiv:1704.04861, table 1.
layers::Graph mobilenet_v1(const NetworkShape& shape);

/// Stem, 17 inverted residual blocks with BN and ReLU6, 1x1 head of 1280 channels, global average
/// pool, dropout 0.2, FC; width 1. Small images have stride 1 in block2 too.
/// Names: stem.conv, stem.bn are features.0.0, features.0.1; blockN is features.N, whose expand,
/// depthwise and project (.conv, .bn) are conv.0.0, conv.0.1, conv.1.0, conv.1.1, conv.2, conv.3
/// (without expand in block1: conv.0.0, conv.0.1, conv.1, conv.2); head.conv, head.bn are
/// features.18.0, features.18.1; fc is classifier.1.
/// Source: Sandler et al., "MobileNetV2", arXiv:1801.04381, table 2.
layers::Graph mobilenet_v2(const NetworkShape& shape);

/// Stem, four stages of residual blocks, global average pool, FC. The last three stages halve the
/// map in the first 3x3 convolution of their first block ("ResNet v1.5" for resnet50).
/// Names: stem.conv, stem.bn are conv1, bn1; layerL.B.convK, layerL.B.bnK as they are;
/// layerL.B.shortcut.conv, .bn are layerL.B.downsample.0, .1; fc is fc.
/// Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, table 1.
layers::Graph resnet18(const NetworkShape& shape);
layers::Graph resnet50(const NetworkShape& shape);
layers::Graph resnet101(const NetworkShape& shape);
layers::Graph resnet152(const NetworkShape& shape);

/// Five stages of 3x3 convolutions (pad 1, bias, ReLU; no batch norm) and pooling, three FC with
/// dropout 0.5. Small images go through the same stages; a map of one pixel is not pooled (28x28
/// ends so one stage early). The last map is flattened as it comes: 7x7 at 224, as torchvision's,
/// which averages other sizes to 7x7. Names: convS_K is the K-th convolution of stage S, in the
/// order of features.0, 2, 5, ...; fc1, fc2, fc3 are classifier.0, 3, 6. Source: Simonyan and
/// Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
/// arXiv:1409.1556, table 1, columns D and E.
layers::Graph vgg16(const NetworkShape& shape);
layers::Graph vgg19(const NetworkShape& shape);

/// Made for 299x299x3; without the auxiliary head. Stem, three mixed
/// blocks at 35x35, a reduction, four of 1x7 and 7x1 windows at 17x17, a reduction, two at 8x8,
/// global average pool, dropout 0.5, FC. Every convolution has batch norm (epsilon 0.001) and ReLU.
/// The average poolings (3x3, stride 1, pad 1) count their padding, as torchvision's do.
/// Images under 75 pixels a side have a stem of stride 1, padded, without its two poolings.
/// torchvision's transform_input, for weights that came from TensorFlow, is not part of it. Names:
/// stem.1a, 2a, 2b, 3b, 4a are Conv2d_1a_3x3 and so on; mixed5b.branch5x5_1 is
/// Mixed_5b.branch5x5_1, each with .conv and .bn; fc is fc.
/// Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
/// arXiv:1512.00567.
layers::Graph inception_v3(const NetworkShape& shape);

// Networks for signs: batch norm and hardtanh stand in front of each product but the first, and
// quantizers of one bit put a sign in place of hardtanh (quant/passes.h).

/// Three times 4096FC-BN-hardtanh on the flattened image, then FC-BN; no biases.
/// Source: Hubara et al., "Binarized Neural Networks", arXiv:1602.02830, section 2.1 (MNIST).
layers::Graph mlp_bnn(const NetworkShape& shape);

/// lenet5's products in binary block order: 32C5-MP2, BN-hardtanh-64C5-MP2, BN-hardtanh-512FC,
/// BN-hardtanh-FC. Order: Rastegari et al., "XNOR-Net", arXiv:1603.05279, figure 3.
layers::Graph lenet5_binary(const NetworkShape& shape);

/// vgg_small's products in that order: 128C3, BN-hardtanh-128C3-MP2, BN-hardtanh-256C3, ...
layers::Graph vgg_small_xnor(const NetworkShape& shape);

/// resnet20 with a shortcut of reals around every convolution: y = BN(conv(hardtanh(x))) + x; where
/// shapes change the shortcut is a 3x3 average pooling and the channels twice, without weights.
/// Source: Liu et al., "Bi-Real Net", arXiv:1808.00278, figure 3. Ours differs: its shortcuts that
/// change shape are real 1x1 convolutions. resnet20_react has rprelu behind each add, as Liu et
/// al., "ReActNet", arXiv:2003.03488 (whose shortcuts double the channels so).
layers::Graph resnet20_bireal(const NetworkShape& shape);
layers::Graph resnet20_react(const NetworkShape& shape);

/// Bi-Real's ResNet-18, same shortcuts; images under 64 pixels a side get a 3x3 stem.
layers::Graph resnet18_bireal(const NetworkShape& shape);

using NetworkBuilder = std::function<layers::Graph(const NetworkShape&)>;

/// Adds a network of the caller's, which `model.network` then names like a built-in one. Call it
/// before the first configuration is read, from one thread: the names it may hold are fixed there.
/// @throws ConfigError if `name` is taken, empty, or holds anything but letters, digits, '_', '-'
///         and '.'.
void register_network(const std::string& name, NetworkBuilder build);

/// Built-in networks, then the registered ones.
std::vector<std::string> network_names();
/// The images and classes that a built-in network was made for, 3x224x224 in 1000 classes for
/// resnet50; of registered ones 3x32x32 in 10.
/// @throws ConfigError for an unknown name.
NetworkShape native_shape(std::string_view name);
/// @throws ConfigError for an unknown name, listing the known ones.
layers::Graph build_network(std::string_view name, const NetworkShape& shape);

}  // namespace bitloom::models
