#include "bitloom/kernels/channels.h"

#include <cstddef>
#include <cstring>

#include "bitloom/core/parallel.h"

namespace bitloom::kernels {

void copy_channels(ConstTensorView source, const ChannelRange& range,
                   TensorView destination) noexcept {
  const Shape& from = source.shape();
  const Shape& to = destination.shape();
  BITLOOM_ASSERT(source.dtype() == destination.dtype());
  BITLOOM_ASSERT(from.n() == to.n() && from.h() == to.h() && from.w() == to.w());
  BITLOOM_ASSERT(range.first + range.count <= from.c() && range.to + range.count <= to.c());
  const std::size_t size = size_of(source.dtype());
  const auto bytes_of = [size](std::int64_t elements) {
    return static_cast<std::size_t>(elements) * size;
  };
  const auto* in = static_cast<const std::byte*>(source.raw()) + bytes_of(range.first);
  auto* out = static_cast<std::byte*>(destination.raw()) + bytes_of(range.to);
  // Below some thousand bytes a second thread costs more than it brings.
  constexpr std::int64_t kGrainBytes = 16384;
  const std::int64_t run = static_cast<std::int64_t>(bytes_of(range.count));
  const std::int64_t grain = run > 0 ? kGrainBytes / run + 1 : 1;
  parallel_for(from.n() * from.h() * from.w(), grain,
               [&](std::int64_t begin, std::int64_t end, int) {
                 for (std::int64_t pixel = begin; pixel < end; ++pixel) {
                   std::memcpy(out + bytes_of(pixel * to.c()), in + bytes_of(pixel * from.c()),
                               static_cast<std::size_t>(run));
                 }
               });
}

}  // namespace bitloom::kernels
