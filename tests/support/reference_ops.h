// The float layers' meaning in plain loops, forward and backward, for any floating type: the double
// version is what oneDNN's results and central differences are compared with.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::reference {

/// Values in channels-last memory.
template <typename T>
struct Array {
  Shape shape;
  std::vector<T> values;

  Array() = default;
  explicit Array(const Shape& of)
      : shape(of), values(static_cast<std::size_t>(of.elements()), T{0}) {}
  explicit Array(ConstTensorView tensor) : Array(tensor.shape()) {
    const auto from = tensor.span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = from[i];
  }

  T& at(std::int64_t n, std::int64_t c, std::int64_t h = 0, std::int64_t w = 0) {
    return values[static_cast<std::size_t>(shape.offset(n, c, h, w))];
  }
  const T& at(std::int64_t n, std::int64_t c, std::int64_t h = 0, std::int64_t w = 0) const {
    return values[static_cast<std::size_t>(shape.offset(n, c, h, w))];
  }
  T& operator[](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  const T& operator[](std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }
};

inline Shape slid(const Shape& x, std::int64_t channels, const integer::Window& window) {
  return {x.n(), channels, (x.h() + 2 * window.pad_h() - window.kernel_h) / window.stride + 1,
          (x.w() + 2 * window.pad_w() - window.kernel_w) / window.stride + 1};
}

/// Calls body(n, y, x, ky, kx, source row, source column) for each position inside the image.
template <typename Body>
void for_each_tap(const Shape& source, const Shape& out, const integer::Window& window,
                  const Body& body) {
  for (std::int64_t n = 0; n < out.n(); ++n) {
    for (std::int64_t y = 0; y < out.h(); ++y) {
      for (std::int64_t x = 0; x < out.w(); ++x) {
        for (std::int64_t ky = 0; ky < window.kernel_h; ++ky) {
          for (std::int64_t kx = 0; kx < window.kernel_w; ++kx) {
            const std::int64_t sy = y * window.stride + ky - window.pad_h();
            const std::int64_t sx = x * window.stride + kx - window.pad_w();
            if (sy < 0 || sy >= source.h() || sx < 0 || sx >= source.w()) continue;
            body(n, y, x, ky, kx, sy, sx);
          }
        }
      }
    }
  }
}

/// Calls body(output element, source element) for each value that a pooling reads.
template <typename Body>
void for_each_pooled(const Shape& source, const Shape& out, const integer::Window& window,
                     const Body& body) {
  for_each_tap(source, out, window,
               [&](std::int64_t n, std::int64_t y, std::int64_t x, std::int64_t, std::int64_t,
                   std::int64_t sy, std::int64_t sx) {
                 for (std::int64_t c = 0; c < out.c(); ++c) {
                   body(out.offset(n, c, y, x), source.offset(n, c, sy, sx));
                 }
               });
}

/// Calls body(output element, source element, weight element) for each product of a convolution.
/// window's kernel must be the weight's.
template <typename T, typename Body>
void for_each_product(const Array<T>& x, const Array<T>& w, const Shape& out,
                      const integer::Window& window, const Body& body) {
  const std::int64_t group_outputs = out.c() / window.groups;
  for_each_tap(x.shape, out, window,
               [&](std::int64_t n, std::int64_t oy, std::int64_t ox, std::int64_t ky,
                   std::int64_t kx, std::int64_t sy, std::int64_t sx) {
                 for (std::int64_t o = 0; o < out.c(); ++o) {
                   const std::int64_t first = o / group_outputs * w.shape.c();
                   for (std::int64_t i = 0; i < w.shape.c(); ++i) {
                     body(out.offset(n, o, oy, ox), x.shape.offset(n, first + i, sy, sx),
                          w.shape.offset(o, i, ky, kx));
                   }
                 }
               });
}

template <typename T>
Array<T> conv2d(const Array<T>& x, const Array<T>& w, const Array<T>* bias,
                const integer::Window& window) {
  Array<T> y(slid(x.shape, w.shape.n(), window));
  for (std::size_t i = 0; bias != nullptr && i < y.values.size(); ++i) {
    y.values[i] = bias->values[i % bias->values.size()];
  }
  for_each_product(x, w, y.shape, window, [&](std::int64_t out, std::int64_t in, std::int64_t k) {
    y[out] += x[in] * w[k];
  });
  return y;
}

/// Adds to the gradients; null ones are left out.
template <typename T>
void conv2d_backward(const Array<T>& x, const Array<T>& w, const Array<T>& dy,
                     const integer::Window& window, Array<T>* dx, Array<T>* dw, Array<T>* db) {
  for_each_product(x, w, dy.shape, window, [&](std::int64_t out, std::int64_t in, std::int64_t k) {
    if (dx != nullptr) (*dx)[in] += dy[out] * w[k];
    if (dw != nullptr) (*dw)[k] += dy[out] * x[in];
  });
  for (std::size_t i = 0; db != nullptr && i < dy.values.size(); ++i) {
    db->values[i % db->values.size()] += dy.values[i];
  }
}

/// Batch statistics, biased variance.
template <typename T>
struct Statistics {
  std::vector<T> mean, variance;
};

template <typename T>
Statistics<T> statistics(const Array<T>& x) {
  const auto channels = static_cast<std::size_t>(x.shape.c());
  const T count = static_cast<T>(x.values.size() / channels);
  Statistics<T> out{std::vector<T>(channels, T{0}), std::vector<T>(channels, T{0})};
  for (std::size_t i = 0; i < x.values.size(); ++i) out.mean[i % channels] += x.values[i] / count;
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    const T distance = x.values[i] - out.mean[i % channels];
    out.variance[i % channels] += distance * distance / count;
  }
  return out;
}

