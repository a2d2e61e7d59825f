#include "bitloom/trainers/config.h"

#include <boost/program_options/parsers.hpp>
#include <map>
#include <sstream>

#include "bitloom/integer/profile.h"
#include "bitloom/io/sha256.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/quant/level_methods.h"
#include "bitloom/trainers/config_keys.h"
#include "config_table.h"

namespace bitloom::trainers {
namespace {

namespace po = boost::program_options;

/// One `key = value` and where it stood.
struct Setting {
  std::string place;  ///< "lenet5.cfg:12" or "command line"
  std::string name;
  std::string value;
};

/// What went wrong so far, told at once.
class Problems {
 public:
  void add(const ErrorText& text) {
    if (++count_ <= kMostShown) texts_.push_back(to_string(text));
  }
  bool shows_no_more() const { return count_ >= kMostShown; }
  /// @throws ConfigError if anything was added.
  void raise() const {
    if (texts_.empty()) return;
    if (texts_.size() == 1) throw ConfigError(texts_.front());
    std::string all = cat(count_, " errors in the configuration",
                          count_ > kMostShown ? cat(", the first ", kMostShown) : "", ":");
    for (const std::string& text : texts_) all += "\n  " + text;
    throw ConfigError(all);
  }

 private:
  static constexpr int kMostShown = 20;  // of a file that is no configuration at all
  int count_ = 0;
  std::vector<std::string> texts_;
};

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

/// Boost reads the INI grammar but tells no line numbers, so it gets one line at a time under its
/// section's heading.
std::vector<Setting> read_ini(const std::string& text, const std::string& source,
                              Problems& problems) {
  std::vector<Setting> settings;
  std::map<std::string, std::string> first_place;
  std::istringstream lines(text);
  std::string section;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string place = cat(source, ":", number);
    const std::string content = trimmed(line.substr(0, line.find('#')));
    if (content.empty()) continue;
    if (content.front() == '[' && content.back() == ']') {
      section = content + "\n";
      continue;
    }
    try {
      std::istringstream one(section + content);
      for (const po::option& option :
           po::parse_config_file(one, po::options_description(), true).options) {
        const std::string value = option.value.empty() ? "" : option.value.front();
        const auto [known, fresh] = first_place.emplace(option.string_key, place);
        if (fresh) {
          settings.push_back({place, option.string_key, value});
        } else {
          problems.add({place, "each key once", cat("'", option.string_key, "' again"),
                        cat("remove it here or at ", known->second)});
        }
      }
    } catch (const po::error&) {
      problems.add(
          {place, "'key = value', '[section]' or '# comment'", cat("'", content, "'"), ""});
    }
  }
  return settings;
}

std::vector<Setting> read_overrides(const std::vector<std::string>& overrides, Problems& problems) {
  std::vector<Setting> settings;
  for (const std::string& text : overrides) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) {
      problems.add({"command line", "key=value", cat("'", text, "'"), ""});
      continue;
    }
    settings.push_back({"command line", text.substr(0, equals), text.substr(equals + 1)});
  }
  return settings;
}

void apply(const std::vector<Setting>& settings, Config& config, Problems& problems) {
  for (const Setting& setting : settings) {
    const Key* key = find_key(setting.name);
    if (key == nullptr) {
      const std::string near =
          problems.shows_no_more() ? "" : nearest_word(setting.name, key_names());
      problems.add({setting.place, "a known key", cat("'", setting.name, "'"),
                    near.empty() ? "bitloom train --help lists the keys"
                                 : cat("did you mean '", near, "'?")});
    } else if (!key->parse(config, setting.value)) {
      const std::string near = nearest_word(setting.value, key->words);
      problems.add({cat(setting.place, ": ", setting.name), key->range,
                    cat("'", setting.value, "'"),
                    near.empty() ? cat("the default is '", key->print(Config()), "'")
                                 : cat("did you mean '", near, "'?")});
    }
  }
}

/// What a device without floating point needs of [quant].
void check_fixed_point(const Config& config, Problems& problems) {
  const quant::QuantOptions& quant = config.quant;
  if (config.profile.empty() || quant.method == "float") return;
  if (!integer::profile_named(config.profile).integers_only) return;
  const auto require = [&](const char* key, bool holds, const char* value, const char* why) {
    if (holds) return;
    problems.add({key, cat(value, " with profile = ", config.profile), "another", why});
  };
  require("quant.method", quant.method == "ptq-static" || quant.method == "qat",
          "ptq-static or qat", "reals have no place there");
  require("quant.power_of_two", quant.power_of_two, "true", "scales are shifts");
  require("quant.per_channel", !quant.per_channel, "false", "a layer has one shift");
  require("quant.fold_batch_norm", quant.fold_batch_norm, "true",
          "a channel's factor goes into its weights");
  require("quant.asymmetric", !quant.asymmetric, "false", "there are no zero points");
  require("quant.quantizer", quant.method != "qat" || quant.quantizer != "lsq+",
          "another than lsq+", "there are no zero points");
}

