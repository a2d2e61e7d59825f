#include "layer_problem.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <sstream>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/integer/profile.h"
#include "bitloom/io/whole_file.h"

namespace bitloom::tools {
namespace {

constexpr std::int64_t kMostSize = 1 << 16;
constexpr std::int64_t kMostElements = std::int64_t{1} << 30;
constexpr std::array<std::string_view, 4> kKernelWords = {"float", "int8", "binary", "ternary"};

[[noreturn]] void refuse(std::string_view text, const std::string& expected,
                         const std::string& found) {
  throw ConfigError(
      {cat("--layer ", text), expected, found, "bitloom bench --help shows an example"});
}

/// "c256,h14" to letters and numbers. @throws ConfigError for letters outside `letters`.
std::map<char, std::int64_t> sizes_of(std::string_view text, std::string_view sizes,
                                      std::string_view letters) {
  std::map<char, std::int64_t> found;
  while (!sizes.empty()) {
    const std::size_t comma = std::min(sizes.find(','), sizes.size());
    const std::string_view word = sizes.substr(0, comma);
    sizes.remove_prefix(std::min(comma + 1, sizes.size()));
    std::int64_t number = 0;
    const char* end = word.data() + word.size();
    if (word.size() < 2 || letters.find(word.front()) == std::string_view::npos) {
      refuse(text, cat("sizes of ", letters, ", each a letter and a number"), cat("'", word, "'"));
    }
    const auto [rest, error] = std::from_chars(word.data() + 1, end, number);
    const std::int64_t least = word.front() == 'p' ? 0 : 1;
    if (error != std::errc{} || rest != end || number < least || number > kMostSize) {
      refuse(text, cat(word.front(), " in ", least, " .. ", kMostSize), cat("'", word, "'"));
    }
    if (!found.emplace(word.front(), number).second) {
      refuse(text, "each size once", cat("'", word, "' again"));
    }
  }
  return found;
}

std::int64_t pixels_of(std::int64_t extent, const integer::Window& window, std::int64_t kernel) {
  return (extent + 2 * window.pad - kernel) / window.stride + 1;
}

void require_fit(const LayerProblem& problem) {
  const integer::Window& window = problem.window;
  if (problem.channels % window.groups != 0 || problem.outputs % window.groups != 0) {
    refuse(problem.text, "groups that divide channels and outputs", cat("g", window.groups));
  }
  if (std::min(problem.height, problem.width) + 2 * window.pad < window.kernel_h) {
    refuse(problem.text, "a kernel that fits the padded image", cat("k", window.kernel_h));
  }
  // In double: products of so many sizes may leave 64 bits, and Shape refuses them unnamed.
  const auto product = [](std::initializer_list<std::int64_t> sizes) {
    double count = 1.0;
    for (const std::int64_t size : sizes) count *= static_cast<double>(size);
    return count;
  };
  const std::int64_t kernel = window.kernel_h;
  const double elements =
      std::max({product({problem.batch, problem.channels, problem.height, problem.width}),
                product({problem.outputs, problem.channels / window.groups, kernel, kernel}),
                product({problem.batch, problem.outputs, pixels_of(problem.height, window, kernel),
                         pixels_of(problem.width, window, kernel)})});
  if (elements > static_cast<double>(kMostElements)) {
    refuse(problem.text, "tensors of at most 2^30 elements", cat(elements));
  }
}

/// Random numbers of one layer: each tensor a stream of its own.
class RandomLayer {
 public:
  RandomLayer(const LayerProblem& problem, LayerKernel kernel)
      : problem_(problem), kernel_(kernel) {
    const std::int64_t taps = problem.weight().elements() / problem.outputs;
    taps_ = static_cast<double>(taps);
    if (kernel == LayerKernel::kBinary) format_ = integer::kBinaryFormat;
    if (kernel == LayerKernel::kTernary) format_ = integer::kTernaryFormat;
    const integer::DeviceProfile& profile = integer::default_profile(effective_isa());
    if (kernel == LayerKernel::kInt8) format_ = profile.activations(8, false);
    weight_range_ = kernel == LayerKernel::kInt8 ? profile.widest_weights : format_.range;
    profile_ = kernel == LayerKernel::kFloat ? "" : profile.name;
  }

