// A short run of every fuzz target: its seeds, thousands of them damaged in a fixed random way, and
// every file that once broke something.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/io/whole_file.h"
#include "fuzz/target.h"

namespace bitloom::fuzz {
namespace {

std::vector<Target> targets() {
  return {archive_target(), model_target(), checkpoint_target(), idx_target(),   cifar10_target(),
          picture_target(), hdf5_target(),  graph_target(),      config_target()};
}

/// How one input ended; anything but an error of ours fails the test.
enum class End { kRead, kRefused };
End run(const Target& target, std::string_view bytes, const std::string& what) {
  try {
    target.run(bytes);
    return End::kRead;
  } catch (const Error&) {
    return End::kRefused;
  } catch (const std::exception& error) {
    ADD_FAILURE() << target.name << ", " << what << ": " << error.what();
    return End::kRefused;
  }
}

/// `seed` with one to four places changed: a bit, a byte, a number's ends, a cut, a part repeated.
std::string damaged(const std::string& seed, const RandomStream& random, std::uint64_t run) {
  std::string bytes = seed;
  std::uint64_t draw = run * 64;
  const auto below = [&](std::size_t limit) {
    return random.below(draw++, static_cast<std::uint32_t>(std::max<std::size_t>(limit, 1)));
  };
  for (std::uint32_t change = below(4) + 1; change > 0; --change) {
    const std::uint32_t kind = below(6);
    const std::size_t at = below(bytes.size());
    if (bytes.empty() || kind == 0) {
      bytes.insert(at, below(12) + 1, static_cast<char>(below(256)));
    } else if (kind == 1) {
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
    } else if (kind == 2) {
      bytes[at] = static_cast<char>(below(256));
    } else if (kind == 3) {
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                  std::min<std::size_t>(4, bytes.size() - at), below(2) == 0 ? '\0' : '\377');
    } else if (kind == 4 && change == 1) {
      bytes.resize(at);
    } else {
      bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
    }
  }
  return bytes;
}

class FuzzReplay : public testing::TestWithParam<std::size_t> {
 protected:
  const Target target_ = targets()[GetParam()];
};

TEST_P(FuzzReplay, ReadsItsSeeds) {
  const std::vector<std::string> seeds = target_.seeds();
  ASSERT_FALSE(seeds.empty());
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    EXPECT_EQ(run(target_, seeds[i], cat("seed ", i)), End::kRead) << target_.name << " " << i;
  }
}

TEST_P(FuzzReplay, RefusesOrReadsWhatIsDamaged) {
  const RandomStream random(1, target_.name);
  const std::vector<std::string> seeds = target_.seeds();
  const auto began = std::chrono::steady_clock::now();
  int refused = 0;
  int runs = 0;
  // Some readers fork for every file: what fits a second, at least 30.
  for (std::uint64_t i = 0; i < 2000; ++i, ++runs) {
    if (i >= 30 && std::chrono::steady_clock::now() - began > std::chrono::seconds(1)) break;
    const std::string bytes = damaged(seeds[i % seeds.size()], random, i);
    if (run(target_, bytes, cat("damage ", i)) == End::kRefused) ++refused;
  }
  EXPECT_GE(runs, 30);
  EXPECT_GT(refused, 0) << "of " << runs;
}

TEST_P(FuzzReplay, RefusesOrReadsWhatOnceBroke) {
  const std::filesystem::path folder =
      std::filesystem::path(BITLOOM_SOURCE_DIR) / "tests/fuzz/regressions" / target_.name;
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "nothing broke " << target_.name;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    run(target_, io::read_whole_file(entry.path()), entry.path().filename().string());
    ++files;
  }
  EXPECT_GT(files, 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzReplay, testing::Range<std::size_t>(0, targets().size()),
                         [](const auto& param) { return targets()[param.param].name; });

}  // namespace
}  // namespace bitloom::fuzz
