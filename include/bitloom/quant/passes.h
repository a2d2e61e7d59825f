// Graph passes: text in, text out. Goes to: train, deploy.
#pragma once

#include <string_view>

#include "bitloom/integer/profile.h"
#include "bitloom/layers/graph.h"
#include "bitloom/quant/options.h"

namespace bitloom::quant {

/// Puts fake_quant nodes on a float graph: on every weight of conv2d and linear ("NAME.q"), on the
/// network's input, on the output of every chain (quant/chain.h) with which another layer computes,
/// on the output of an average pool, never on the branch that enters an add (its first input). The
/// logits, and values that reach them through pools alone, stay real.
///
/// Shared grids: an average has the grid of what it averages (`share=NODE`). The inputs of a concat
/// have one grid: the fake_quant node of the earliest owns its scale and zero point, those of the
/// others say `share=NODE, joined=1`: calibrate() fits the grid to the values of all, ema widens
/// its range to hold those of the joined nodes, and learned quantizers learn from the owner alone.
/// The grid is signed if one of the values is.
///
/// Widths: options.weight_bits and activation_bits; the weights of the first and the last layer,
/// the network's input and the last layer's source have first_last_bits where that is not 0;
/// options.layer_bits goes before both.
/// A tensor is signed unless a clip with a low of 0 or more made it (relu, relu6, hardtanh(low=0));
/// input_is_signed says it of the network's input. The quantizer is options.quantizer for method
/// qat, "static" for PTQ and for the network's input, whose distribution training does not change.
/// "pact" puts "dorefa" on weights; "lsq+" puts "lsq" on weights and behind ReLU, and unsigned
/// codes with a learned offset on signed activations. With ptq-dynamic and ptq-weight-only only the
/// weights get nodes.
///
/// Weights of one and two bits: the quantizers of level_methods.h's row; widths of single layers
/// (the first, the last, layer_bits) are rounded by the row's `affine`. A width of 32 means no
/// node: with activation_bits = 32 only weights get nodes.
/// activation_bits = 1: signs stand where products read, "VALUE.q", in front of pools, dropout and
/// flatten that nothing else reads; other readers (an add, k_map) keep the reals. A hardtanh whose
/// readers all take its sign goes away: its quantizer says replaces=hardtanh. The method xnor
/// multiplies the output of each one-bit product P by P.k = k_map(its real input), in P.scaled.
/// options.shift_batch_norm makes every batch_norm a shift_batch_norm.
/// @throws ConfigError for options that contradict each other (level_methods.h), for a sign of
/// values that are never negative (behind a ReLU), for xnor with a kernel that is not square;
/// if the graph has fake_quant nodes already, or no conv2d or linear, or if
/// layer_bits names what has no such width.
layers::Graph insert_fake_quant(const layers::Graph& graph, const QuantOptions& options,
                                const integer::DeviceProfile& profile, bool input_is_signed);

/// The float graph again: what insert_fake_quant() put in is removed, readers joined to what was
/// quantized; nothing is frozen.
layers::Graph strip_fake_quant(const layers::Graph& graph);

/// Lets the forward pass run on integers: fake_quant nodes whose readers all understand codes emit
/// them (output=codes), conv2d and linear of codes become quantized_conv2d and quantized_linear
/// (int8 kernel to f32), an add of reals and a shortcut of codes becomes quantized_add; an average
/// of codes rounds once, so the fake_quant node behind it goes away. Max pools, flatten, dropout
/// and a concat of one grid pass codes on. Nodes that do not fit keep reals.
/// Where no batch norm learns statistics any more (all are frozen, or there are none), chains whose
/// scales are known before the step compute by the exported layer's own formula: exported_layers.h.
layers::Graph use_integer_forward(const layers::Graph& graph);

/// Makes one node of what stands between two products, for training: of
///   batch_norm? > add|quantized_add? > relu|relu6|hardtanh? > fake_quant(output=codes)?
/// (two or more of them, each read by the next alone; the chain enters the add as its first input;
/// prelu or rprelu in place of the rest where a batch norm stands in front).
/// With the quantizer it is `fused_quant`, else `fused` (layers/fused_chain.h); it has the name of
/// the last, and names the batch norm, so parameters and checkpoints stay as they are. Signs of a
/// batch norm's or such a chain's reals, which others read too, become `carried_signs`: the chain
/// writes them beside the reals. A product with weights of few levels that a batch norm alone reads
/// may leave its sums (quantized_layers.h), and an avg_pool that a concat alone reads, beside
/// itself, is repeated in its place. Left alone are quantizers that need more than a batch's range
/// and their gradient's sums (grids of one and two bits), fake_quant nodes that emit reals or take
/// codes, and dropout.
layers::Graph fuse_chains(const layers::Graph& graph);

/// What a training step runs: for forward = "integer" fuse_chains(use_integer_forward(graph)), for
/// "float" the graph as it stands where it has fake_quant nodes (the classical simulation), and
/// fuse_chains(graph) where it has none.
layers::Graph training_graph(const layers::Graph& graph, std::string_view forward);

}  // namespace bitloom::quant
