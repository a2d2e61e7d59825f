#include "config_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "bitloom/backends/session.h"
#include "bitloom/core/cpu.h"
#include "bitloom/integer/profile.h"
#include "bitloom/models/networks.h"

namespace bitloom::trainers {
namespace {

using Words = std::vector<std::string>;

/// Interval of numbers; `open_low` leaves the lower end out.
struct Interval {
  double low = 0.0;
  double high = 0.0;
  bool open_low = false;
};

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

template <typename T>
std::string print_number(T value) {
  char text[64];
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  return error == std::errc{} ? std::string(std::begin(text), end) : "";
}

std::string join(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Words split(std::string_view text) {
  Words parts;
  while (true) {
    const std::size_t comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    const std::size_t begin = part.find_first_not_of(" \t");
    const std::size_t end = part.find_last_not_of(" \t");
    parts.emplace_back(begin == std::string_view::npos ? "" : part.substr(begin, end - begin + 1));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

bool inside(double value, const Interval& interval) {
  const bool above = interval.open_low ? value > interval.low : value >= interval.low;
  return std::isfinite(value) && above && value <= interval.high;
}

std::string to_text(const Interval& interval) {
  const std::string high = print_number(interval.high);
  if (interval.open_low) {
    return cat("a number above ", print_number(interval.low), ", at most ", high);
  }
  return cat(print_number(interval.low), " .. ", high);
}

/// Text that an INI file gives back as it was: '#' starts a comment there, ends are trimmed.
bool survives_ini(std::string_view text) {
  if (text.find_first_of("#\n\r") != std::string_view::npos) return false;
  return text.empty() ||
         (text.find_first_of(" \t") != 0 && text.find_last_of(" \t") != text.size() - 1);
}

/// `access(config)` gives the field; it serves const and mutable configs alike.
template <typename Access>
Key integer_key(std::string name, std::string help, std::int64_t low, std::int64_t high,
                Access access) {
  using T = std::decay_t<decltype(access(std::declval<Config&>()))>;
  return {std::move(name), std::move(help), cat(low, " .. ", high),
          [=](Config& config, std::string_view text) {
            const std::optional<std::int64_t> value = parse_number<std::int64_t>(text);
            if (!value || *value < low || *value > high) return false;
            access(config) = static_cast<T>(*value);
            return true;
          },
          [=](const Config& config) { return print_number(access(config)); }};
}

template <typename Access>
Key seed_key(std::string name, std::string help, Access access) {
  return {std::move(name), std::move(help), "0 .. 2^64-1",
          [=](Config& config, std::string_view text) {
            const std::optional<std::uint64_t> value = parse_number<std::uint64_t>(text);
            if (value) access(config) = *value;
            return value.has_value();
          },
          [=](const Config& config) { return print_number(access(config)); }};
}

template <typename Access>
Key real_key(std::string name, std::string help, Interval interval, Access access) {
  using T = std::decay_t<decltype(access(std::declval<Config&>()))>;
  return {std::move(name), std::move(help), to_text(interval),
          [=](Config& config, std::string_view text) {
            const std::optional<T> value = parse_number<T>(text);
            if (!value || !inside(static_cast<double>(*value), interval)) return false;
            access(config) = *value;
            return true;
          },
          [=](const Config& config) { return print_number(access(config)); }};
}

template <typename Access>
Key real_list_key(std::string name, std::string help, Interval interval, Access access) {
  using T = typename std::decay_t<decltype(access(std::declval<Config&>()))>::value_type;
  return {std::move(name), std::move(help),
          cat("each ", to_text(interval), ", by commas; nothing: none"),
          [=](Config& config, std::string_view text) {
            std::vector<T> values;
            if (text.empty()) {
              access(config).clear();
              return true;
            }
            for (const std::string& part : split(text)) {
              const std::optional<T> value = parse_number<T>(part);
              if (!value || !inside(static_cast<double>(*value), interval)) return false;
              values.push_back(*value);
            }
            access(config) = std::move(values);
            return true;
          },
          [=](const Config& config) {
            std::string text;
            for (const T value : access(config)) {
              text += (text.empty() ? "" : ",") + print_number(value);
            }
            return text;
          }};
}

template <typename Access>
Key flag_key(std::string name, std::string help, Access access) {
  return {std::move(name), std::move(help), "true or false",
          [=](Config& config, std::string_view text) {
            if (text != "true" && text != "false") return false;
            access(config) = text == "true";
            return true;
          },
          [=](const Config& config) -> std::string { return access(config) ? "true" : "false"; }};
}

template <typename Access>
Key text_key(std::string name, std::string help, Access access) {
  return {std::move(name), std::move(help), "text without '#' and line breaks",
          [=](Config& config, std::string_view text) {
            if (!survives_ini(text)) return false;
            access(config) = std::string(text);
            return true;
          },
          [=](const Config& config) -> std::string { return access(config); }};
}

/// A word of `words`; "" too where `may_be_empty`.
template <typename Access>
Key word_key(std::string name, std::string help, const Words& words, bool may_be_empty,
             Access access) {
  std::string range = cat("one of ", join(words), may_be_empty ? ", or nothing" : "");
  return {std::move(name), std::move(help), std::move(range),
          [=](Config& config, std::string_view text) {
            const bool known = std::find(words.begin(), words.end(), text) != words.end();
            if (!known && !(may_be_empty && text.empty())) return false;
            access(config) = std::string(text);
            return true;
          },
          [=](const Config& config) -> std::string { return access(config); }};
}

/// Comma-separated distinct words, at least one, each accepted by `accepts`.
template <typename Accepts, typename Access>
Key word_list_key(std::string name, std::string help, std::string range, Accepts accepts,
                  Access access) {
  return {std::move(name), std::move(help), std::move(range),
          [=](Config& config, std::string_view text) {
            Words words = split(text);
            for (std::size_t i = 0; i < words.size(); ++i) {
              const auto here = words.begin() + static_cast<std::ptrdiff_t>(i);
              if (!accepts(words[i]) || std::find(words.begin(), here, words[i]) != here)
                return false;
            }
            access(config) = std::move(words);
            return true;
          },
          [=](const Config& config) {
            std::string text;
            for (const std::string& word : access(config)) text += (text.empty() ? "" : ",") + word;
            return text;
          }};
}

/// "w4a8": widths 2 .. 8 of weights and activations.
bool is_bits_word(std::string_view word) {
  const auto width = [&](std::size_t at) { return word[at] >= '2' && word[at] <= '8'; };
  return word.size() == 4 && word[0] == 'w' && width(1) && word[2] == 'a' && width(3);
}

Words isa_words() {
  Words words;
  for (const Isa isa :
       {Isa::kOther, Isa::kSse41, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Amx}) {
    words.emplace_back(to_word(isa));
  }
  return words;
}

Words profile_words() {
  Words words;
  for (const integer::DeviceProfile& profile : integer::all_profiles())
    words.push_back(profile.name);
  return words;
}

using Keys = std::vector<Key>;

void declare_unsectioned(Keys& keys) {
  keys.push_back(seed_key(
      "seed", "random numbers of the whole run", [](auto& c) -> auto& { return c.seed; }));
  keys.push_back(integer_key(
      "threads", "threads; 0: all cores", 0, 256, [](auto& c) -> auto& { return c.threads; }));
  keys.push_back(word_key(
      "isa", "cap on the CPU's instructions; nothing: all it has", isa_words(), true,
      [](auto& c) -> auto& { return c.isa; }));
  keys.push_back(word_key(
      "profile", "number formats of the device; nothing: what the CPU runs exactly",
      profile_words(), true, [](auto& c) -> auto& { return c.profile; }));
}

void declare_data(Keys& keys) {
  constexpr std::int64_t kMany = 100'000'000;
  keys.push_back(word_key(
      "data.reader", "kind of the data set", datasets::known_readers(), false,
      [](auto& c) -> auto& { return c.data.reader; }));
  keys.push_back(text_key(
      "data.path", "folder of the data set; synthetic needs none",
      [](auto& c) -> auto& { return c.data.path; }));
  keys.push_back(integer_key(
      "data.validation_images", "held out of the training split", 1, kMany,
      [](auto& c) -> auto& { return c.data.validation_images; }));
  keys.push_back(integer_key(
      "data.classes", "labels are 0 .. classes-1", 2, 65'536,
      [](auto& c) -> auto& { return c.data.classes; }));
  keys.push_back(seed_key(
      "data.split_seed", "which images are held out",
      [](auto& c) -> auto& { return c.data.split_seed; }));
  keys.push_back(real_list_key(
      "data.mean", "per channel, of pixel / 255; nothing: 0", {-1e6, 1e6},
      [](auto& c) -> auto& { return c.data.mean; }));
  keys.push_back(real_list_key(
      "data.stddev", "per channel, of pixel / 255; nothing: 1", {0.0, 1e6, true},
      [](auto& c) -> auto& { return c.data.stddev; }));
  keys.push_back(integer_key(
      "data.train_limit", "use the first so many; 0: all", 0, kMany,
      [](auto& c) -> auto& { return c.data.train_limit; }));
  keys.push_back(integer_key(
      "data.test_limit", "use the first so many; 0: all", 0, kMany,
      [](auto& c) -> auto& { return c.data.test_limit; }));
  keys.push_back(integer_key(
      "data.synthetic_images", "synthetic: training set, validation included", 1, 1'000'000,
      [](auto& c) -> auto& { return c.data.synthetic_images; }));
  keys.push_back(integer_key(
      "data.synthetic_test_images", "synthetic: test set", 1, 1'000'000,
      [](auto& c) -> auto& { return c.data.synthetic_test_images; }));
  keys.push_back(integer_key(
      "data.synthetic_height", "synthetic: rows of an image", 1, 1024,
      [](auto& c) -> auto& { return c.data.synthetic_height; }));
  keys.push_back(integer_key(
      "data.synthetic_width", "synthetic: columns of an image", 1, 1024,
      [](auto& c) -> auto& { return c.data.synthetic_width; }));
  keys.push_back(integer_key(
      "data.synthetic_channels", "synthetic: channels of an image", 1, 64,
      [](auto& c) -> auto& { return c.data.synthetic_channels; }));
  keys.push_back(seed_key(
      "data.synthetic_seed", "synthetic: which data set",
      [](auto& c) -> auto& { return c.data.synthetic_seed; }));
}

void declare_model(Keys& keys) {
  keys.push_back(word_key(
      "model.network", "built-in network", models::network_names(), false,
      [](auto& c) -> auto& { return c.model.network; }));
  keys.push_back(text_key(
      "model.file", "graph text (.net); wins over model.network",
      [](auto& c) -> auto& { return c.model.file; }));
}

void declare_train(Keys& keys) {
  keys.push_back(integer_key(
      "train.epochs", "passes over the training images", 0, 10'000,
      [](auto& c) -> auto& { return c.train.epochs; }));
  keys.push_back(integer_key(
      "train.batch", "images in a step", 1, 65'536,
      [](auto& c) -> auto& { return c.train.batch; }));
  keys.push_back(real_key(
      "train.lr", "highest learning rate", {0.0, 1000.0, true},
      [](auto& c) -> auto& { return c.train.lr; }));
  keys.push_back(real_key(
      "train.lr_final_ratio", "last learning rate / train.lr", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.lr_final_ratio; }));
  keys.push_back(real_key(
      "train.warmup_epochs", "linear warm-up", {0.0, 10'000.0},
      [](auto& c) -> auto& { return c.train.warmup_epochs; }));
  keys.push_back(real_key(
      "train.momentum", "of SGD", {0.0, 0.9999},
      [](auto& c) -> auto& { return c.train.momentum; }));
  keys.push_back(real_key(
      "train.weight_decay", "spares biases, batch norm and scales", {0.0, 1.0},
      [](auto& c) -> auto& { return c.train.weight_decay; }));
  keys.push_back(real_key(
      "train.scale_lr_ratio", "learning rate of quantizer scales / train.lr", {0.0, 100.0},
      [](auto& c) -> auto& { return c.train.scale_lr_ratio; }));
  keys.push_back(integer_key(
      "train.checkpoint_steps", "also save every so many steps; 0: at epochs' ends", 0,
      1'000'000'000, [](auto& c) -> auto& { return c.train.checkpoint_steps; }));
  keys.push_back(integer_key(
      "train.qat_epochs", "epochs of a qat that starts from a checkpoint", 0, 10'000,
      [](auto& c) -> auto& { return c.train.qat_epochs; }));
  keys.push_back(real_key(
      "train.qat_lr", "highest learning rate of such a qat", {0.0, 1000.0, true},
      [](auto& c) -> auto& { return c.train.qat_lr; }));
}

void declare_quant(Keys& keys) {
  keys.push_back(word_key(
      "quant.method", "how the network meets its few bits", {"float", "qat", "ptq-static"}, false,
      [](auto& c) -> auto& { return c.quant.method; }));
  keys.push_back(word_key(
      "quant.quantizer", "qat: learned scales or moving averages of the range", {"lsq", "ema"},
      false, [](auto& c) -> auto& { return c.quant.quantizer; }));
  keys.push_back(word_key(
      "quant.observer", "ptq-static: full range or least squared error", {"minmax", "mse"}, false,
      [](auto& c) -> auto& { return c.quant.observer; }));
  keys.push_back(integer_key(
      "quant.weight_bits", "width of weights", 2, 8,
      [](auto& c) -> auto& { return c.quant.weight_bits; }));
  keys.push_back(integer_key(
      "quant.activation_bits", "width of activations", 2, 8,
      [](auto& c) -> auto& { return c.quant.activation_bits; }));
  Key ends = integer_key(
      "quant.first_last_bits", "width in the first and the last layer; 0: as the rest", 0, 8,
      [](auto& c) -> auto& { return c.quant.first_last_bits; });
  ends.range = "0 or 2 .. 8";
  ends.parse = [parse = ends.parse](Config& config, std::string_view text) {
    return parse_number<std::int64_t>(text) != 1 && parse(config, text);
  };
  keys.push_back(std::move(ends));
  keys.push_back(flag_key(
      "quant.narrow_weights", "symmetric weight codes below 8 bits too",
      [](auto& c) -> auto& { return c.quant.narrow_weights; }));
  keys.push_back(flag_key(
      "quant.asymmetric", "unsigned codes with a calibrated zero point for signed activations",
      [](auto& c) -> auto& { return c.quant.asymmetric; }));
  keys.push_back(flag_key(
      "quant.per_channel", "one weight scale per output channel",
      [](auto& c) -> auto& { return c.quant.per_channel; }));
  keys.push_back(word_key(
      "quant.forward", "qat: integer kernels or float simulation", {"integer", "float"}, false,
      [](auto& c) -> auto& { return c.quant.forward; }));
  keys.push_back(integer_key(
      "quant.calibration_images", "from the validation split", 1, 100'000'000,
      [](auto& c) -> auto& { return c.quant.calibration_images; }));
  keys.push_back(real_key(
      "quant.ema_decay", "quantizer = ema: share of the old range", {0.0, 0.999999},
      [](auto& c) -> auto& { return c.quant.ema_decay; }));
}

void declare_compare(Keys& keys) {
  const Words methods = {"float", "ptq-static", "qat"};
  keys.push_back(word_list_key(
      "compare.methods", "what to compare", cat("distinct words of ", join(methods), ", by commas"),
      [methods](const std::string& word) {
        return std::find(methods.begin(), methods.end(), word) != methods.end();
      },
      [](auto& c) -> auto& { return c.compare.methods; }));
  keys.push_back(word_list_key(
      "compare.bits", "at which widths",
      "distinct words like w8a8 or w4a8, widths 2 .. 8, by commas", is_bits_word,
      [](auto& c) -> auto& { return c.compare.bits; }));
  keys.push_back(word_key(
      "compare.backend", "what runs the exported models", backends::backend_names(), false,
      [](auto& c) -> auto& { return c.compare.backend; }));
  keys.push_back(integer_key(
      "compare.latency_runs", "timed runs of each model", 1, 1'000'000,
      [](auto& c) -> auto& { return c.compare.latency_runs; }));
}

}  // namespace

const std::vector<Key>& key_table() {
  static const Keys table = [] {
    Keys keys;
    declare_unsectioned(keys);
    declare_data(keys);
    declare_model(keys);
    declare_train(keys);
    declare_quant(keys);
    declare_compare(keys);
    return keys;
  }();
  return table;
}

const Key* find_key(std::string_view name) {
  for (const Key& key : key_table()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::vector<std::string> key_names() {
  std::vector<std::string> names;
  for (const Key& key : key_table()) names.push_back(key.name);
  return names;
}

}  // namespace bitloom::trainers
