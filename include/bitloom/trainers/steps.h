// What quantization does inside a checkpoint's network, on images of its data.
// Comes from: quant/step_statistics.h. Goes to: tools (layers.jsonl).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "bitloom/quant/code_statistics.h"
#include "bitloom/quant/step_statistics.h"
#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

struct StepsReport {
  std::int64_t images = 0;
  std::vector<quant::StepStatistics> steps;  ///< none for a float network
  quant::LevelCodes codes;                   ///< of weights of one and two bits
};

/// Looks at the first `images` test images, at most; config.data.path says where they are now.
/// Averaged weights stand in for the last ones, as in the exported model.
/// @throws FormatError for a broken checkpoint or data set.
StepsReport measure_steps(const std::filesystem::path& checkpoint, const Config& config,
                          std::int64_t images = 256);

}  // namespace bitloom::trainers
