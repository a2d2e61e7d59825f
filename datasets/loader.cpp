#include "bitloom/datasets/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/pin_threads.h"
#include "bitloom/core/random.h"
#include "bitloom/datasets/normalization.h"

namespace bitloom::datasets {
namespace {

void require_between(const char* key, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  throw ConfigError({.place = key,
                     .expected = cat(least, " to ", most),
                     .found = std::to_string(value),
                     .remedy = ""});
}

}  // namespace

/// The buffers and the thread that fills them. Batch i of a run lies in buffer i % slots; the
/// thread is at batch `filled_`, the user holds or has released all below `released_`.
class BatchLoader::Ring {
 public:
  Ring(const ImageSet& set, Tensor table, const LoaderOptions& options);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  std::int64_t batches() const {
    const std::int64_t whole = set_.size() / options_.batch;
    return options_.drop_last || set_.size() % options_.batch == 0 ? whole : whole + 1;
  }
  void start(std::int64_t epoch, std::int64_t first_batch);
  std::optional<Batch> next();
  LoaderWaits waits() const {
    const std::lock_guard lock(mutex_);
    return waits_;
  }
  std::int64_t ready() const {
    const std::lock_guard lock(mutex_);
    return filled_ - released_ - (held_ ? 1 : 0);
  }

 private:
  struct Slot {
    Tensor images;
    std::vector<std::int32_t> labels;
  };

  void wait_for_batch(std::unique_lock<std::mutex>& lock);
  void run();
  void fill(std::int64_t batch, Slot& slot);
  std::int64_t size_of_batch(std::int64_t batch) const {
    return std::min(options_.batch, set_.size() - batch * options_.batch);
  }
  Slot& slot_of(std::int64_t batch) {
    return slots_[static_cast<std::size_t>(batch) % slots_.size()];
  }

  const ImageSet& set_;
  const Tensor table_;
  const LoaderOptions options_;
  std::vector<Slot> slots_;

