#include <iostream>

#include "bench_layer.h"
#include "bench_models.h"
#include "bench_suite.h"
#include "bench_training.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/integer/profile.h"
#include "bitloom/kernels/onednn.h"
#include "bitloom/models/networks.h"
#include "bitloom/trainers/compare_methods.h"
#include "bitloom/trainers/config_keys.h"
#include "command.h"
#include "embedded.h"
#include "global_options.h"
#include "manual.h"
#include "measure.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

std::vector<OptionSpec> with_options(std::vector<OptionSpec> options,
                                     const std::vector<OptionSpec>& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

std::vector<std::string> profile_words() {
  std::vector<std::string> words;
  for (const integer::DeviceProfile& profile : integer::all_profiles()) {
    words.push_back(profile.name);
  }
  return words;
}

// What bench reads besides what all of its kinds do: models, suites, training steps.
std::vector<OptionSpec> bench_options() {
  return with_options(with_options(model_bench_options(), suite_options()),
                      training_bench_options());
}

std::string method_lines() {
  std::string lines;
  for (const trainers::CompareMethod& method : trainers::compare_methods()) {
    lines += cat("  ", method.word, std::string(20 - method.word.size(), ' '), method.help, "\n");
  }
  return lines;
}

std::vector<Command> make_commands() {
  const OptionSpec backend{"backend", "B", "what runs the model: onednn (default), reference",
                           false, backends::backend_names()};
  const OptionSpec fallback{"fallback",
                            "reference",
                            "let the reference run what the backend cannot",
                            false,
                            {"reference"}};
  const OptionSpec probe_images{"images", "N", "images of the validation split; default 256"};
  const std::vector<std::string> every = {"", "data", "model", "train", "quant", "compare"};
  return {
      {"train",
       "--config F --out DIR [--init CKPT] [--resume DIR]",
       "train a network, in float or with fake quantization",
       "Writes DIR/checkpoint.h5, DIR/config.cfg and one JSON row an epoch to DIR/epochs.jsonl.\n"
       "Ctrl-C saves and exits with 130; --resume DIR then continues bit for bit, with the\n"
       "configuration of its checkpoint.\n"
       "Example: bitloom train --config trainers/configs/fashion_lenet5.cfg --out runs/float\n"
       "         bitloom train --config trainers/configs/fashion_lenet5.cfg --out runs/w4a4\n"
       "           --init runs/float/checkpoint.h5 --quant.method=qat --quant.weight_bits=4\n",
       {},
       {{"config", "F", "INI file; see the keys below"},
        {"out", "DIR", "folder of the run"},
        {"init", "CKPT", "checkpoint whose weights start the run"},
        {"resume", "DIR", "folder of a run to continue"}},
       every,
       run_train},
      {"quantize",
       "--checkpoint F --method M --out CKPT",
       "quantize a float checkpoint after training",
       "ptq-static calibrates activations on the validation split of the checkpoint's [data];\n"
       "ptq-dynamic lets the model find their range in each image while it runs (always 8 bits);\n"
       "ptq-weight-only stores weights in few bits and computes with reals.\n"
       "Example: bitloom quantize --checkpoint runs/float/checkpoint.h5 --method ptq-static\n"
       "           --quant.weight_bits=4 --out runs/ptq.h5\n",
       {},
       {{"checkpoint", "F", "a float checkpoint", true},
        {"method",
         "M",
         "ptq-static, ptq-dynamic or ptq-weight-only",
         true,
         {"ptq-static", "ptq-dynamic", "ptq-weight-only"}},
        {"out", "CKPT", "file to write", true}},
       {"", "data.path", "quant"},
       run_quantize},
      {"sqnr",
       "--checkpoint F [--images N] [--json F]",
       "signal to noise of every quantization step, predicted and measured",
       "For a float checkpoint, with every step at 4 .. 10 bits (9 and 10 simulated in float):\n"
       "plain is the harmonic sum of the steps before a place; refined weighs each step's noise "
       "by\n"
       "its gain, measured with that step alone at that width; measured is one float pass against\n"
       "one quantized pass. It takes some passes for each step and width: fewer --images, less "
       "time.\n"
       "Example: bitloom sqnr --checkpoint runs/float/checkpoint.h5 --json sqnr.jsonl\n",
       {},
       {{"checkpoint", "F", "a float checkpoint", true}, probe_images},
       {"", "data.path", "quant"},
       run_sqnr},
      {"sensitivity",
       "--checkpoint F [--images N] [--json F]",
       "what each quantization step alone costs the logits, at 2 .. 8 bits",
       "One pass over the images for each step and width.\n"
       "Example: bitloom sensitivity --checkpoint runs/float/checkpoint.h5\n",
       {},
       {{"checkpoint", "F", "a float checkpoint", true}, probe_images},
       {"", "data.path", "quant"},
       run_sensitivity},
      {"allocate",
       "--checkpoint F [--target-sqnr-db X | --target-size-ratio R] [--out F.cfg]",
       "choose the width of every layer's weights and activations",
       "Without a target: the least average widths at the SQNR that equal ones would have\n"
       "(quant.weight_bits, quant.activation_bits). quant.min_bits and quant.max_bits are limits;\n"
       "the end layers (quant.first_last_bits) and those of quant.layer_bits keep their widths.\n"
       "quantize, train and compare do the same themselves with --quant.bits=auto.\n"
       "Latency is checked, not chosen by: int8 kernels take as long for 2 bits as for 8.\n"
       "Example: bitloom allocate --checkpoint runs/float/checkpoint.h5 --target-size-ratio 0.125\n"
       "           --out runs/mixed.cfg\n",
       {},
       {{"checkpoint", "F", "a float checkpoint", true},
        {"target-sqnr-db", "X", "least predicted SQNR of the logits"},
        {"target-size-ratio", "R", "size of the weights / their float size, 0.125 for 4 bits"},
        {"target-bit-operations", "R", "share of the bit-operations of w8a8"},
        {"target-latency-ms", "X", "an error where the chosen widths take longer on this machine"},
        {"latency", "", "time the equal and the chosen widths on this machine"},
        {"greedy", "", "compare with greedy choice by measured sensitivity"},
        {"out", "F.cfg", "write the configuration with the widths"},
        probe_images},
       {"", "data.path", "quant"},
       run_allocate},
      {"export",
       "--checkpoint F --out MODEL.h5 [--profile P]",
       "turn a checkpoint into a model that backends run",
       "The profile is the checkpoint's unless --profile names another one.\n"
       "Example: bitloom export --checkpoint runs/w4a4/checkpoint.h5 --out runs/w4a4.model.h5\n",
       {},
       {{"checkpoint", "F", "of train or quantize", true},
        {"profile", "P", "number formats of the device: int8, int8-reduced, fixed-point", false,
         profile_words()},
        {"out", "MODEL.h5", "file to write", true}},
       {""},
       run_export},
      {"eval",
       "--model FILE [--backend B] [--data.path DIR] [--logits FILE.h5] [--parity]",
       "accuracy of an exported model on its test images",
       "The data set is the one of the model's stored [data]; --data.path moves its folder.\n"
       "--parity compares every logit with the reference executor's, bit for bit; exit code 1 if "
       "a\n"
       "model that multiplies integers differs. Of others it tells the largest difference.\n"
       "Example: bitloom eval --model runs/w4a4.model.h5 --backend onednn --parity\n",
       {},
       {{"model", "FILE", "exported model", true},
        backend,
        {"batch", "N", "images in a run; default 100"},
        {"logits", "FILE.h5", "write dataset logits, f32 [N, classes]"},
        {"parity", "", "compare with the reference executor"},
        {"validation", "", "also the accuracy on the images held out of the training split"},
        fallback},
       {"", "data"},
       run_eval},
      {"bench",
       "--model FILE[,FILE] [--backend B] [--batch N] [--runs N], or --network N [--method M],\n"
       "       or --suite seven --out DIR, or --layer L [--kernel K], or --training --network N",
       "latency and memory of exported models, side by side; of single layers; of a training step",
       "Several models run in turns, so that they are compared under the same conditions. Peak\n"
       "memory is measured above start-up, each model in a process of its own.\n"
       "--network makes the models itself, with seeded weights at the images that the network was\n"
       "made for: float, bf16, ptq-dynamic, ptq-static, ptq-weight-only, qat.\n"
       "--suite seven does so for mobilenet_v1, inception_v3, resnet50, resnet101, resnet152,\n"
       "vgg16 and vgg19 in every method, beside the reference executor's bits, and writes\n"
       "DIR/rows.jsonl and DIR/report.html; --isa=avx2,avx512,vnni,amx does it under each cap, as\n"
       "older CPUs would. `bitloom report` joins several DIRs.\n"
       "--training times the step of `bitloom train` (forward, loss, backward, optimizer) on\n"
       "synthetic images, tells where its time goes beside the machine's peaks, and counts its\n"
       "heap allocations; the keys below apply to it. --per-layer: a line for each layer, beside\n"
       "the machine's peaks; for exported models too, in runs of their own.\n"
       "--layer plans and times one layer with random weights, beside the reference executor;\n"
       "exit code 1 if an integer kernel's output differs from it in a bit.\n"
       "Example: bitloom bench --model runs/float.model.h5,runs/w8a8.model.h5 --threads=1\n"
       "         bitloom bench --network resnet50 --method float,ptq-static --threads=2\n"
       "         bitloom bench --suite seven --out runs/seven --threads=2\n"
       "         bitloom bench --training --network resnet20 --method qat --weight-bits 4\n"
       "           --activation-bits 4 --batch 128 --json step.json\n"
       "         bitloom bench --layer conv2d:n1,c256,h14,w14,o256,k3,s1,p1 --kernel float,int8\n",
       {},
       with_options({backend,
                     {"batch", "N", "images in a run, default 1; in a training step, default 128"},
                     {"runs", "N", "timed runs of each model; default 200"},
                     fallback,
                     {"per-layer", "",
                      "one line for each layer: work, time, what limits it; not with --layer"},
                     layer_bench_options()[0],
                     layer_bench_options()[1],
                     {"training", "", "time a training step; the options below are for it"}},
                    bench_options()),
       training_bench_keys(),
       run_bench},
      {"report",
       "DIR... [--out FILE.html]",
       "rows of several devices, caps or runs of bench --suite as one page",
       "Reads rows.jsonl of each DIR (or the file itself), tools/peers/inference.py's too. Writes\n"
       "FILE, or devices.html in the first DIR: devices side by side, original against quantized\n"
       "inference time, speed-ups, time by kind of kernel, roofline, and why it helped or did "
       "not.\n"
       "Example: bitloom report runs/laptop runs/server --out devices.html\n",
       {{"DIR...", "", "folders of bench --suite, or their rows.jsonl"}},
       {{"out", "FILE", "the page; default devices.html in the first DIR"}},
       {},
       run_report},
      {"compare",
       "--config F --out DIR [--init CKPT] [--reuse]",
       "float, PTQ and QAT in one honest table",
       "Trains float once, then every method of [compare] at every width; exports, evaluates and\n"
       "times each. Writes DIR/rows.jsonl and DIR/report.html.\n"
       "Methods:\n" +
           method_lines() +
           "Example: bitloom compare --config trainers/configs/fashion_lenet5.cfg --out "
           "runs/demo\n",
       {},
       {{"config", "F", "INI file; see the keys below", true},
        {"out", "DIR", "folder of the comparison", true},
        {"init", "CKPT", "float checkpoint to take instead of training one"},
        {"reuse", "", "take what a run with the same configuration has finished in DIR"}},
       every,
       run_compare},
      {"diff",
       "A B [--images N] [--tolerance T]",
       "the first layer and channel where two executions part, and by how much",
       "A and B are FILE or FILE@EXECUTOR: an exported model on a backend (onednn unless named), "
       "or "
       "a\n"
       "checkpoint with its fake-quant nodes (@fake-quant) or without (@float). Layers of the "
       "same\n"
       "name are compared as reals. Exit code 1 if any differs.\n"
       "Example: bitloom diff runs/w8a8.model.h5@onednn runs/w8a8.model.h5@reference\n"
       "         bitloom diff runs/w8a8/checkpoint.h5@fake-quant runs/w8a8.model.h5 --images 16\n",
       {{"A", "", "FILE or FILE@EXECUTOR"}, {"B", "", "FILE or FILE@EXECUTOR"}},
       {{"images", "N", "first test images of A's data set; without it 4 of random pixels"},
        {"tolerance", "T",
         "share of a layer's largest value up to which values count as equal; default 0"}},
       {"", "data"},
       run_diff},
      {"inspect",
       "FILE [OTHER] | --network N [--text] | --number X [--largest M]",
       "what a checkpoint, a model, a graph or a number holds; or two files side by side",
       "FILE is a checkpoint, an exported model or a graph text (.net). With OTHER, of the same\n"
       "kind: what differs, tensor by tensor or layer by layer.\n"
       "--number shows sign, exponent and mantissa, and the number's codes at 8 and 4 bits.\n"
       "Example: bitloom inspect runs/w4a4.model.h5\n"
       "         bitloom inspect runs/float.model.h5 runs/w4a4.model.h5\n"
       "         bitloom inspect --network resnet8 --text\n"
       "         bitloom inspect --number 85.125\n",
       {{"FILE", "", "a checkpoint, an exported model or a graph text"},
        {"OTHER", "", "a second file, to compare"}},
       {{"network", "N", "a built-in network instead of a file", false, models::network_names()},
        {"text", "", "print the graph text"},
        {"number", "X", "a number instead of a file"},
        {"largest", "M",
         "with --number: largest magnitude of the grids; default: |X| rounded up "
         "to a power of two"}},
       {"", "data"},
       run_inspect},
      {"completion",
       "bash | zsh",
       "print a script that completes commands, options, keys and their values",
       "Example: bitloom completion bash > ~/.local/share/bash-completion/completions/bitloom\n"
       "         source <(bitloom completion zsh)\n",
       {{"SHELL", "", "bash or zsh", true, {"bash", "zsh"}}},
       {},
       {},
       run_completion},
      {"help",
       "[COMMAND] | --man",
       "help on a command; or all of it as a man page",
       "Example: bitloom help train\n"
       "         bitloom help --man > bitloom.1 && man ./bitloom.1\n",
       {{"COMMAND", "", "one of the commands"}},
       {{"man", "", "print the man page, in roff"}},
       {},
       run_help},
  };
}

TextTable option_table(const std::vector<OptionSpec>& options) {
  TextTable table{{"option", "meaning"}, {}};
  for (const OptionSpec& option : options) {
    table.rows.push_back({cat("--", option.name, option.value.empty() ? "" : " ", option.value),
                          cat(option.help, option.required ? " (required)" : "")});
  }
  return table;
}

[[noreturn]] void refuse_command(const std::string& word) {
  std::vector<std::string> names = {"--help", "--version"};
  for (const Command& command : command_table()) names.push_back(command.name);
  const std::string near = trainers::nearest_word(word, names);
  throw ConfigError(
      {"bitloom", "a command", cat("'", word, "'"),
       near.empty() ? "bitloom --help lists them" : cat("did you mean '", near, "'?")});
}

void print_version() {
  const Isa isa = effective_isa();
  std::cout << "bitloom " << version() << " (" << build_commit() << ")\n"
            << "oneDNN " << kernels::onednn_version() << "\n"
            << "CPU " << cpu_name() << ", " << to_word(isa) << "\n"
            << "default profile " << integer::default_profile(isa).name << "\n";
}

}  // namespace

