// IDX and CIFAR-10 files and pictures that somebody made to do harm.
#include "bitloom/io/whole_file.h"
#include "cli/hostile.h"
#include "datasets/idx_files.h"

namespace bitloom::tools {
namespace {

using datasets::gzipped;
using datasets::idx_bytes;

constexpr std::uint32_t kMost = 0xFFFFFFFF;

Words train_on(const Folder& folder, const std::string& reader) {
  return train_words(folder / "run", {"--data.reader", reader, "--data.path", folder / "data",
                                      "--data.validation_images=2"});
}

std::string repeated(const std::string& part, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += part;
  return all;
}

struct HostileBytes {
  const char* name;
  std::string bytes;
  std::vector<std::string> parts;
};

TEST(HostileData, IdxIsRefused) {
  const Folder folder;
  std::filesystem::create_directories(folder / "data");
  io::write_whole_file(folder / "data/t10k-labels-idx1-ubyte", idx_bytes({10}, std::string(10, 0)));
  const std::string whole = idx_bytes({10, 12, 12}, std::string(1440, '\7'));
  const std::string packed = gzipped(whole);
  std::string broken = packed;
  broken[packed.size() - 8] = static_cast<char>(broken[packed.size() - 8] ^ 1);
  // 2 GiB of zeros in two megabytes.
  const std::string bomb = repeated(gzipped(std::string(std::size_t{64} << 20, '\0')), 32);
  const std::vector<HostileBytes> table = {
      {"empty", "", {"an IDX header of 16 bytes, found 0 bytes"}},
      {"overflow of 96 bits", idx_bytes({kMost, kMost, kMost}, ""), {"at most 1073741824 values"}},
      {"overflow of 64 bits", idx_bytes({1U << 31, 1U << 31, 4}, ""), {"at most 1073741824"}},
      {"overflow of 32 bits", idx_bytes({1U << 16, 1U << 16, 1}, ""), {"at most 1073741824"}},
      {"honest claim, no data", idx_bytes({1U << 10, 1U << 10, 1U << 10}, ""), {"truncated"}},
      {"nothing", idx_bytes({0, 12, 12}, ""), {"at least one image"}},
      {"truncated", whole.substr(0, 1455), {"1440 values", "found 1439: the file is truncated"}},
      {"trailing", whole + "x", {"1440 values", "found more bytes after them"}},
      {"labels for images", idx_bytes({1456}, std::string(1456, 0)), {"magic number 0x00000803"}},
      {"another kind",
       "\x7f"
       "ELF" +
           std::string(99, 0),
       {"found 0x7f454c46"}},
      {"gzip cut in the header", packed.substr(0, 5), {"whole gzip data, found a truncated file"}},
      {"gzip cut in the end", packed.substr(0, packed.size() - 1), {"a truncated file"}},
      {"gzip trailing", packed + "junk", {"the end of the gzip data, found 4 more bytes"}},
      {"gzip of another sum", broken, {"sound gzip data, found incorrect data check"}},
      {"gzip bomb", bomb, {"magic number 0x00000803", "found 0x00000000"}},
      {"gzip bomb behind a header", packed + bomb, {"found more bytes after them"}},
  };
  for (const HostileBytes& hostile : table) {
    SCOPED_TRACE(hostile.name);
    io::write_whole_file(folder / "data/t10k-images-idx3-ubyte", hostile.bytes);
    std::vector<std::string> parts = hostile.parts;
    parts.push_back(folder / "data/t10k-images-idx3-ubyte");
    expect_refused(train_on(folder, "idx"), parts);
  }
}

TEST(HostileData, Cifar10IsRefused) {
  const Folder folder;
  std::filesystem::create_directories(folder / "data");
  const std::string record(3073, '\1');
  const std::string file = folder / "data/test_batch.bin";
  const std::vector<HostileBytes> table = {
      {"empty", "", {"records of 3073 bytes, found 0 bytes"}},
      {"truncated", record.substr(1), {"records of 3073 bytes, found 3072 bytes"}},
      {"trailing", record + "x", {"found 3074 bytes, 1 too many"}},
      {"label", record + "\xff" + record.substr(1), {"found 255 in record 1", "data.classes"}},
      {"gzip", gzipped(record), {"records of 3073 bytes"}},
  };
  for (const HostileBytes& hostile : table) {
    SCOPED_TRACE(hostile.name);
    io::write_whole_file(file, hostile.bytes);
    std::vector<std::string> parts = hostile.parts;
    parts.push_back(file);
    expect_refused(train_on(folder, "cifar10"), parts);
  }
  std::filesystem::resize_file(file, std::uintmax_t{3073} << 30);  // a hole of 3 TiB
  expect_refused(train_on(folder, "cifar10"),
                 {file, "at most 268435456 bytes, found 3299608625152"});
}

TEST(HostileData, PictureIsRefused) {
  const Folder folder;
  std::filesystem::create_directories(folder / "data/test/a");
  const std::string file = folder / "data/test/a/1.png";
  const std::string signature = "\x89PNG\r\n\x1a\n";
  // Width and height of 2^31 - 1, 8 bits, RGB, behind a right checksum.
  std::string huge("IHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0", 17);
  const uLong sum = crc32(0, reinterpret_cast<const Bytef*>(huge.data()), 17);
  huge = std::string("\0\0\0\r", 4) + huge;
  for (int shift = 24; shift >= 0; shift -= 8) huge += static_cast<char>(sum >> shift);
  const std::vector<HostileBytes> table = {
      {"empty", "", {"an empty file"}},
      {"text", "hello", {"a JPEG or PNG image"}},
      {"signature alone", signature, {"a whole PNG image"}},
      {"huge", signature + huge, {"expected a"}},
      {"JPEG signature alone", "\xff\xd8\xff", {"a whole JPEG image"}},
  };
  for (const HostileBytes& hostile : table) {
    SCOPED_TRACE(hostile.name);
    io::write_whole_file(file, hostile.bytes);
    Words words = train_on(folder, "folder");
    words.insert(words.end(), {"--data.classes=2", "--data.image_size=12", "--data.resize=12"});
    std::filesystem::create_directories(folder / "data/test/b");
    io::write_whole_file(folder / "data/test/b/1.png", hostile.bytes);
    std::vector<std::string> parts = hostile.parts;
    parts.push_back("1.png");
    expect_refused(words, parts);
  }
}

}  // namespace
}  // namespace bitloom::tools
