#include "bitloom/core/words.h"

#include <algorithm>

#include "bitloom/core/error.h"

namespace bitloom {

void require_new_word(const std::string& where, const std::string& word,
                      const std::vector<std::string>& taken) {
  constexpr const char* kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  if (word.empty() || word.find_first_not_of(kAllowed) != std::string::npos) {
    throw ConfigError({where, "a name of letters, digits, '_', '-' and '.'", cat("'", word, "'"),
                       "a configuration must be able to name it"});
  }
  if (std::find(taken.begin(), taken.end(), word) != taken.end()) {
    throw ConfigError({where, "a name that is not taken", cat("'", word, "'"), "choose another"});
  }
}

}  // namespace bitloom