  integer::Model model() const {
    integer::Model model;
    model.network = "layer";
    model.method = std::string(to_word(kernel_));
    model.profile = profile_;
    model.input_table = table();
    model.tensors = {tensor("input", problem_.source(), !is_float()),
                     tensor("layer", problem_.destination(), kernel_ == LayerKernel::kInt8)};
    model.layers.push_back(layer());
    return model;
  }

 private:
  bool is_float() const { return kernel_ == LayerKernel::kFloat; }
  bool is_affine() const { return kernel_ == LayerKernel::kInt8; }

  integer::TensorInfo tensor(const char* name, const Shape& shape, bool codes) const {
    if (!codes) return {.name = name, .shape = shape};
    return {.name = name,
            .shape = shape,
            .dtype = format_.is_signed ? DType::kS8 : DType::kU8,
            .format = format_,
            .scale = 1.0F};
  }

  /// Pixels 0 .. 255 to every code in turn, or to reals in [-2, 2).
  Tensor table() const {
    const DType type = is_float() ? DType::kF32 : format_.is_signed ? DType::kS8 : DType::kU8;
    Tensor table(type, Shape{problem_.channels, 256});
    for (std::int64_t i = 0; i < table.elements(); ++i) {
      const auto pixel = static_cast<std::int32_t>(i % 256);
      switch (type) {
        case DType::kU8:
          table.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(pixel);
          break;
        case DType::kS8:
          table.data<std::int8_t>()[i] = few_level_code(static_cast<std::uint32_t>(pixel));
          break;
        default:
          table.data<float>()[i] = static_cast<float>(pixel - 128) / 64.0F;
      }
    }
    return table;
  }

  std::int8_t few_level_code(std::uint32_t bits) const {
    if (kernel_ == LayerKernel::kBinary) return (bits & 1U) == 0 ? 1 : -1;
    return static_cast<std::int8_t>(static_cast<std::int32_t>(bits % 3) - 1);
  }

  Tensor weights() const {
    const RandomStream random(1, "weight");
    if (is_float()) {
      Tensor weight(DType::kF32, problem_.weight());
      const auto deviation = static_cast<float>(std::sqrt(2.0 / taps_));
      for (std::int64_t i = 0; i < weight.elements(); ++i) {
        weight.data<float>()[i] = deviation * random.normal(static_cast<std::uint64_t>(i));
      }
      return weight;
    }
    Tensor weight(DType::kS8, problem_.weight());
    for (std::int64_t i = 0; i < weight.elements(); ++i) {
      const std::uint32_t bits = random.bits(static_cast<std::uint64_t>(i)) >> 8U;
      const auto levels = static_cast<std::uint32_t>(weight_range_.levels());
      weight.data<std::int8_t>()[i] =
          is_affine() ? static_cast<std::int8_t>(weight_range_.qmin +
                                                 static_cast<std::int32_t>(bits % levels))
                      : few_level_code(bits);
    }
    return weight;
  }

  /// u8 outputs: sums with a deviation of sqrt(taps) * 148 (source) * 0.58 qmax (weights) become 60
  /// codes.
  float middle_multiplier() const {
    const double deviation = is_affine() ? 85.0 * weight_range_.qmax : 1.0;
    const double wanted = is_affine() ? 60.0 : 1.0;
    return static_cast<float>(wanted / (deviation * std::sqrt(taps_)));
  }

  Tensor per_output(const char* name, float low, float high) const {
    const RandomStream random(1, name);
    Tensor values(DType::kF32, Shape{problem_.outputs});
    for (std::int64_t o = 0; o < problem_.outputs; ++o) {
      values.data<float>()[o] = low + (high - low) * random.uniform(static_cast<std::uint64_t>(o));
    }
    return values;
  }

