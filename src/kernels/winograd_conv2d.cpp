#include "bitloom/kernels/winograd_conv2d.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/highway.h"
#include "column_sums.h"
#include "f32_primitive.h"
#include "winograd_products.h"
#include "winograd_tiles.h"

namespace bitloom::kernels {
namespace {

// Transformed weights up to here stay in a second-level cache of 1 MB beside a thread's tiles.
constexpr std::int64_t kOwnWeightBytes = 640 * 1024;
constexpr std::int64_t kOwnTileBytes = 256 * 1024;
// Larger ones pass through once for this many tiles of all threads.
constexpr std::int64_t kSharedTiles = 96;
constexpr std::int64_t kSharedTileBytes = 2 * 1024 * 1024;

constexpr std::int64_t kFloatBytes = sizeof(float);

std::int64_t divided_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Positions an odd number of lines apart: 36 places a power of two apart would share a set of a
// cache.
std::int64_t position_stride(std::int64_t floats) {
  return (floats / kWinogradLine | 1) * kWinogradLine;
}

std::int64_t position_bytes(std::int64_t floats) {
  return kWinogradPositions * position_stride(floats) * kFloatBytes;
}

// One direction: tiles of a source and a result, and weights (or their sums) between the two.
struct Pass {
  WinogradTiling source, result;
  std::int64_t groups = 0;  // of all tiles
  std::int64_t block = 0;   // groups that are transformed before they are multiplied
  std::int64_t pieces = 1;  // threads with tiles of their own
  bool own_tiles = false;   // a thread takes its tiles through all steps
  bool own_sums = false;    // ... and has sums of its own: backward weights
  // Sums take the place of what was multiplied: one group, in the first-level cache.
  bool in_place = false;

  std::int64_t weight_count() const { return source.channels * result.channels; }
  std::int64_t block_floats(const WinogradTiling& of) const {
    return block * of.lines() * kWinogradGroupLine;
  }
  std::int64_t tile_bytes() const {
    return position_bytes(block_floats(source)) +
           (in_place ? 0 : position_bytes(block_floats(result)));
  }
  std::int64_t weight_bytes() const { return position_bytes(weight_count()); }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(pieces * tile_bytes() +
                                    (own_sums ? pieces : 1) * weight_bytes());
  }
};

Pass make_pass(const WinogradTiling& source, const WinogradTiling& result, bool sums) {
  Pass pass{.source = source, .result = result};
  pass.groups = divided_up(result.tiles, kWinogradGroup);
  pass.own_tiles = pass.weight_bytes() <= kOwnWeightBytes;
  const std::int64_t group_bytes =
      kWinogradPositions * kWinogradGroup * kFloatBytes * (source.channels + result.channels);
  pass.in_place = !sums && source.lines() == 1 && result.lines() == 1;
  const std::int64_t fitting = (pass.own_tiles ? kOwnTileBytes : kSharedTileBytes) / group_bytes;
  const std::int64_t least =
      pass.own_tiles ? 1 : std::max<std::int64_t>(kSharedTiles / kWinogradGroup, threads());
  pass.block = pass.in_place ? 1 : std::min(std::max(fitting, least), pass.groups);
  if (!pass.own_tiles) return pass;
  pass.pieces = std::clamp<std::int64_t>(pass.groups, 1, threads());
  pass.own_sums = sums;
  return pass;
}

// Scratch of a pass: [weights or sums of each piece][tiles of each piece].
struct Workspace {
  Workspace(const Pass& of, std::byte* scratch) : pass(of), at(scratch) {}
  WinogradWeights weights(std::int64_t piece, std::int64_t rows) const {
    return {.at = reinterpret_cast<float*>(at + piece * pass.weight_bytes()),
            .stride = position_stride(pass.weight_count()),
            .rows = rows};
  }
  // Transformed tiles of the source or the result, of groups from `first` on.
  WinogradBlock tiles(std::int64_t piece, bool result, std::int64_t first) const {
    std::byte* begin =
        at + (pass.own_sums ? pass.pieces : 1) * pass.weight_bytes() + piece * pass.tile_bytes();
    const std::int64_t source_floats = pass.block_floats(pass.source);
    if (!result || pass.in_place) {
      return {.at = reinterpret_cast<float*>(begin),
              .stride = position_stride(source_floats),
              .first = first};
    }
    return {.at = reinterpret_cast<float*>(begin + position_bytes(source_floats)),
            .stride = position_stride(pass.block_floats(pass.result)),
            .first = first};
  }
  const Pass& pass;
  std::byte* at;
};

// `body(begin, end)` on pieces of [0, count), by all threads or by this one.
template <typename Body>
void spread_over(bool all_threads, std::int64_t count, const Body& body) {
  if (!all_threads) return body(std::int64_t{0}, count);
  parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

// body(piece, first group of the piece, first group of the block, its end) for every block.
template <typename Body>
void for_each_block(const Pass& pass, const Body& body) {
  const auto blocks = [&](std::int64_t piece, std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += pass.block) {
      body(piece, begin, first, std::min(end, first + pass.block));
    }
  };
  if (!pass.own_tiles) return blocks(0, 0, pass.groups);
  parallel_for(pass.pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      blocks(piece, pass.groups * piece / pass.pieces, pass.groups * (piece + 1) / pass.pieces);
    }
  });
}

