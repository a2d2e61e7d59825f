#include "commands.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <numeric>

#include "bitloom/backends/load_model.h"
#include "bitloom/backends/session.h"
#include "bitloom/backends/tune.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"

namespace bitloom::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMostBatch = 65'536;
constexpr std::int64_t kMostRuns = 1'000'000;

double ms_since(Clock::time_point began) {
  return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

/// Of this process, in MiB; 0 where /proc does not tell.
double resident_mib() {
  std::ifstream file("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  constexpr double kPagesPerMib = 256.0;
  return file >> total >> resident ? static_cast<double>(resident) / kPagesPerMib : 0.0;
}

backends::Session open_session(const Words& words, std::int64_t batch) {
  return {backends::load_model(words.files[0]),
          {.backend = words.word("backend", "onednn"), .batch = batch}};
}

Tensor logits_of(const backends::Session& session, std::int64_t batch) {
  const integer::TensorInfo& last = session.model().tensors.back();
  return {last.dtype, last.shape.with_batch(batch)};
}

void inspect(const Words& words) {
  const integer::Model model = backends::load_model(words.files[0]);
  std::cout << model.network << ", " << model.method << ", " << model.weights_label << "\ninput "
            << to_string(model.tensors.front().shape) << ", " << model.classes() << " classes, "
            << model.layers.size() << " layers\n";
  for (const integer::Layer& layer : model.layers) {
    const integer::TensorInfo& output = model.tensors[static_cast<std::size_t>(layer.output)];
    std::cout << "  " << layer.name << ": " << integer::to_word(layer.op) << ", "
              << integer::to_word(layer.mode) << ", to " << to_word(output.dtype) << " "
              << to_string(output.shape) << "\n";
  }
}

void bench(const Words& words) {
  const std::int64_t batch = words.integer("batch", 1, kMostBatch, 1);
  const std::int64_t runs = words.integer("runs", 1, kMostRuns, 200);
  const Clock::time_point began = Clock::now();
  backends::Session session = open_session(words, batch);
  Tensor images(DType::kU8, session.model().tensors.front().shape.with_batch(batch));
  const RandomStream random(1, "images");
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<std::uint8_t>()[i] =
        static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(i), 256));
  }
  Tensor logits = logits_of(session, batch);
  session.run(images, logits);
  const double first_ms = ms_since(began);
  std::vector<double> ms;
  for (std::int64_t i = 0; i < runs; ++i) {
    const Clock::time_point start = Clock::now();
    session.run(images, logits);
    ms.push_back(ms_since(start));
  }
  std::sort(ms.begin(), ms.end());
  const auto at = [&](std::size_t percent) { return ms[(ms.size() - 1) * percent / 100]; };
  std::cout << std::fixed << std::setprecision(3) << "first inference " << first_ms
            << " ms, from opening the file\np50 " << at(50) << " ms, p90 " << at(90) << " ms, "
            << runs << " runs, batch " << batch << ", threads " << threads() << ", "
            << to_word(effective_isa()) << "\nresident memory " << std::setprecision(1)
            << resident_mib() << " MiB\n";
}

/// All bytes of the file, a whole number of images.
std::vector<std::uint8_t> read_pixels(const std::string& path, std::int64_t image_bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::int64_t size = file ? static_cast<std::int64_t>(file.tellg()) : -1;
  if (size <= 0 || size % image_bytes != 0) {
    throw FormatError(
        {.place = path,
         .expected = cat("raw u8 pixels [N, H, W, C], ", image_bytes, " bytes an image"),
         .found = size < 0 ? "no such file" : cat(size, " bytes"),
         .remedy = ""});
  }
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(size));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(size));
  return pixels;
}

void print_best(std::int64_t image, const float* logits, std::int64_t classes, std::int64_t top) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return logits[a] > logits[b]; });
  std::cout << image << ":";
  for (std::int64_t i = 0; i < std::min(top, classes); ++i) {
    const std::int64_t label = order[static_cast<std::size_t>(i)];
    std::cout << " " << label << " (" << logits[label] << ")";
  }
  std::cout << "\n";
}

void run(const Words& words) {
  const std::int64_t batch = words.integer("batch", 1, kMostBatch, 1);
  const std::int64_t top = words.integer("top", 1, kMostBatch, 1);
  backends::Session session = open_session(words, batch);
  const Shape image = session.model().tensors.front().shape;
  std::vector<std::uint8_t> pixels = read_pixels(words.files[1], image.elements());
  const std::int64_t images = static_cast<std::int64_t>(pixels.size()) / image.elements();
  for (std::int64_t first = 0; first < images; first += batch) {
    const std::int64_t count = std::min(batch, images - first);
    Tensor logits = logits_of(session, count);
    session.run(
        TensorView(DType::kU8, image.with_batch(count), pixels.data() + first * image.elements()),
        logits);
    const std::int64_t classes = logits.elements() / count;
    for (std::int64_t n = 0; n < count; ++n) {
      print_best(first + n, logits.data<float>() + n * classes, classes, top);
    }
  }
}

