#include "bitloom/io/sha256.h"

#include <gtest/gtest.h>

namespace bitloom::io {
namespace {

// FIPS 180-4 example messages, and one million letters (NIST CAVP).
TEST(Sha256, MatchesPublishedDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowItIsCut) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i);
  for (std::size_t size = 0; size < text.size(); size += 7) {
    const std::string_view whole = std::string_view(text).substr(0, size);
    for (const std::size_t piece : {1U, 63U, 64U, 65U}) {
      Sha256 sum;
      for (std::size_t at = 0; at < size; at += piece) sum.add(whole.substr(at, piece));
      ASSERT_EQ(sum.finish(), sha256_hex(whole)) << size << " by " << piece;
    }
  }
}

}  // namespace
}  // namespace bitloom::io