// body(position, first line, end of lines): every position with its lines, cut at panels.
template <typename Body>
void for_each_position(bool all_threads, std::int64_t lines, std::int64_t panel, const Body& body) {
  const std::int64_t panels = divided_up(lines, panel);
  spread_over(all_threads, kWinogradPositions * panels, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t position = begin / panels;
      const std::int64_t next = std::min(end, (position + 1) * panels);
      body(position, begin % panels * panel, std::min(lines, (next - position * panels) * panel));
      begin = next;
    }
  });
}

void filter(const Pass& pass, const WinogradSource& source, const WinogradWeights& weights,
            const WinogradResult& to, const Workspace& space) {
  const bool shared = !pass.own_tiles;
  for_each_block(
      pass, [&](std::int64_t piece, std::int64_t, std::int64_t first, std::int64_t last) {
        const WinogradBlock read = space.tiles(piece, false, first);
        const WinogradBlock sums = space.tiles(piece, true, first);
        spread_over(shared, last - first, [&](std::int64_t begin, std::int64_t end) {
          winograd_read(pass.source, source, first + begin, first + end, read);
        });
        const std::int64_t lines = pass.result.lines();
        for_each_position(shared, lines, winograd_panel(),
                          [&](std::int64_t position, std::int64_t begin, std::int64_t end) {
                            winograd_multiply(read, weights, sums, lines, position, begin, end,
                                              first, last);
                          });
        spread_over(shared, last - first, [&](std::int64_t begin, std::int64_t end) {
          winograd_write(pass.result, sums, first + begin, first + end, to);
        });
      });
}

}  // namespace

class WinogradConv2d::Impl {
 public:
  Impl(const F32Conv2dProblem& problem, const F32Directions& directions)
      : directions_(directions),
        kernel_{.outputs = problem.weight.n(),
                .inputs = problem.weight[1],
                .taps = problem.weight.h()} {
    apply_highway_cap();
    const Shape& x = problem.source;
    const Shape y = conv2d_output("Winograd", problem);
    const std::int64_t step = winograd_outputs(kernel_.taps);
    const std::int64_t pad = problem.window.pad_h();
    const auto tiling = [&](const Shape& tensor, const Shape& outputs, std::int64_t begins) {
      WinogradTiling tiles{.height = tensor.h(),
                           .width = tensor.w(),
                           .channels = tensor.c(),
                           .step = step,
                           .pad = begins,
                           .rows = divided_up(outputs.h(), step),
                           .columns = divided_up(outputs.w(), step)};
      tiles.tiles = tensor.n() * tiles.rows * tiles.columns;
      return tiles;
    };
    forward_ = make_pass(tiling(x, y, pad), tiling(y, y, 0), false);
    data_ = make_pass(tiling(y, x, kernel_.taps - 1 - pad), tiling(x, x, 0), false);
    weights_ = make_pass(tiling(x, y, pad), tiling(y, y, 0), true);
  }