void tune(const Words& words) {
  const std::int64_t batch = words.integer("batch", 1, kMostBatch, 1);
  const std::vector<backends::TunedLayer> layers = backends::tune_file(
      words.files[0], {.backend = words.word("backend", "onednn"), .batch = batch});
  double usual_ms = 0.0;
  double chosen_ms = 0.0;
  std::cout << std::fixed << std::setprecision(4);
  for (const backends::TunedLayer& layer : layers) {
    usual_ms += layer.usual_ms;
    chosen_ms += layer.chosen_ms;
    if (layer.chosen == layer.usual) continue;
    std::cout << layer.layer << ": " << layer.usual << " " << layer.usual_ms << " ms, "
              << layer.chosen << " " << layer.chosen_ms << " ms\n";
  }
  std::cout << "all layers: " << usual_ms << " ms, chosen " << chosen_ms
            << " ms; stored for this machine, batch " << batch << ", threads " << threads() << "\n";
}

const std::vector<Option>& global_options() {
  static const std::vector<Option> options{
      {"threads", "N", "threads; 0, the default: all cores"},
      {"isa", "WORD", "cap on the CPU's instructions: avx2, avx512, avx512_vnni, avx512_amx"}};
  return options;
}

std::string help() {
  std::string text =
      "bitloom-run runs models that `bitloom export` wrote.\n\nusage: bitloom-run COMMAND FILE... "
      "[--option VALUE]...\n";
  const auto line = [](const Option& option) {
    return cat("      --", option.name, " ", option.value, "  ", option.help, "\n");
  };
  for (const Command& command : commands()) {
    text += cat("\n  ", command.name);
    for (const std::string& file : command.files) text += " " + file;
    text += cat("\n      ", command.help, "\n");
    for (const Option& option : command.options) text += line(option);
  }
  text += "\n  every command\n";
  for (const Option& option : global_options()) text += line(option);
  return text + "\nExample: bitloom-run bench w8a8.model.h5 --threads 2\n";
}

bool has(const std::vector<Option>& options, const std::string& name) {
  return std::any_of(options.begin(), options.end(),
                     [&](const Option& option) { return option.name == name; });
}

/// Words behind the command's name: files, "--name value" and "--name=value".
Words take_apart(const Command& command, const std::vector<std::string>& words) {
  const std::string place = cat("bitloom-run ", command.name);
  Words out;
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) {
      out.files.push_back(words[i]);
      continue;
    }
    const std::size_t equals = words[i].find('=');
    const std::string name = words[i].substr(2, equals == std::string::npos ? equals : equals - 2);
    if (!has(command.options, name) && !has(global_options(), name)) {
      throw ConfigError({.place = place,
                         .expected = "one of its options",
                         .found = cat("--", name),
                         .remedy = "bitloom-run --help lists them"});
    }
    if (equals == std::string::npos && i + 1 == words.size()) {
      throw ConfigError(
          {.place = place, .expected = cat("a value of --", name), .found = "none", .remedy = ""});
    }
    out.options[name] = equals == std::string::npos ? words[++i] : words[i].substr(equals + 1);
  }
  if (out.files.size() != command.files.size()) {
    throw ConfigError({.place = place,
                       .expected = cat(command.files.size(), " files"),
                       .found = cat(out.files.size()),
                       .remedy = "bitloom-run --help shows them"});
  }
  return out;
}

}  // namespace

std::int64_t Words::integer(const std::string& name, std::int64_t low, std::int64_t high,
                            std::int64_t fallback) const {
  const auto at = options.find(name);
  if (at == options.end()) return fallback;
  std::int64_t value = 0;
  const char* end = at->second.data() + at->second.size();
  const auto [stopped, error] = std::from_chars(at->second.data(), end, value);
  if (error == std::errc() && stopped == end && value >= low && value <= high) return value;
  throw ConfigError({.place = cat("--", name),
                     .expected = cat("an integer from ", low, " to ", high),
                     .found = cat("'", at->second, "'"),
                     .remedy = ""});
}

std::string Words::word(const std::string& name, const std::string& fallback) const {
  const auto at = options.find(name);
  return at == options.end() ? fallback : at->second;
}

const std::vector<Command>& commands() {
  static const std::vector<Command> table = [] {
    const Option backend{"backend", "B", "what runs the model; default onednn"};
    const Option batch{"batch", "N", "images in a run; default 1"};
    return std::vector<Command>{
        {"run",
         {"MODEL", "PIXELS"},
         "the best classes of each image; PIXELS holds u8 [N, H, W, C]",
         {backend, batch, {"top", "K", "classes to print; default 1"}},
         run},
        {"bench",
         {"MODEL"},
         "time to the first inference, latency, memory",
         {backend, batch, {"runs", "N", "timed runs; default 200"}},
         bench},
        {"tune",
         {"MODEL"},
         "measure what runs each layer fastest here, and store it in the file",
         {backend, batch},
         tune},
        {"inspect", {"MODEL"}, "what the file holds, layer by layer", {}, inspect}};
  }();
  return table;
}

int run_program(const std::vector<std::string>& words) {
  constexpr int kExitDone = 0;
  if (words.empty() || words[0] == "--help" || words[0] == "help") {
    std::cout << help();
    return kExitDone;
  }
  for (const Command& command : commands()) {
    if (command.name != words[0]) continue;
    const Words taken = take_apart(command, words);
    if (taken.options.contains("isa")) cap_isa(isa_from_word(taken.word("isa", "")));
    set_threads(static_cast<int>(taken.integer("threads", 0, 256, 0)));
    command.run(taken);
    return kExitDone;
  }
  throw ConfigError({.place = "bitloom-run",
                     .expected = "run, bench, tune or inspect",
                     .found = cat("'", words[0], "'"),
                     .remedy = "bitloom-run --help shows them"});
}

}  // namespace bitloom::runtime
