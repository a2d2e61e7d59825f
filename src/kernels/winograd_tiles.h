// Winograd's transforms: tiles and weights into Winograd's domain and back.
// Goes to: winograd_conv2d.cpp, winograd_products.h.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

constexpr std::int64_t kWinogradSide = 6;  ///< rows and columns of a tile that is read
constexpr std::int64_t kWinogradPositions = kWinogradSide * kWinogradSide;
constexpr std::int64_t kWinogradLine = 16;   ///< channels that lie together
constexpr std::int64_t kWinogradGroup = 12;  ///< tiles whose sums stay in registers together

/// Floats of the sixteen channels of a group's tiles, [tile][channel].
constexpr std::int64_t kWinogradGroupLine = kWinogradGroup * kWinogradLine;

/// Columns (and rows) of outputs that a tile gives for kernels of `taps` columns: F(4x4, 3x3) and
/// F(2x2, 5x5) read tiles of the same size.
constexpr std::int64_t winograd_outputs(std::int64_t taps) { return kWinogradSide + 1 - taps; }

/// A tensor [N, height, width, channels] cut into tiles: tile (n, i, j) begins at row
/// i * step - pad and column j * step - pad.
struct WinogradTiling {
  std::int64_t height = 0, width = 0, channels = 0;
  std::int64_t step = 0, pad = 0;
  std::int64_t rows = 0, columns = 0;  ///< of tiles in an image
  std::int64_t tiles = 0;              ///< of all images

  std::int64_t lines() const { return channels / kWinogradLine; }
};

/// Groups of tiles in Winograd's domain: [position][group][line][tile][channel], positions `stride`
/// floats apart. Tiles beyond the last are 0.
struct WinogradBlock {
  float* at = nullptr;
  std::int64_t stride = 0;
  std::int64_t first = 0;  ///< group of the tensor that group 0 here is

  float* group(std::int64_t index, std::int64_t lines) const {
    return at + (index - first) * lines * kWinogradGroupLine;
  }
};

/// Reals or codes [N, H, W, C]; code - zero_point is what is transformed.
struct WinogradSource {
  const void* at = nullptr;
  DType dtype = DType::kF32;  ///< kF32, kU8 or kS8
  std::int32_t zero_point = 0;
  const void* padding = nullptr;  ///< [C] of `dtype`: what a pixel outside counts as
};

/// Transformed weights [position][n line][k][16 n], or sums for their gradient [position][o][c];
/// positions `stride` floats apart.
struct WinogradWeights {
  float* at = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;  ///< k, or o

  float* position(std::int64_t p) const { return at + p * stride; }
};

/// Weights in memory, [outputs, taps, taps, inputs].
struct WinogradKernel {
  std::int64_t outputs = 0, inputs = 0, taps = 0;
};

/// B^T d B of the tiles of groups [begin, end).
void winograd_read(const WinogradTiling& tiling, const WinogradSource& source, std::int64_t begin,
                   std::int64_t end, const WinogradBlock& to) noexcept;

/// A y A^T of the tiles of outputs of groups [begin, end): the transpose of winograd_write.
void winograd_spread(const WinogradTiling& tiling, const float* from, std::int64_t begin,
                     std::int64_t end, const WinogradBlock& to) noexcept;

/// Where winograd_write puts its results.
struct WinogradResult {
  float* at = nullptr;          ///< [N, H, W, C]
  const float* bias = nullptr;  ///< [C] to be added, or nullptr
  bool adds = false;            ///< to what is there
};

/// A^T m A into the tiles of outputs of groups [begin, end).
void winograd_write(const WinogradTiling& tiling, const WinogradBlock& from, std::int64_t begin,
                    std::int64_t end, const WinogradResult& to) noexcept;

/// G g G^T with k = inputs, n = outputs: lines [first, last) of n.
void winograd_weights_forward(const WinogradKernel& kernel, const float* weight, std::int64_t first,
                              std::int64_t last, const WinogradWeights& to) noexcept;

/// The same of the kernel turned by half a turn, with k = outputs, n = inputs.
void winograd_weights_backward(const WinogradKernel& kernel, const float* weight,
                               std::int64_t first, std::int64_t last,
                               const WinogradWeights& to) noexcept;

/// scale * G^T sums G for outputs [begin, end).
void winograd_weight_gradient(const WinogradKernel& kernel, const WinogradWeights& sums,
                              float scale, std::int64_t begin, std::int64_t end,
                              float* weight_gradient) noexcept;

/// Name of the instructions that run, as Highway calls them.
const char* winograd_target() noexcept;

}  // namespace bitloom::kernels
