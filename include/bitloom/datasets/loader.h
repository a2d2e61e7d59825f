// Batches of normalised images, prepared by one thread ahead of the training step.
// Comes from: dataset.h, normalization.h. Goes to: train.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "bitloom/core/tensor.h"
#include "bitloom/datasets/dataset.h"

namespace bitloom::datasets {

struct LoaderOptions {
  std::int64_t batch = 128;
  std::uint64_t seed = 1;
  bool shuffle = true;    ///< else the set's own order
  bool drop_last = true;  ///< leave out the last batch if it is not full
  AugmentOptions augment;
  std::int64_t prefetch = 3;  ///< batches that may lie ready, 1 .. 64
};

/// What lies in one ring buffer; valid until the next call of next() or start().
struct Batch {
  ConstTensorView images;                ///< f32 [size, C, H, W]
  std::span<const std::int32_t> labels;  ///< [size]
  std::int64_t size = 0;
  std::int64_t index = 0;  ///< of this batch in its epoch, from 0
};

/// How often and how long next() had to wait for the background thread since start().
struct LoaderWaits {
  std::int64_t count = 0;
  double milliseconds = 0.0;
};

/// Walks over an ImageSet epoch by epoch.
///
/// The order of epoch e is permutation(RandomStream(seed, cat("shuffle", e)), N): a function of
/// seed and epoch alone, so a run that is resumed at (epoch, batch) sees the same batches. Image i
/// is augmented by RandomStream(seed, cat("augment", e)) at i, whatever batch it falls into.
/// One background thread gathers and normalises into preallocated buffers; it uses no OpenMP, and
/// next() waits only if it has fallen behind. next() and start() are for one thread.
class BatchLoader {
 public:
  /// `set` must outlive the loader; `table` is normalization_table()'s.
  /// @throws ConfigError for a batch or prefetch out of range, or if an epoch has no batch;
  ///         ShapeError if set and table do not fit each other.
  BatchLoader(const ImageSet& set, Tensor table, const LoaderOptions& options);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// Batches of one epoch.
  std::int64_t batches() const;

  /// Goes to batch `first_batch` of `epoch`, whatever was under way.
  /// @throws ConfigError unless 0 <= epoch and 0 <= first_batch <= batches().
  void start(std::int64_t epoch, std::int64_t first_batch = 0);

  /// The next batch, or nothing at the end of the epoch and before the first start().
  /// Rethrows what stopped the background thread (FormatError for a label out of range).
  std::optional<Batch> next();

  /// The first batch behind start() counts too: nothing can lie ready for it.
  LoaderWaits waits() const;
  /// Batches that lie ready: so many calls of next() will not wait.
  std::int64_t ready() const;

 private:
  class Ring;
  std::unique_ptr<Ring> ring_;
};

}  // namespace bitloom::datasets
