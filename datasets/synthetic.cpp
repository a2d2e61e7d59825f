// Labelled gratings: class k is a wave of direction pi*k/classes, under random phase and noise.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "readers.h"

namespace bitloom::datasets {
namespace {

// pixel = 128 + kWave * sin(2 pi * kCycles * (x cos a + y sin a) + phase) + noise in +-kNoise,
// with x and y in [0, 1) and |phase| <= kPhase. Phase and noise keep the classes from being
// trivial: one pixel tells nothing, and a template matches only some images of its class.
constexpr double kWave = 60;
constexpr double kCycles = 3;
constexpr double kPhase = 1.2;
constexpr float kNoise = 60;

void require_between(const char* key, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  throw ConfigError({.place = cat("data.", key),
                     .expected = cat(least, " to ", most),
                     .found = std::to_string(value),
                     .remedy = ""});
}

void draw(const RandomStream& noise, double angle, double phase, const Shape& shape,
          std::uint8_t* image) {
  std::uint64_t drawn = 0;
  for (std::int64_t h = 0; h < shape.h(); ++h) {
    for (std::int64_t w = 0; w < shape.w(); ++w) {
      const double along =
          static_cast<double>(w) / static_cast<double>(shape.w()) * std::cos(angle) +
          static_cast<double>(h) / static_cast<double>(shape.h()) * std::sin(angle);
      const double wave = 2 * std::numbers::pi * kCycles * along + phase;
      for (std::int64_t c = 0; c < shape.c(); ++c) {
        // Channels see the same wave a little later, as colours of one object do.
        const double base = 128 + kWave * std::sin(wave + 0.5 * static_cast<double>(c));
        const double value = base + kNoise * (2 * noise.uniform(drawn++) - 1);
        *image++ = static_cast<std::uint8_t>(std::lrint(std::clamp(value, 0.0, 255.0)));
      }
    }
  }
}

}  // namespace

ImageSet make_synthetic(const DataOptions& options, Split split) {
  const std::int64_t count =
      split == Split::kTest ? options.synthetic_test_images : options.synthetic_images;
  require_between("synthetic_images", options.synthetic_images, 1, 10000000);
  require_between("synthetic_test_images", options.synthetic_test_images, 1, 10000000);
  require_between("synthetic_height", options.synthetic_height, 1, 4096);
  require_between("synthetic_width", options.synthetic_width, 1, 4096);
  require_between("synthetic_channels", options.synthetic_channels, 1, 64);
  const Shape shape{count, options.synthetic_channels, options.synthetic_height,
                    options.synthetic_width};
  require_between("synthetic_* (bytes of all images)", shape.elements(), 1, std::int64_t{4} << 30);

  ImageSet set{.images = Tensor(DType::kU8, shape),
               .labels = std::vector<std::int32_t>(static_cast<std::size_t>(count)),
               .classes = options.classes};
  const std::string word(to_word(split));
  const RandomStream labels(options.synthetic_seed, "synthetic label " + word);
  const RandomStream phases(options.synthetic_seed, "synthetic phase " + word);
  const std::int64_t image_bytes = shape.elements() / count;
  std::uint8_t* pixels = set.images.data<std::uint8_t>();
  parallel_for(count, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto index = static_cast<std::uint64_t>(i);
      const auto label = labels.below(index, static_cast<std::uint32_t>(options.classes));
      const double angle = std::numbers::pi * label / static_cast<double>(options.classes);
      const double phase = kPhase * (2 * phases.uniform(index) - 1);
      set.labels[index] = static_cast<std::int32_t>(label);
      draw(RandomStream(options.synthetic_seed, cat("synthetic noise ", word, i)), angle, phase,
           shape, pixels + i * image_bytes);
    }
  });
  return set;
}

}  // namespace bitloom::datasets
