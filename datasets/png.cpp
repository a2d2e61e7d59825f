// PNG by libpng. Its errors come back by longjmp, so the functions that call setjmp hold nothing
// that has a destructor.
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "bitloom/core/error.h"
#include "image_file.h"

namespace bitloom::datasets {
namespace {

struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::uint8_t* next = nullptr;
  std::size_t left = 0;
  std::array<char, 200> message{};
};

extern "C" {

static void bitloom_png_fail(png_structp png, png_const_charp text) {
  auto& decoder = *static_cast<Decoder*>(png_get_error_ptr(png));
  std::snprintf(decoder.message.data(), decoder.message.size(), "%s", text);
  png_longjmp(png, 1);
}

static void bitloom_png_warn(png_structp, png_const_charp) {}

static void bitloom_png_read(png_structp png, png_bytep out, std::size_t size) {
  auto& decoder = *static_cast<Decoder*>(png_get_io_ptr(png));
  if (size > decoder.left) png_error(png, "the file is truncated");
  std::memcpy(out, decoder.next, size);
  decoder.next += size;
  decoder.left -= size;
}

}  // extern "C"

/// Reads the header and asks for 8 bits of gray or RGB.
bool start(Decoder& decoder) {
  if (setjmp(png_jmpbuf(decoder.png)) != 0) return false;
  png_set_read_fn(decoder.png, &decoder, bitloom_png_read);
  png_read_info(decoder.png, decoder.info);
  png_set_expand(decoder.png);
  png_set_strip_16(decoder.png);
  png_set_strip_alpha(decoder.png);
  png_set_interlace_handling(decoder.png);
  png_read_update_info(decoder.png, decoder.info);
  return true;
}

bool read_rows(Decoder& decoder, png_bytepp rows) {
  if (setjmp(png_jmpbuf(decoder.png)) != 0) return false;
  png_read_image(decoder.png, rows);
  png_read_end(decoder.png, nullptr);
  return true;
}

/// Gives libpng's memory back however decoding ends.
class OwnedDecoder {
 public:
  explicit OwnedDecoder(const std::string& bytes) {
    decoder_.next = reinterpret_cast<const std::uint8_t*>(bytes.data());
    decoder_.left = bytes.size();
    decoder_.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder_, bitloom_png_fail,
                                          bitloom_png_warn);
    if (decoder_.png != nullptr) decoder_.info = png_create_info_struct(decoder_.png);
  }
  ~OwnedDecoder() { png_destroy_read_struct(&decoder_.png, &decoder_.info, nullptr); }
  OwnedDecoder(const OwnedDecoder&) = delete;
  OwnedDecoder& operator=(const OwnedDecoder&) = delete;
  Decoder& get() { return decoder_; }
  bool ok() const { return decoder_.info != nullptr; }

 private:
  Decoder decoder_;
};

[[noreturn]] void fail(const std::string& name, std::string expected, std::string found) {
  throw FormatError({.place = name,
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = "take another copy of the file or remove it"});
}

}  // namespace

Picture decode_png(const std::string& bytes, const std::string& name) {
  OwnedDecoder owned(bytes);
  Decoder& decoder = owned.get();
  if (!owned.ok()) fail(name, "libpng to start", "another version or no memory");
  if (!start(decoder)) fail(name, "a whole PNG image", decoder.message.data());
  Picture picture{.height = png_get_image_height(decoder.png, decoder.info),
                  .width = png_get_image_width(decoder.png, decoder.info),
                  .channels = png_get_channels(decoder.png, decoder.info),
                  .pixels = {}};
  if (picture.height * picture.width > kMostPixels) {
    fail(name, cat("at most ", kMostPixels, " pixels"), cat(picture.width, " x ", picture.height));
  }
  const std::size_t row_bytes = png_get_rowbytes(decoder.png, decoder.info);
  picture.pixels.resize(static_cast<std::size_t>(picture.height) * row_bytes);
  std::vector<png_bytep> rows;
  for (std::int64_t y = 0; y < picture.height; ++y) {
    rows.push_back(picture.pixels.data() + static_cast<std::size_t>(y) * row_bytes);
  }
  if (!read_rows(decoder, rows.data())) fail(name, "a whole PNG image", decoder.message.data());
  return picture;
}

}  // namespace bitloom::datasets