  integer::Layer layer() const {
    integer::Layer layer;
    layer.name = "layer";
    layer.op = problem_.linear ? integer::LayerOp::kLinear : integer::LayerOp::kConv2d;
    layer.mode = is_float() ? integer::ComputeMode::kFloat : integer::ComputeMode::kStatic;
    layer.inputs = {0};
    layer.output = 1;
    layer.window = problem_.window;
    if (is_float() || is_affine()) layer.clip = integer::kRelu;
    layer.weight = weights();
    layer.bias = is_affine() ? per_output("bias", 0.0F, 60.0F) : per_output("bias", -0.5F, 0.5F);
    if (is_float()) return layer;
    layer.weight_bits = is_affine() ? integer::DeviceProfile::bits_of(weight_range_) : format_.bits;
    layer.weight_grid = format_.grid;
    layer.weight_range = weight_range_;
    const float middle = middle_multiplier();
    layer.multiplier = per_output("multiplier", 0.5F * middle, 1.5F * middle);
    layer.weight_scale = layer.multiplier.clone();
    return layer;
  }

  const LayerProblem& problem_;
  LayerKernel kernel_;
  double taps_ = 1.0;
  integer::AffineFormat format_;  ///< of codes on the source's side
  integer::CodeRange weight_range_;
  std::string profile_;
};

}  // namespace

Shape LayerProblem::weight() const {
  if (linear) return {outputs, channels};
  return {outputs, channels / window.groups, window.kernel_h, window.kernel_w};
}

Shape LayerProblem::destination() const {
  if (linear) return {1, outputs};
  return {1, outputs, pixels_of(height, window, window.kernel_h),
          pixels_of(width, window, window.kernel_w)};
}

double LayerProblem::gmac() const {
  const std::int64_t taps = weight().elements() / outputs;
  return 1e-9 * static_cast<double>(batch) * static_cast<double>(destination().elements()) *
         static_cast<double>(taps);
}

LayerProblem parse_layer_problem(std::string_view text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view kind = text.substr(0, colon);
  const bool depthwise = kind == "depthwise";
  const bool linear = kind == "linear";
  if (kind != "conv2d" && !depthwise && !linear) {
    refuse(text, "conv2d:, depthwise: or linear: and sizes", cat("'", kind, "'"));
  }
  const std::string_view sizes = text.substr(std::min(colon + 1, text.size()));
  const std::map<char, std::int64_t> found = sizes_of(text, sizes,
                                                      linear      ? "nco"
                                                      : depthwise ? "nchwksp"
                                                                  : "nchwokspg");
  const auto value = [&](char letter, std::int64_t fallback) {
    const auto at = found.find(letter);
    return at == found.end() ? fallback : at->second;
  };
  for (const char letter : std::string_view(linear ? "co" : depthwise ? "chk" : "chok")) {
    if (!found.contains(letter)) refuse(text, cat("a size ", letter), "none");
  }
  LayerProblem problem;
  problem.text = std::string(text);
  problem.linear = linear;
  problem.batch = value('n', 1);
  problem.channels = value('c', 0);
  problem.height = value('h', 1);
  problem.width = value('w', problem.height);
  problem.outputs = depthwise ? problem.channels : value('o', 0);
  problem.window = {.kernel_h = value('k', 1),
                    .kernel_w = value('k', 1),
                    .stride = value('s', 1),
                    .pad = value('p', 0),
                    .groups = depthwise ? problem.channels : value('g', 1)};
  require_fit(problem);
  return problem;
}

std::vector<LayerProblem> parse_layer_problems(const std::string& text) {
  std::error_code too_long;  // for a file's name: then it is none
  std::istringstream lines(
      std::filesystem::is_regular_file(text, too_long) ? io::read_whole_file(text) : text);
  std::vector<LayerProblem> problems;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    for (std::string word; words >> word;) problems.push_back(parse_layer_problem(word));
  }
  if (problems.empty()) refuse(text, "at least one problem", "none");
  return problems;
}

std::string_view to_word(LayerKernel kernel) {
  return kKernelWords[static_cast<std::size_t>(kernel)];
}

LayerKernel layer_kernel_from_word(std::string_view word) {
  std::string known;
  for (std::size_t i = 0; i < kKernelWords.size(); ++i) {
    if (kKernelWords[i] == word) return static_cast<LayerKernel>(i);
    known += cat(i == 0 ? "" : ", ", kKernelWords[i]);
  }
  throw ConfigError({"--kernel", "of " + known, cat("'", word, "'"), ""});
}

integer::Model one_layer_model(const LayerProblem& problem, LayerKernel kernel) {
  return RandomLayer(problem, kernel).model();
}

}  // namespace bitloom::tools
