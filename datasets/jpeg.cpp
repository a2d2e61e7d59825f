// JPEG by libjpeg. Its errors come back by longjmp, so the functions that call setjmp hold nothing
// that has a destructor.
#include <csetjmp>
#include <cstddef>  // jpeglib.h needs size_t and FILE
#include <cstdio>

#include <jpeglib.h>
// jerror.h after it: the names of libjpeg's messages.
#include <jerror.h>

#include <array>

#include "bitloom/core/error.h"
#include "image_file.h"

namespace bitloom::datasets {
namespace {

/// libjpeg's state and where it jumps to. `errors` comes first: libjpeg hands out its address.
struct Decoder {
  jpeg_error_mgr errors;
  std::jmp_buf escape;
  std::array<char, JMSG_LENGTH_MAX> message;
  jpeg_decompress_struct info;
};

Decoder& decoder_of(j_common_ptr info) { return *reinterpret_cast<Decoder*>(info->err); }

extern "C" {

static void bitloom_jpeg_fail(j_common_ptr info) {
  Decoder& decoder = decoder_of(info);
  decoder.errors.format_message(info, decoder.message.data());
  std::longjmp(decoder.escape, 1);
}

// Level -1 is a warning. Most are harmless (bytes between markers); these mean lost pixels.
static void bitloom_jpeg_warn(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (decoder_of(info).errors.msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_ARITH_BAD_CODE:
      bitloom_jpeg_fail(info);
      break;
    default:
      break;
  }
}

}  // extern "C"

/// Reads the header and decides what comes out.
bool start(Decoder& decoder, const unsigned char* bytes, unsigned long size) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_create_decompress(&decoder.info);
  jpeg_mem_src(&decoder.info, bytes, size);
  jpeg_read_header(&decoder.info, TRUE);
  switch (decoder.info.jpeg_color_space) {
    case JCS_GRAYSCALE:
      decoder.info.out_color_space = JCS_GRAYSCALE;
      break;
    case JCS_CMYK:
    case JCS_YCCK:
      decoder.info.out_color_space = JCS_CMYK;
      break;
    default:
      decoder.info.out_color_space = JCS_RGB;
      break;
  }
  jpeg_calc_output_dimensions(&decoder.info);
  return true;
}

bool read_rows(Decoder& decoder, unsigned char* pixels, std::size_t row_bytes) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_start_decompress(&decoder.info);
  while (decoder.info.output_scanline < decoder.info.output_height) {
    JSAMPROW row = pixels + decoder.info.output_scanline * row_bytes;
    jpeg_read_scanlines(&decoder.info, &row, 1);
  }
  jpeg_finish_decompress(&decoder.info);
  return true;
}

/// Gives libjpeg's memory back however decoding ends.
class OwnedDecoder {
 public:
  OwnedDecoder() {
    decoder_.info.err = jpeg_std_error(&decoder_.errors);
    decoder_.errors.error_exit = bitloom_jpeg_fail;
    decoder_.errors.emit_message = bitloom_jpeg_warn;
  }
  ~OwnedDecoder() { jpeg_destroy_decompress(&decoder_.info); }
  OwnedDecoder(const OwnedDecoder&) = delete;
  OwnedDecoder& operator=(const OwnedDecoder&) = delete;
  Decoder& get() { return decoder_; }

 private:
  Decoder decoder_{};
};

[[noreturn]] void fail(const std::string& name, std::string expected, std::string found) {
  throw FormatError({.place = name,
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .remedy = "take another copy of the file or remove it"});
}

}  // namespace

Picture decode_jpeg(const std::string& bytes, const std::string& name) {
  OwnedDecoder owned;
  Decoder& decoder = owned.get();
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (!start(decoder, data, bytes.size())) {
    fail(name, "a whole JPEG image", decoder.message.data());
  }
  Picture picture{.height = decoder.info.output_height,
                  .width = decoder.info.output_width,
                  .channels = decoder.info.output_components,
                  .pixels = {}};
  if (picture.height * picture.width > kMostPixels) {
    fail(name, cat("at most ", kMostPixels, " pixels"), cat(picture.width, " x ", picture.height));
  }
  const auto row_bytes = static_cast<std::size_t>(picture.width * picture.channels);
  picture.pixels.resize(static_cast<std::size_t>(picture.height) * row_bytes);
  if (!read_rows(decoder, picture.pixels.data(), row_bytes)) {
    fail(name, "a whole JPEG image", decoder.message.data());
  }
  // Only Adobe's files hold CMYK in practice, and they hold it inverted.
  if (picture.channels == 4 && decoder.info.saw_Adobe_marker == FALSE) {
    for (std::uint8_t& value : picture.pixels) value = static_cast<std::uint8_t>(255 - value);
  }
  return picture;
}

}  // namespace bitloom::datasets
