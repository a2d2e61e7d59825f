// Cross-layer equalization: moves scale between layers so that one grid fits every channel.
// Comes from: a float network. Goes to: quant/passes.h (insert_fake_quant), calibration.
#pragma once

#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::quant {

/// What equalize() did.
struct Equalization {
  int pairs = 0;     ///< products whose common channels were equalized
  int balanced = 0;  ///< weights whose rows batch norm let us rescale for free
  int sweeps = 0;    ///< over all of them, until no channel moved by more than 0.1 %
};

/// Rescales the parameters of a float network; its graph and its function stay as they are.
///
/// A pair is two products (conv2d, linear; depthwise too) between which a channel only passes
/// batch_norm?, relu, max pools, average pools, flatten or dropout, each with that one reader. Per
/// channel i, with r1 = max |W1[i,...]| * |gamma[i]| / sqrt(var[i] + eps) (what W1 would have with
/// batch norm folded) and r2 = max |W2[:,i,...]|:
///   s[i] = sqrt(r1[i] * r2[i]) / r2[i];   the channel is divided by s[i] and W2[:,i,...]
///   multiplied.
/// The division is gamma /= s, beta /= s behind a batch norm, else W1[i] /= s and bias[i] /= s:
/// relu and pools commute with a positive factor. Channels with r1 or r2 = 0 stay. Sweeps over all
/// pairs lead chains of three (convolution, depthwise, convolution) to the common fixed point of
/// the paper's triples, the cube root.
///
/// In each sweep the rows of each weight that a batch norm follows get one common max |w| (the
/// largest), by a[o]: W[o] *= a, running_mean *= a, running_var *= a^2, and gamma *= sqrt(a^2 * var
/// + eps) / (a * sqrt(var + eps)), so batch norm's output is the same. Exported models keep batch
/// norm out of the weight codes, which makes this free.
///
/// It helps where one scale serves all channels: weights with quant.per_channel=false, and every
/// activation.
/// Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
/// arXiv:1906.04721, section 4.1. Ours differs: batch norm stays, its rows are balanced; no
/// high-bias absorption.
/// Golden: tests/golden/ptq.h5, made by tools/golden/ptq.py.
/// @throws ConfigError if the graph has fake_quant nodes; NumericError naming the weight if a value
/// is not finite.
Equalization equalize(const layers::Graph& graph, layers::ParameterStore& store);

}  // namespace bitloom::quant