  mutable std::mutex mutex_;  // guards what follows; order_ changes only while the thread is idle
  std::condition_variable changed_;
  std::vector<std::uint32_t> order_;
  RandomStream augmentation_{0, 0};      // of the epoch; changes as order_ does
  std::vector<std::uint8_t> augmented_;  // one image, the thread's own
  std::int64_t filled_ = 0;
  std::int64_t released_ = 0;
  std::int64_t end_ = 0;
  LoaderWaits waits_;
  bool held_ = false;  // the user looks at batch released_
  bool busy_ = false;  // the thread is inside fill()
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it starts when all else is there
};

BatchLoader::Ring::Ring(const ImageSet& set, Tensor table, const LoaderOptions& options)
    : set_(set), table_(std::move(table)), options_(options) {
  require_between("batch", options.batch, 1, 1 << 20);
  require_between("prefetch", options.prefetch, 1, 64);
  require_between("data.augment_pad", options.augment.pad, 0, 1024);
  const Shape& shape = set.images.shape();
  if (set.images.dtype() != DType::kU8 || shape.rank() != 4 || shape.n() != set.size() ||
      table_.shape() != Shape{shape.c(), 256} || table_.dtype() != DType::kF32) {
    throw ShapeError({.place = "loader",
                      .expected = cat("images u8 [", set.size(), ", C, H, W] and a table [C, 256]"),
                      .found = cat(to_word(set.images.dtype()), " ", to_string(shape), " and ",
                                   to_string(table_.shape())),
                      .remedy = ""});
  }
  if (batches() == 0) {
    throw ConfigError({.place = "batch",
                       .expected = cat("at most the ", set.size(), " images of the set"),
                       .found = std::to_string(options.batch),
                       .remedy = "make the batch smaller or the set larger"});
  }
  // One more than lie ready: the batch that the user looks at.
  slots_.resize(static_cast<std::size_t>(options.prefetch + 1));
  for (Slot& slot : slots_) {
    slot.images = Tensor(DType::kF32, shape.with_batch(options.batch));
    slot.labels.resize(static_cast<std::size_t>(options.batch));
  }
  order_.resize(static_cast<std::size_t>(set.size()));
  augmented_.resize(static_cast<std::size_t>(shape.c() * shape.h() * shape.w()));
  thread_ = std::thread([this] {
    const Unpinned roams;  // it would share the first core with the step that it is to feed
    run();
  });
}

BatchLoader::Ring::~Ring() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BatchLoader::Ring::start(std::int64_t epoch, std::int64_t first_batch) {
  require_between("epoch", epoch, 0, INT64_MAX);
  require_between("first batch", first_batch, 0, batches());
  std::unique_lock lock(mutex_);
  end_ = 0;  // so that the thread takes up nothing more of the old run
  changed_.wait(lock, [this] { return !busy_; });
  if (options_.shuffle) {
    order_ = permutation(RandomStream(options_.seed, cat("shuffle", epoch)),
                         static_cast<std::uint32_t>(set_.size()));
  } else {
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::uint32_t>(i);
  }
  augmentation_ = RandomStream(options_.seed, cat("augment", epoch));
  error_ = nullptr;
  held_ = false;
  waits_ = {};
  filled_ = released_ = first_batch;
  end_ = batches();
  changed_.notify_all();
}

std::optional<Batch> BatchLoader::Ring::next() {
  std::unique_lock lock(mutex_);
  if (held_) {
    held_ = false;
    ++released_;
    changed_.notify_all();
  }
  if (released_ >= end_) return std::nullopt;
  wait_for_batch(lock);
  if (filled_ <= released_) std::rethrow_exception(error_);
  held_ = true;
  const Slot& slot = slot_of(released_);
  const std::int64_t size = size_of_batch(released_);
  return Batch{.images = {DType::kF32, slot.images.shape().with_batch(size), slot.images.raw()},
               .labels = std::span(slot.labels).first(static_cast<std::size_t>(size)),
               .size = size,
               .index = released_};
}

void BatchLoader::Ring::wait_for_batch(std::unique_lock<std::mutex>& lock) {
  const auto has_come = [this] { return filled_ > released_ || error_ != nullptr; };
  if (has_come()) return;
  const auto start = std::chrono::steady_clock::now();
  changed_.wait(lock, has_come);
  ++waits_.count;
  waits_.milliseconds +=
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void BatchLoader::Ring::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] {
      const bool has_room = filled_ - released_ < static_cast<std::int64_t>(slots_.size());
      return stop_ || (filled_ < end_ && has_room && error_ == nullptr);
    });
    if (stop_) return;
    const std::int64_t batch = filled_;
    busy_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      fill(batch, slot_of(batch));
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    busy_ = false;
    if (error != nullptr) {
      error_ = error;
    } else {
      ++filled_;
    }
    changed_.notify_all();
  }
}

void BatchLoader::Ring::fill(std::int64_t batch, Slot& slot) {
  const Shape& shape = set_.images.shape();
  const std::int64_t pixels = shape.h() * shape.w();
  const std::int64_t bytes = pixels * shape.c();
  for (std::int64_t i = 0; i < size_of_batch(batch); ++i) {
    const std::uint32_t index = order_[static_cast<std::size_t>(batch * options_.batch + i)];
    const std::int32_t label = set_.labels[index];
    if (label < 0 || label >= set_.classes) {
      throw FormatError({.place = cat("label of image ", index),
                         .expected = cat("0 to ", set_.classes - 1),
                         .found = std::to_string(label),
                         .remedy = "set data.classes"});
    }
    slot.labels[static_cast<std::size_t>(i)] = label;
    const std::uint8_t* image = set_.images.data<std::uint8_t>() + index * bytes;
    if (options_.augment.any()) {
      augment_image(image, shape, options_.augment.pad,
                    draw_augmentation(augmentation_, index, options_.augment), augmented_.data());
      image = augmented_.data();
    }
    normalize_pixels(image, table_.data<float>(), shape.c(), pixels,
                     slot.images.data<float>() + i * bytes);
  }
}

BatchLoader::BatchLoader(const ImageSet& set, Tensor table, const LoaderOptions& options)
    : ring_(std::make_unique<Ring>(set, std::move(table), options)) {}

BatchLoader::~BatchLoader() = default;

std::int64_t BatchLoader::batches() const { return ring_->batches(); }

void BatchLoader::start(std::int64_t epoch, std::int64_t first_batch) {
  ring_->start(epoch, first_batch);
}

std::optional<Batch> BatchLoader::next() { return ring_->next(); }

LoaderWaits BatchLoader::waits() const { return ring_->waits(); }

std::int64_t BatchLoader::ready() const { return ring_->ready(); }

}  // namespace bitloom::datasets
