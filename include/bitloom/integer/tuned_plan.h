// A measured choice of kernels that an exported model carries along for one machine.
// Comes from: tools (bench --tune). Goes to: model_archive.h, backends/session.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bitloom::integer {

/// Where a choice was measured: it says nothing about anywhere else.
struct TunedFor {
  std::string cpu;      ///< core/cpu.h: cpu_name()
  std::string isa;      ///< word of the effective ISA
  std::string backend;  ///< "onednn"
  int threads = 1;
  std::int64_t batch = 1;
  bool operator==(const TunedFor&) const = default;
};

/// Names of implementations, one a layer. All give the same bits: a name that a program does not
/// know changes the time alone, for it then takes what it would have taken anyway.
struct TunedPlan {
  TunedFor where;
  std::vector<std::string> implementations;
  bool operator==(const TunedPlan&) const = default;
};

/// The plan for `where`, or nullptr.
const TunedPlan* find_tuned(std::span<const TunedPlan> plans, const TunedFor& where);

/// Adds the plan, in the place of one for the same machine.
void put_tuned(std::vector<TunedPlan>& plans, TunedPlan plan);

/// As a text of a model file: six lines a plan, "cpu = ...", "isa = ...", "backend = ...",
/// "threads = ...", "batch = ...", "layers = own onednn ...".
std::string tuned_to_text(std::span<const TunedPlan> plans);

/// @throws FormatError for lines that tuned_to_text does not write, or another number of names
///         than `layers`.
std::vector<TunedPlan> tuned_from_text(const std::string& text, std::size_t layers);

}  // namespace bitloom::integer
