#include "bitloom/kernels/channels.h"

#include <cstddef>
#include <cstring>

#include "bitloom/core/parallel.h"

namespace bitloom::kernels {
namespace {

// Below some thousand bytes a second thread costs more than it brings.
constexpr std::int64_t kGrainBytes = 16384;
// Pixels ahead whose lines of the joined tensor are fetched: a store waits for its line.
constexpr std::int64_t kAhead = 16;

// body(first pixel, last pixel) in pieces for the threads.
template <typename Body>
void for_pixels(const Shape& shape, std::size_t pixel_bytes, const Body& body) {
  const auto bytes = static_cast<std::int64_t>(pixel_bytes);
  const std::int64_t grain = bytes > 0 ? kGrainBytes / bytes + 1 : 1;
  parallel_for(shape.n() * shape.h() * shape.w(), grain,
               [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

}  // namespace

void join_channels(std::span<const ConstTensorView> parts, TensorView joined) noexcept {
  const std::size_t size = size_of(joined.dtype());
  const std::size_t step = static_cast<std::size_t>(joined.shape().c()) * size;
  for_pixels(joined.shape(), step, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      std::byte* to =
          static_cast<std::byte*>(joined.raw()) + static_cast<std::size_t>(pixel) * step;
      for (const ConstTensorView& part : parts) {
        const std::size_t run = static_cast<std::size_t>(part.shape().c()) * size;
        __builtin_prefetch(to + kAhead * step, 1);
        std::memcpy(
            to, static_cast<const std::byte*>(part.raw()) + static_cast<std::size_t>(pixel) * run,
            run);
        to += run;
      }
    }
  });
}

void split_channels(ConstTensorView joined, std::span<const std::int64_t> channels,
                    std::span<const TensorView> parts) noexcept {
  const std::size_t size = size_of(joined.dtype());
  const std::size_t step = static_cast<std::size_t>(joined.shape().c()) * size;
  for_pixels(joined.shape(), step, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t pixel = begin; pixel < end; ++pixel) {
      const std::byte* from =
          static_cast<const std::byte*>(joined.raw()) + static_cast<std::size_t>(pixel) * step;
      for (std::size_t k = 0; k < parts.size(); ++k) {
        const std::size_t run = static_cast<std::size_t>(channels[k]) * size;
        if (!parts[k].empty()) {
          std::byte* to =
              static_cast<std::byte*>(parts[k].raw()) + static_cast<std::size_t>(pixel) * run;
          __builtin_prefetch(to + kAhead * run, 1);
          std::memcpy(to, from, run);
        }
        from += run;
      }
    }
  });
}

}  // namespace bitloom::kernels
