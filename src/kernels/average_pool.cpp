#include "bitloom/kernels/average_pool.h"

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/highway.h"
#include "pool_windows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "average_pool.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "channel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

// body(tag, channel) for single vectors that cover all channels.
template <class Body>
struct EachVector {
  const Body& body;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> /*vectors*/, std::int64_t channel) const {
    for (int k = 0; k < kCount; ++k) {
      body(d, channel + k * static_cast<std::int64_t>(hn::Lanes(d)));
    }
  }
};
template <class Body>
HWY_INLINE void for_each_vector(std::int64_t channels, const Body& body) {
  EachVector<Body> each{body};
  for_each_block(channels, each);
}

// One row of windows of the batch.
void average_row(const AveragePool::Geometry& of, std::int64_t row, const float* x, float* y) {
  const std::int64_t line = of.width * of.channels;
  const std::int64_t out = row % of.rows;
  const AveragePool::Run down = of.pixel_rows[static_cast<std::size_t>(out)];
  const AveragePool::Run* const columns = of.pixel_columns.data();
  const float* const pixels = of.pixels.data() + out * of.columns;
  const float* const top = x + (row / of.rows * of.height + down.first) * line;
  float* const to = y + row * of.columns * of.repeat * of.channels;
  for_each_vector(of.channels, [&](auto d, std::int64_t channel) HWY_ATTR {
    float* mean_at = to + channel;
    for (std::int64_t column = 0; column < of.columns; ++column) {
      const AveragePool::Run along = columns[column];
      auto sum = hn::Zero(d);
      for (std::int64_t dy = 0; dy < down.count; ++dy) {
        const float* at = top + dy * line + along.first * of.channels + channel;
        for (std::int64_t dx = 0; dx < along.count; ++dx, at += of.channels) {
          sum = hn::Add(sum, hn::LoadU(d, at));
        }
      }
      const auto mean = hn::Div(sum, hn::Set(d, pixels[column]));
      for (std::int64_t k = 0; k < of.repeat; ++k, mean_at += of.channels) {
        hn::StoreU(mean, d, mean_at);
      }
    }
  });
}

// One row of pixels of the batch: sums down, then along.
void gradient_row(const AveragePool::Geometry& of, std::int64_t row, const OutputGradient& dy,
                  const InputGradient& dx, float* sums) {
  const AveragePool::Run down = of.window_rows[static_cast<std::size_t>(row % of.height)];
  const AveragePool::Run* const windows = of.window_columns.data();
  const std::int64_t top = row / of.height * of.rows + down.first;
  for_each_vector(of.channels, [&](auto d, std::int64_t channel) HWY_ATTR {
    for (std::int64_t k = 0; k < down.count; ++k) {
      const float* const shares = of.shares.data() + (down.first + k) * of.columns;
      std::int64_t from = (top + k) * of.columns * of.repeat * of.channels + channel;
      float* to = sums + channel;
      for (std::int64_t column = 0; column < of.columns; ++column, to += of.channels) {
        auto gradient = load_terms(d, dy, from);
        from += of.channels;
        for (std::int64_t r = 1; r < of.repeat; ++r, from += of.channels) {
          gradient = hn::Add(gradient, load_terms(d, dy, from));
        }
        const auto share = hn::Mul(gradient, hn::Set(d, shares[column]));
        hn::StoreU(k == 0 ? share : hn::Add(hn::LoadU(d, to), share), d, to);
      }
    }
    std::int64_t to = row * of.width * of.channels + channel;
    for (std::int64_t column = 0; column < of.width; ++column, to += of.channels) {
      const AveragePool::Run along = windows[column];
      auto sum = hn::Zero(d);
      if (down.count > 0) {
        const float* at = sums + along.first * of.channels + channel;
        for (std::int64_t k = 0; k < along.count; ++k, at += of.channels) {
          sum = hn::Add(sum, hn::LoadU(d, at));
        }
      }
      store_gradient(d, sum, dx.at, dx.dtype, false, to);
    }
  });
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(average_row);
HWY_EXPORT(gradient_row);

// Rows of a tensor below which a thread more costs more than it brings.
constexpr std::int64_t kGrain = 4;
constexpr std::int64_t kLine = 16;  // floats of a cache line

std::vector<AveragePool::Run> pixels_of(std::int64_t windows, std::int64_t kernel,
                                        const integer::Window& window, std::int64_t size) {
  std::vector<AveragePool::Run> runs;
  for (std::int64_t at = 0; at < windows; ++at) {
    const Inside part = inside(at, kernel, window, size);
    runs.push_back({part.origin + part.first, part.last - part.first});
  }
  return runs;
}

std::vector<AveragePool::Run> windows_of(std::int64_t size, std::int64_t kernel,
                                         const integer::Window& window, std::int64_t windows) {
  std::vector<AveragePool::Run> runs;
  for (std::int64_t at = 0; at < size; ++at) {
    const Covering part = covering(at, kernel, window, windows);
    runs.push_back({part.first, part.last - part.first});
  }
  return runs;
}

}  // namespace

AveragePool::AveragePool(const Shape& source, const integer::Window& window, std::int64_t repeat) {
  const Shape out = pool_output("average pooling", source, window);
  of_ = {.images = source.n(),
         .channels = source.c(),
         .repeat = repeat,
         .height = source.h(),
         .width = source.w(),
         .rows = out.h(),
         .columns = out.w(),
         .pixel_rows = pixels_of(out.h(), window.kernel_h, window, source.h()),
         .pixel_columns = pixels_of(out.w(), window.kernel_w, window, source.w()),
         .window_rows = windows_of(source.h(), window.kernel_h, window, out.h()),
         .window_columns = windows_of(source.w(), window.kernel_w, window, out.w()),
         .pixels = {},
         .shares = {}};
  for (std::int64_t y = 0; y < out.h(); ++y) {
    for (std::int64_t x = 0; x < out.w(); ++x) {
      of_.pixels.push_back(static_cast<float>(pixels_counted(source, window, y, x)));
      of_.shares.push_back(1.0F / of_.pixels.back());
    }
  }
}

void AveragePool::forward(const float* x, float* y) const noexcept {
  apply_highway_cap();
  parallel_for(of_.images * of_.rows, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      HWY_DYNAMIC_DISPATCH(average_row)(of_, row, x, y);
    }
  });
}

std::size_t AveragePool::scratch_bytes() const {
  return static_cast<std::size_t>(threads() * line()) * sizeof(float);
}

std::int64_t AveragePool::line() const {
  return (of_.columns * of_.channels + kLine - 1) / kLine * kLine;
}

void AveragePool::backward(const OutputGradient& dy, const InputGradient& dx,
                           std::byte* scratch) const noexcept {
  apply_highway_cap();
  parallel_for(of_.images * of_.height, kGrain, [&](std::int64_t begin, std::int64_t end, int k) {
    float* sums = reinterpret_cast<float*>(scratch) + k * line();
    for (std::int64_t row = begin; row < end; ++row) {
      HWY_DYNAMIC_DISPATCH(gradient_row)(of_, row, dy, dx, sums);
    }
  });
}

}  // namespace bitloom::kernels
#endif
