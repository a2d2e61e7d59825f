#include "gzip.h"

#include <zlib.h>

#include <algorithm>
#include <string_view>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"

namespace bitloom::datasets {
namespace {

constexpr std::string_view kMagic("\x1f\x8b", 2);

/// zlib's state for one file.
class Inflater {
 public:
  // 15 window bits, and 16 more for gzip's header and CRC.
  Inflater() : ready_(inflateInit2(&stream_, 15 + 16) == Z_OK) {}
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  bool ready() const { return ready_; }
  z_stream& stream() { return stream_; }

 private:
  z_stream stream_{};
  bool ready_;
};

[[noreturn]] void fail(const std::filesystem::path& path, std::string expected, std::string found) {
  throw FormatError({.place = path.string(),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = "take another copy of the file"});
}

std::string unpack(const std::filesystem::path& path, std::string& packed,
                   std::int64_t most_bytes) {
  Inflater inflater;
  if (!inflater.ready()) throw std::bad_alloc();
  z_stream& stream = inflater.stream();
  // zlib counts in 32 bits; the caller's limit keeps files below that.
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out(std::min<std::size_t>(packed.size() * 2 + 64, 1 << 20), '\0');
  std::size_t filled = 0;
  while (true) {
    if (filled == out.size()) {
      if (static_cast<std::int64_t>(filled) > most_bytes) {
        fail(path, cat("at most ", most_bytes, " bytes after unpacking"), "more");
      }
      out.resize(std::min(filled * 2, static_cast<std::size_t>(most_bytes) + 1));
    }
    const auto room = static_cast<uInt>(std::min<std::size_t>(out.size() - filled, 1 << 30));
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + filled);
    stream.avail_out = room;
    const int state = inflate(&stream, Z_NO_FLUSH);
    filled += room - stream.avail_out;
    if (state == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      const std::string_view rest(reinterpret_cast<const char*>(stream.next_in), stream.avail_in);
      if (!rest.starts_with(kMagic)) {
        fail(path, "the end of the gzip data", cat(rest.size(), " more bytes"));
      }
      inflateReset(&stream);
    } else if (state == Z_BUF_ERROR ||
               (state == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      fail(path, "whole gzip data", "a truncated file");
    } else if (state != Z_OK) {
      fail(path, "sound gzip data", stream.msg != nullptr ? stream.msg : "damaged data");
    }
  }
  if (static_cast<std::int64_t>(filled) > most_bytes) {
    fail(path, cat("at most ", most_bytes, " bytes after unpacking"), cat(filled));
  }
  out.resize(filled);
  return out;
}

}  // namespace

std::string read_maybe_gzip(const std::filesystem::path& path, std::int64_t most_bytes) {
  std::string content = io::read_whole_file(path, most_bytes);
  if (!content.starts_with(kMagic)) return content;
  return unpack(path, content, most_bytes);
}

}  // namespace bitloom::datasets
