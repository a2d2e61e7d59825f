// bench --suite: the named networks in every method, under one or more instruction caps, with a
// report.
// Comes from: run_commands.cpp. Goes to: report_devices.h.
#pragma once

#include <string>
#include <vector>

#include "bitloom/core/cpu.h"
#include "command.h"

namespace bitloom::tools {

/// The networks of the published experiment: mobilenet_v1, inception_v3, resnet50, resnet101,
/// resnet152, vgg16, vgg19.
const std::vector<std::string>& seven_networks();

/// "seven" or names of networks. @throws ConfigError for others.
std::vector<std::string> suite_networks(const std::string& text);

/// "avx2,vnni" to caps; vnni and amx are short for avx512_vnni and avx512_amx, "" is what the CPU
/// has. @throws ConfigError for other words.
std::vector<Isa> suite_isas(const std::string& text);

/// Options that only --suite reads, --suite among them.
const std::vector<OptionSpec>& suite_options();

/// Makes the models of a network once, with seeded weights, and times them in a child process for
/// each cap: there the methods take turns, at least 50 runs and 1 s each unless 10 s are over
/// first, and every integer model is held to the reference executor. Models follow the cap: 7-bit
/// weights (profile int8-reduced) where products are summed in 16 bits. Writes DIR/rows.jsonl after
/// every network and DIR/report.html at the end. Rows are those of bench_models() with suite, and
/// with "reason" alone where nothing was measured: a cap that this CPU lacks, bf16 where it has no
/// such instructions. A qat row repeats the row of ptq-static, which same_as names: both multiply
/// codes of the same widths.
/// @return kExitCheckFailed where a model's bits differ from the reference executor's or a child
///         failed; kExitInterrupted after Ctrl-C, with the rows so far.
/// @throws ConfigError if DIR holds rows already.
int run_suite(const Arguments& arguments);

}  // namespace bitloom::tools
