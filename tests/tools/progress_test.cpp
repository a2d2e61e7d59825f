#include "progress.h"

#include <gtest/gtest.h>

namespace bitloom::tools {
namespace {

const trainers::StepReport kHalf{.epoch = 1,
                                 .epochs = 4,
                                 .step = 49,
                                 .steps = 100,
                                 .loss = 0.41234,
                                 .train_top1 = 85.14,
                                 .images_per_second = 4100.4,
                                 .validation_top1 = 88.2};

TEST(Progress, LineShowsBarNumbersAndEta) {
  EXPECT_EQ(
      progress_line(kHalf, 83.0, 200),
      "epoch 2/4 [==========>         ] 50 %  loss 0.412  top-1 85.1 %  4100 images/s  ETA 1:23");
}

TEST(Progress, LineFitsTheTerminal) { EXPECT_EQ(progress_line(kHalf, 83.0, 30).size(), 30U); }

TEST(Progress, FullBarHasNoArrow) {
  trainers::StepReport report = kHalf;
  report.step = 99;
  EXPECT_NE(progress_line(report, 0, 200).find("[====================] 100 %"), std::string::npos);
}

TEST(Progress, EpochLineTellsBothAccuracies) {
  EXPECT_EQ(epoch_line(kHalf, 13.2),
            "epoch 2/4: loss 0.4123, training top-1 85.14 %, validation top-1 88.20 %, 4100 "
            "images/s, 0:13");
}

}  // namespace
}  // namespace bitloom::tools