/// Values that are right one by one and wrong together.
void check_together(const Config& config, Problems& problems) {
  for (const ErrorText& text : train::contradictions(config.train)) problems.add(text);
  for (const ErrorText& text : quant::contradictions(config.quant)) problems.add(text);
  const std::string& method = config.quant.method;
  if (config.quant.asymmetric && method.starts_with("ptq-") &&
      !quant::has_activation_grids(method)) {
    problems.add({"quant.asymmetric", cat("false with quant.method = ", method), "true",
                  method == "ptq-dynamic" ? "ranges that are found while a model runs are symmetric"
                                          : "activations stay real"});
  }
  if (config.quant.power_of_two && method == "ptq-dynamic") {
    problems.add({"quant.power_of_two", "false with quant.method = ptq-dynamic", "true",
                  "scales that are found while a model runs are no powers of two"});
  }
  check_fixed_point(config, problems);
  if (config.quant.min_bits > config.quant.max_bits) {
    problems.add({"quant.min_bits", cat("at most quant.max_bits = ", config.quant.max_bits),
                  cat(config.quant.min_bits), "exchange them"});
  }
  const bool has_noise = config.quant.weight_bits >= 2 && config.quant.activation_bits >= 2;
  if (config.quant.bits == "auto" && !has_noise) {
    problems.add({"quant.bits", "equal with widths of 1", "auto",
                  "widths are chosen from 2 to 8: raise quant.weight_bits, quant.activation_bits"});
  }
  const int targets = (config.quant.target_sqnr_db > 0.0 ? 1 : 0) +
                      (config.quant.target_size_ratio > 0.0 ? 1 : 0) +
                      (config.quant.target_size_of_equal > 0.0 ? 1 : 0) +
                      (config.quant.target_bit_operations > 0.0 ? 1 : 0);
  if (targets > 1) {
    problems.add({"quant",
                  "one of target_sqnr_db, target_size_ratio, target_size_of_equal, "
                  "target_bit_operations",
                  cat(targets), "leave the others at 0"});
  }
  if (config.quant.method == "ptq-static" &&
      config.quant.calibration_images > config.data.validation_images) {
    problems.add(
        {"quant.calibration_images",
         cat("at most data.validation_images = ", config.data.validation_images),
         cat(config.quant.calibration_images),
         "calibration images come from the validation split: lower one or raise the other"});
  }
}

Config resolve(const Config& base, const std::vector<Setting>& settings, Problems& problems) {
  Config config = base;
  apply(settings, config, problems);
  problems.raise();  // what follows would blame values that were never read
  check_together(config, problems);
  problems.raise();
  return config;
}

}  // namespace

Config load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  Problems problems;
  std::vector<Setting> settings;
  if (!file.empty()) {
    constexpr std::int64_t kMostBytes = 1 << 20;
    settings = read_ini(io::read_whole_file(file, kMostBytes), file.string(), problems);
  }
  for (Setting& setting : read_overrides(overrides, problems))
    settings.push_back(std::move(setting));
  return resolve(Config(), settings, problems);
}

Config with_overrides(const Config& base, const std::vector<std::string>& overrides) {
  Problems problems;
  const std::vector<Setting> settings = read_overrides(overrides, problems);
  return resolve(base, settings, problems);
}

Config config_from_ini(const std::string& text, const std::string& source) {
  Problems problems;
  const std::vector<Setting> settings = read_ini(text, source, problems);
  return resolve(Config(), settings, problems);
}

std::string to_ini(const Config& config) {
  std::string text;
  std::string section;
  for (const Key& key : key_table()) {
    const std::size_t dot = key.name.find('.');
    const std::string of = dot == std::string::npos ? "" : key.name.substr(0, dot);
    if (of != section) {
      text += cat("\n[", of, "]\n");
      section = of;
    }
    const std::string value = key.print(config);
    text += cat(dot == std::string::npos ? key.name : key.name.substr(dot + 1), " =",
                value.empty() ? "" : " ", value, "\n");
  }
  return text;
}

std::string config_hash(const Config& config) {
  return io::sha256_hex(to_ini(config)).substr(0, 12);
}

std::vector<KeyHelp> config_keys() {
  std::vector<KeyHelp> keys;
  for (const Key& key : key_table()) {
    keys.push_back({key.name, key.print(Config()), key.range, key.help, key.words});
  }
  return keys;
}

std::vector<std::string> config_differences(const Config& from, const Config& to) {
  std::vector<std::string> differences;
  for (const Key& key : key_table()) {
    const std::string before = key.print(from);
    const std::string after = key.print(to);
    if (before != after) differences.push_back(cat(key.name, ": ", before, " -> ", after));
  }
  return differences;
}

}  // namespace bitloom::trainers