template <typename T>
Array<T> batch_norm(const Array<T>& x, const Array<T>& gamma, const Array<T>& beta,
                    const Statistics<T>& batch, T epsilon) {
  Array<T> y(x.shape);
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    const std::size_t c = i % gamma.values.size();
    y.values[i] =
        gamma.values[c] * (x.values[i] - batch.mean[c]) / std::sqrt(batch.variance[c] + epsilon) +
        beta.values[c];
  }
  return y;
}

/// Adds to the gradients.
template <typename T>
void batch_norm_backward(const Array<T>& x, const Array<T>& gamma, const Array<T>& dy, T epsilon,
                         Array<T>& dx, Array<T>& dgamma, Array<T>& dbeta) {
  const Statistics<T> batch = statistics(x);
  const std::size_t channels = gamma.values.size();
  const T count = static_cast<T>(x.values.size() / channels);
  const auto normalized = [&](std::size_t i) {
    return (x.values[i] - batch.mean[i % channels]) /
           std::sqrt(batch.variance[i % channels] + epsilon);
  };
  std::vector<T> sum(channels, T{0}), product(channels, T{0});
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    sum[i % channels] += dy.values[i];
    product[i % channels] += dy.values[i] * normalized(i);
  }
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    const std::size_t c = i % channels;
    dx.values[i] += gamma.values[c] / std::sqrt(batch.variance[c] + epsilon) *
                    (dy.values[i] - sum[c] / count - normalized(i) * product[c] / count);
  }
  for (std::size_t c = 0; c < channels; ++c) {
    dgamma.values[c] += product[c];
    dbeta.values[c] += sum[c];
  }
}

/// Also the source element of each maximum, the first of equals.
template <typename T>
struct MaxPooled {
  Array<T> y;
  std::vector<std::int64_t> from;
};

template <typename T>
MaxPooled<T> max_pool(const Array<T>& x, const integer::Window& window) {
  MaxPooled<T> out{Array<T>(slid(x.shape, x.shape.c(), window)), {}};
  out.from.assign(out.y.values.size(), -1);
  for_each_pooled(x.shape, out.y.shape, window, [&](std::int64_t to, std::int64_t source) {
    std::int64_t& from = out.from[static_cast<std::size_t>(to)];
    if (from >= 0 && !(x[source] > out.y[to])) return;
    from = source;
    out.y[to] = x[from];
  });
  return out;
}

/// What each average divides by: its pixels inside the image, or with count_pad all of them.
template <typename T>
Array<T> pixels_counted(const Shape& source, const Shape& out, const integer::Window& window) {
  Array<T> count(out);
  for_each_pooled(source, out, window, [&](std::int64_t to, std::int64_t) { count[to] += T{1}; });
  if (window.count_pad) {
    for (T& each : count.values) each = static_cast<T>(window.kernel_h * window.kernel_w);
  }
  return count;
}

/// Padding is left out of sum and count; with count_pad out of the sum alone.
template <typename T>
Array<T> avg_pool(const Array<T>& x, const integer::Window& window) {
  Array<T> y(slid(x.shape, x.shape.c(), window));
  const Array<T> count = pixels_counted<T>(x.shape, y.shape, window);
  for_each_pooled(x.shape, y.shape, window,
                  [&](std::int64_t to, std::int64_t from) { y[to] += x[from]; });
  for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] /= count.values[i];
  return y;
}

/// Adds to dx.
template <typename T>
void avg_pool_backward(const Array<T>& dy, const integer::Window& window, Array<T>& dx) {
  const Array<T> count = pixels_counted<T>(dx.shape, dy.shape, window);
  for_each_pooled(dx.shape, dy.shape, window,
                  [&](std::int64_t to, std::int64_t from) { dx[from] += dy[to] / count[to]; });
}

/// Mean loss; adds its gradient.
template <typename T>
T softmax_cross_entropy(const Array<T>& logits, const std::vector<std::int32_t>& labels,
                        Array<T>& gradient) {
  const std::int64_t rows = logits.shape.n();
  T loss = 0;
  for (std::int64_t n = 0; n < rows; ++n) {
    T sum = 0;
    for (std::int64_t c = 0; c < logits.shape.c(); ++c) sum += std::exp(logits.at(n, c));
    const std::int32_t label = labels[static_cast<std::size_t>(n)];
    loss += (std::log(sum) - logits.at(n, label)) / static_cast<T>(rows);
    for (std::int64_t c = 0; c < logits.shape.c(); ++c) {
      gradient.at(n, c) +=
          (std::exp(logits.at(n, c)) / sum - (c == label ? T{1} : T{0})) / static_cast<T>(rows);
    }
  }
  return loss;
}

}  // namespace bitloom::reference
