// An exported model on disk, and what a row says of it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "bitloom/backends/session.h"
#include "bitloom/integer/model.h"
#include "bitloom/trainers/config.h"

namespace bitloom::tools {

/// What one file holds.
struct ModelFile {
  std::filesystem::path path;
  integer::Model model;
  trainers::Config config;           ///< as stored in the model
  std::int64_t size_bytes = 0;       ///< of the file
  std::int64_t parameter_bytes = 0;  ///< stored for the layers: packed weights, scales, biases
};

/// @throws FormatError if it is missing, damaged, of another schema or a newer version.
ModelFile load_model_file(const std::filesystem::path& path);

/// @throws ConfigError if --profile asks for another one than the model was exported for.
void require_profile(const ModelFile& file, const std::string& profile);

/// True if every convolution and linear layer multiplies integers (modes static and dynamic): then
/// its logits have one right value, bit for bit.
bool multiplies_integers(const integer::Model& model);

/// Width in a row of numbers that are not quantized.
constexpr int kFloatBits = 32;

/// What every row says of machine and program: isa, threads, device, commit.
nlohmann::json machine_row();

/// Everything of a row that needs no measurement; the rest is null. Bits are 32 for a float model.
/// `epochs` of the run that ended in these weights, 0 for ptq. `levels`: number of codes that the
/// coarsest layer's weights may take.
nlohmann::json model_row(const ModelFile& file, const std::string& backend);

/// The plan as a table: one row per layer.
std::string plan_table(const std::vector<backends::PlanRow>& plan);
nlohmann::json plan_json(const std::vector<backends::PlanRow>& plan);

/// Number, or null for NaN and infinities, which JSON lacks.
nlohmann::json number_or_null(double value);

}  // namespace bitloom::tools