int run_help(const Arguments& arguments) {
  if (arguments.has("man")) {
    std::cout << man_page();
  } else if (arguments.positionals.empty()) {
    std::cout << general_help();
  } else if (const Command* command = find_command(arguments.positionals.front())) {
    std::cout << command_help(*command);
  } else {
    refuse_command(arguments.positionals.front());
  }
  return kExitDone;
}

const std::vector<Command>& command_table() {
  static const std::vector<Command> commands = [] {
    std::vector<Command> made = make_commands();
    for (const Command& command : made) {
      made.back().positionals.front().words.push_back(command.name);  // help's
    }
    return made;
  }();
  return commands;
}

const Command* find_command(const std::string& name) {
  for (const Command& command : command_table()) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

std::string general_help() {
  std::string text =
      "bitloom trains convolutional networks for few bits and runs them as integer models.\n\n"
      "usage: bitloom COMMAND [--option VALUE]... [--section.key=VALUE]...\n\n";
  TextTable table{{"command", "what it does"}, {}};
  for (const Command& command : command_table()) {
    table.rows.push_back({command.name, command.summary});
  }
  text += format_table(table);
  text +=
      "\nEvery command: --threads=N --isa=WORD --quiet --json FILE --help\n"
      "bitloom COMMAND --help shows options, keys and an example; bitloom --version the build.\n"
      "Exit codes: 0 done, 1 a check failed, 2 bad input, 130 interrupted.\n";
  return text;
}

std::string command_help(const Command& command) {
  std::vector<OptionSpec> options = command.options;
  options.insert(options.end(), global_options().begin(), global_options().end());
  std::string text =
      cat("bitloom ", command.name, ": ", command.summary, "\n\nusage: bitloom ", command.name, " ",
          command.usage, "\n\n", command.details, "\n", format_table(option_table(options)));
  if (command.sections.empty()) return text;
  TextTable keys{{"key", "default", "range", "meaning"}, {}};
  for (const trainers::KeyHelp& key : trainers::config_keys()) {
    if (!reads_key(command, key.name)) continue;
    keys.rows.push_back(
        {cat("--", key.name), key.fallback.empty() ? "-" : key.fallback, key.range, key.help});
  }
  return cat(text,
             "\nConfiguration keys (--key=VALUE beats the file, the file beats the default):\n",
             format_table(keys));
}

int run_program(const std::vector<std::string>& words) {
  static_cast<void>(startup_memory());
  if (words.empty()) {
    std::cerr << general_help();
    return kExitBadInput;
  }
  if (words.front() == "--help") {
    std::cout << general_help();
    return kExitDone;
  }
  if (words.front() == "--version") {
    print_version();
    return kExitDone;
  }
  const Command* command = find_command(words.front());
  if (command == nullptr) refuse_command(words.front());
  const Arguments arguments = parse_arguments(*command, {words.begin() + 1, words.end()});
  if (arguments.has("help")) {
    std::cout << command_help(*command);
    return kExitDone;
  }
  require_options(*command, arguments);
  set_quiet(arguments.has("quiet"));
  return command->run(arguments);
}

}  // namespace bitloom::tools