  // Padding lies behind what a pass needs.
  std::size_t scratch_bytes() const {
    std::size_t most = 0;
    if (directions_.forward) most = forward_.scratch_bytes();
    if (directions_.backward_data) most = std::max(most, data_.scratch_bytes());
    if (directions_.backward_weights) most = std::max(most, weights_.scratch_bytes());
    return most + aligned(static_cast<std::size_t>(std::max(kernel_.inputs, kernel_.outputs)) *
                          sizeof(float));
  }

  void forward(const float* source, const float* weight, const float* bias, float* to,
               std::byte* scratch) const {
    const Workspace space(forward_, scratch);
    const WinogradWeights own = space.weights(0, kernel_.inputs);
    parallel_for(kernel_.outputs / kWinogradLine, 1,
                 [&](std::int64_t begin, std::int64_t end, int) {
                   winograd_weights_forward(kernel_, weight, begin, end, own);
                 });
    filter(forward_, reals(forward_, source, scratch), own, {.at = to, .bias = bias}, space);
  }

  void backward_data(const float* gradient, const float* weight, const WinogradResult& to,
                     std::byte* scratch) const {
    const Workspace space(data_, scratch);
    const WinogradWeights own = space.weights(0, kernel_.outputs);
    parallel_for(kernel_.inputs / kWinogradLine, 1, [&](std::int64_t begin, std::int64_t end, int) {
      winograd_weights_backward(kernel_, weight, begin, end, own);
    });
    filter(data_, reals(data_, gradient, scratch), own, to, space);
  }

  void backward_weights(ConstTensorView source, const Codes& codes, const float* gradient,
                        float* to, std::byte* scratch) const;

  void bias_gradient(const float* gradient, float* to) const {
    const std::int64_t pixels = weights_.result.height * weights_.result.width * images();
    column_sums<1>(pixels, kernel_.outputs, std::array<float*, 1>{to},
                   [gradient](std::int64_t i, std::int64_t) { return std::array{gradient[i]}; });
  }

  std::string implementation() const {
    std::string names;
    const auto add = [&](bool prepared, const char* direction) {
      if (!prepared) return;
      names +=
          (names.empty() ? "" : ", ") + std::string(direction) + " winograd:" + winograd_target();
    };
    add(directions_.forward, "forward");
    add(directions_.backward_data, "backward-data");
    add(directions_.backward_weights, "backward-weights");
    return names;
  }

 private:
  std::int64_t images() const {
    return weights_.result.tiles / (weights_.result.rows * weights_.result.columns);
  }
  static WinogradSource reals(const Pass& pass, const float* at, std::byte* scratch) {
    std::byte* padding = scratch + pass.scratch_bytes();
    std::memset(padding, 0, static_cast<std::size_t>(pass.source.channels) * sizeof(float));
    return {.at = at, .padding = padding};
  }

  F32Directions directions_;
  WinogradKernel kernel_;
  Pass forward_, data_, weights_;
};

