// `bitloom-run`, the program without training code: a model from its file to its classes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "backends/hand_models.h"
#include "bitloom/backends/load_model.h"
#include "bitloom/backends/session.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/integer/reference.h"
#include "bitloom/io/hdf5_archive.h"
#include "support/temp_dir.h"

namespace bitloom::backends {
namespace {

using testing::HasSubstr;

struct End {
  int status = -1;
  std::string output;
};

End run_program(const std::string& words) {
  const std::string command =
      cat("OMP_WAIT_POLICY=passive '", BITLOOM_RUN_PROGRAM, "' ", words, " 2>&1");
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  End end;
  std::array<char, 4096> piece{};
  while (const std::size_t count = std::fread(piece.data(), 1, piece.size(), pipe)) {
    end.output.append(piece.data(), count);
  }
  const int status = ::pclose(pipe);
  end.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return end;
}

class RunProgram : public testing::Test {
 protected:
  RunProgram()
      : model_(integer::small_residual_model("int8-reduced", integer::ComputeMode::kStatic)),
        path_(dir_.path() / "m.model.h5") {
    io::save_archive(path_, integer::to_archive(model_));
  }

  TempDir dir_;
  integer::Model model_;
  std::filesystem::path path_;
};

TEST_F(RunProgram, PrintsTheClassesOfEachImage) {
  const Tensor images = integer::random_images(model_.tensors.front().shape.with_batch(5), 3);
  const std::filesystem::path pixels = dir_.path() / "pixels.raw";
  std::ofstream(pixels, std::ios::binary)
      .write(static_cast<const char*>(images.raw()), static_cast<std::streamsize>(images.bytes()));
  Session session(model_, {.backend = "reference", .batch = 5});
  Tensor logits(DType::kF32, Shape{5, model_.classes()});
  session.run(images, logits);
  const std::vector<std::int32_t> best = integer::argmax_rows(logits);
  for (const int batch : {1, 3}) {
    const End end = run_program(
        cat("run '", path_.string(), "' '", pixels.string(), "' --batch ", batch, " --threads=1"));
    EXPECT_EQ(end.status, 0);
    for (std::size_t i = 0; i < best.size(); ++i) {
      EXPECT_THAT(end.output, HasSubstr(cat(i, ": ", best[i], " (")));
    }
  }
}

TEST_F(RunProgram, InspectsAndTimesAModel) {
  const End inspected = run_program(cat("inspect '", path_.string(), "'"));
  EXPECT_EQ(inspected.status, 0);
  EXPECT_THAT(inspected.output, HasSubstr("hand, test"));
  EXPECT_THAT(inspected.output, HasSubstr("depthwise: conv2d, static, to"));
  const End timed = run_program(cat("bench '", path_.string(), "' --runs 3 --isa avx2"));
  EXPECT_EQ(timed.status, 0);
  EXPECT_THAT(timed.output, HasSubstr("first inference "));
  EXPECT_THAT(timed.output, HasSubstr("3 runs, batch 1, threads "));
  EXPECT_THAT(timed.output, HasSubstr("avx2"));
}

TEST_F(RunProgram, StoresWhatItMeasuredInTheModelsFile) {
  const End tuned = run_program(cat("tune '", path_.string(), "' --batch 2 --threads 1"));
  EXPECT_EQ(tuned.status, 0) << tuned.output;
  EXPECT_THAT(tuned.output, HasSubstr("stored for this machine, batch 2, threads 1"));
  const integer::Model stored = load_model(path_);
  ASSERT_EQ(stored.tuned.size(), 1U);
  EXPECT_EQ(stored.tuned.front().where.batch, 2);
  EXPECT_EQ(stored.tuned.front().where.threads, 1);
  EXPECT_EQ(stored.tuned.front().implementations.size(), model_.layers.size());
}

TEST_F(RunProgram, RefusesWithExitCodeTwo) {
  const auto expect = [](const std::string& words, const std::string& text) {
    const End end = run_program(words);
    EXPECT_EQ(end.status, 2) << words;
    EXPECT_THAT(end.output, HasSubstr(text)) << words;
  };
  const std::string model = cat("'", path_.string(), "'");
  expect("train", "found 'train'");
  expect("bench", "expected 1 files, found 0");
  expect(cat("bench ", model, " --speed 3"), "found --speed");
  expect(cat("bench ", model, " --runs"), "expected a value of --runs");
  expect(cat("bench ", model, " --runs none"), "an integer from 1");
  expect(cat("bench ", model, " --backend tpu"), "'tpu'");
  expect(cat("run ", model, " ", model), "raw u8 pixels");
  expect("inspect '/nowhere/m.h5'", "/nowhere/m.h5");
  EXPECT_THAT(run_program("--help").output, HasSubstr("run MODEL PIXELS"));
}

}  // namespace
}  // namespace bitloom::backends
