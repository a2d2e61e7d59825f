#include "network_models.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/trainers/seeded_model.h"

namespace bitloom::tools {

namespace fs = std::filesystem;

const std::vector<std::string>& bench_method_words() {
  static const std::vector<std::string> words = {
      "float", "bf16", "ptq-dynamic", "ptq-static", "ptq-weight-only", "qat"};
  return words;
}

std::vector<std::string> listed_words(const std::string& option, const std::string& text,
                                      const std::vector<std::string>& known) {
  const auto has = [](const std::vector<std::string>& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, comma - begin);
    begin = comma + 1;
    if (has(known, word) && !has(words, word)) {
      words.push_back(word);
      continue;
    }
    std::string expected;
    for (const std::string& each : known) expected += (expected.empty() ? "" : ", ") + each;
    throw ConfigError({option, cat("some of ", expected), cat("'", word, "'"),
                       has(words, word) ? "name each once" : ""});
  }
  return words;
}

ScratchFolder::ScratchFolder() {
  std::string name = (fs::temp_directory_path() / "bitloom_XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw FormatError({name, "a folder for temporary files", std::strerror(errno),
                       "set TMPDIR to a folder with room"});
  }
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

BenchedModel NetworkModels::model(const std::string& method, const std::string& profile) const {
  std::string made = method;
  if (method == "bf16") made = "float";
  if (method == "qat") made = "ptq-static";
  const bool profiled = made == "ptq-static" || made == "ptq-dynamic";
  const std::string suffix = profiled && !profile.empty() ? "." + profile : "";
  const fs::path file = folder_ / cat(network_, ".", made, suffix, ".h5");
  if (!fs::exists(file)) {
    const integer::Model model = trainers::seeded_model(
        {.network = network_, .method = made, .profile = profiled ? profile : ""});
    io::save_archive(file, integer::to_archive(model));
  }
  return {.path = file, .method = method, .backend = method == "bf16" ? "onednn-bf16" : "onednn"};
}

}  // namespace bitloom::tools