void WinogradConv2d::Impl::backward_weights(ConstTensorView source, const Codes& codes,
                                            const float* gradient, float* to,
                                            std::byte* scratch) const {
  const Pass& pass = weights_;
  const Workspace space(pass, scratch);
  WinogradSource from = reals(pass, nullptr, scratch);
  from.at = source.raw();
  from.dtype = source.dtype();
  if (from.dtype != DType::kF32) {
    from.zero_point = codes.zero_point;
    std::memset(scratch + pass.scratch_bytes(), codes.zero_point,
                static_cast<std::size_t>(kernel_.inputs));
  }
  const bool shared = !pass.own_tiles;
  for_each_block(pass, [&](std::int64_t piece, std::int64_t begins, std::int64_t first,
                           std::int64_t last) {
    const WinogradBlock x = space.tiles(piece, false, first);
    const WinogradBlock dy = space.tiles(piece, true, first);
    spread_over(shared, last - first, [&](std::int64_t begin, std::int64_t end) {
      winograd_read(pass.source, from, first + begin, first + end, x);
      winograd_spread(pass.result, gradient, first + begin, first + end, dy);
    });
    const WinogradWeights sums = space.weights(piece, kernel_.outputs);
    for_each_position(shared, pass.result.lines(), 1,
                      [&](std::int64_t position, std::int64_t begin, std::int64_t end) {
                        winograd_accumulate(x, pass.source.lines(), dy, pass.result.lines(), sums,
                                            position, begin, end, first, last, first == begins);
                      });
  });
  const WinogradWeights sums = space.weights(0, kernel_.outputs);
  const std::int64_t count = pass.own_sums ? pass.pieces : 1;
  parallel_for(kernel_.outputs, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = 1; piece < count; ++piece) {
      const WinogradWeights other = space.weights(piece, kernel_.outputs);
      for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
        for (std::int64_t i = begin * kernel_.inputs; i < end * kernel_.inputs; ++i) {
          sums.position(p)[i] += other.position(p)[i];
        }
      }
    }
    winograd_weight_gradient(kernel_, sums, codes.scale, begin, end, to);
  });
}

bool WinogradConv2d::supports(const F32Conv2dProblem& problem) {
  const Shape& w = problem.weight;
  if (w.rank() != 4 || problem.operands != DType::kF32) return false;
  const std::int64_t taps = w.h();
  return taps == w.w() && (taps == 3 || taps == 5) && problem.window.stride == 1 &&
         problem.window.groups == 1 && problem.window.pad_h() == problem.window.pad_w() &&
         problem.window.pad_h() < taps && w.n() % kWinogradLine == 0 && w[1] % kWinogradLine == 0;
}

bool WinogradConv2d::pays(const F32Conv2dProblem& problem) {
  if (!supports(problem)) return false;
  constexpr std::int64_t kLeastTiles = 32;
  const std::int64_t taps = problem.weight.h();
  const std::int64_t step = winograd_outputs(taps);
  const Shape y = conv2d_output("Winograd", problem);
  const std::int64_t tiles = y.n() * divided_up(y.h(), step) * divided_up(y.w(), step);
  const std::int64_t direct = y.n() * y.h() * y.w() * taps * taps;  // per input and output channel
  return tiles >= kLeastTiles && 3 * tiles * kWinogradPositions <= 2 * direct;
}

WinogradConv2d::WinogradConv2d(const F32Conv2dProblem& problem, const F32Directions& directions)
    : impl_(std::make_unique<Impl>(problem, directions)) {}
WinogradConv2d::~WinogradConv2d() = default;
WinogradConv2d::WinogradConv2d(WinogradConv2d&&) noexcept = default;
WinogradConv2d& WinogradConv2d::operator=(WinogradConv2d&&) noexcept = default;

std::size_t WinogradConv2d::scratch_bytes() const { return impl_->scratch_bytes(); }

void WinogradConv2d::forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
                             TensorView destination, std::byte* scratch) {
  impl_->forward(source.data<float>(), weight.data<float>(),
                 bias.empty() ? nullptr : bias.data<float>(), destination.data<float>(), scratch);
}

void WinogradConv2d::backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                                   TensorView source_gradient, std::byte* scratch, bool adds) {
  impl_->backward_data(destination_gradient.data<float>(), weight.data<float>(),
                       {.at = source_gradient.data<float>(), .adds = adds}, scratch);
}

void WinogradConv2d::backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                                      TensorView weight_gradient, TensorView bias_gradient,
                                      std::byte* scratch, const Codes& codes) {
  impl_->backward_weights(source, codes, destination_gradient.data<float>(),
                          weight_gradient.data<float>(), scratch);
  if (!bias_gradient.empty()) {
    impl_->bias_gradient(destination_gradient.data<float>(), bias_gradient.data<float>());
  }
}

std::string WinogradConv2d::implementation() const { return impl_->implementation(); }

}  // namespace bitloom::kernels
