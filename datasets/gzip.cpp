#include "gzip.h"

#include <zlib.h>

#include <algorithm>
#include <new>
#include <string_view>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"

namespace bitloom::datasets {
namespace {

constexpr std::string_view kMagic("\x1f\x8b", 2);

}  // namespace

/// zlib's state for one file.
class MaybeGzip::Inflater {
 public:
  Inflater(const std::filesystem::path& path, std::string& packed) : path_(path) {
    // 15 window bits, and 16 more for gzip's header and CRC.
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();
    stream_.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream_.avail_in = static_cast<uInt>(packed.size());
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Fills `out` as far as the content goes; @return how far.
  std::size_t fill(char* out, std::size_t size) {
    std::size_t filled = 0;
    while (filled < size && !at_end_) {
      const auto room = static_cast<uInt>(std::min<std::size_t>(size - filled, 1 << 30));
      stream_.next_out = reinterpret_cast<Bytef*>(out + filled);
      stream_.avail_out = room;
      const int state = inflate(&stream_, Z_NO_FLUSH);
      filled += room - stream_.avail_out;
      if (state == Z_STREAM_END) {
        next_member();
      } else if (state == Z_BUF_ERROR ||
                 (state == Z_OK && stream_.avail_in == 0 && stream_.avail_out > 0)) {
        fail("whole gzip data", "a truncated file");
      } else if (state != Z_OK) {
        fail("sound gzip data", stream_.msg != nullptr ? stream_.msg : "damaged data");
      }
    }
    return filled;
  }

 private:
  void next_member() {
    at_end_ = stream_.avail_in == 0;
    if (at_end_) return;
    const std::string_view rest(reinterpret_cast<const char*>(stream_.next_in), stream_.avail_in);
    if (!rest.starts_with(kMagic)) {
      fail("the end of the gzip data", cat(rest.size(), " more bytes"));
    }
    inflateReset(&stream_);
  }

  [[noreturn]] void fail(std::string expected, std::string found) const {
    throw FormatError({.place = path_.string(),
                       .expected = std::move(expected),
                       .found = std::move(found),
                       .remedy = "take another copy of the file"});
  }

  std::filesystem::path path_;
  z_stream stream_{};
  bool at_end_ = false;
};

MaybeGzip::MaybeGzip(std::filesystem::path path, std::int64_t most_packed_bytes)
    : path_(std::move(path)), packed_(io::read_whole_file(path_, most_packed_bytes)) {
  if (packed_.starts_with(kMagic)) inflater_ = std::make_unique<Inflater>(path_, packed_);
}

MaybeGzip::~MaybeGzip() = default;

std::string MaybeGzip::read(std::int64_t bytes) {
  const auto wanted = static_cast<std::size_t>(bytes);
  if (inflater_ == nullptr) {
    const std::string part = packed_.substr(taken_, wanted);
    taken_ += part.size();
    return part;
  }
  std::string out;
  std::size_t filled = 0;
  while (filled == out.size() && filled < wanted) {
    out.resize(std::min(wanted, std::max<std::size_t>(filled * 2, 1 << 16)));
    filled += inflater_->fill(out.data() + filled, out.size() - filled);
  }
  out.resize(filled);
  return out;
}

}  // namespace bitloom::datasets
