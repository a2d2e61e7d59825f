#include <algorithm>
#include <numeric>

#include "bitloom/trainers/config_keys.h"

namespace bitloom::trainers {

std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);  // distances of one prefix of `from`
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t substituted = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  // Half of the word may be wrong; beyond that a guess misleads more than it helps.
  std::size_t least = word.size() / 2 + 1;
  for (const std::string& candidate : candidates) {
    std::size_t distance = edit_distance(word, candidate);
    const std::size_t dot = candidate.rfind('.');
    if (dot != std::string::npos) {
      // A forgotten section ("epochs") costs one, so that a mistyped full name stays nearer.
      distance = std::min(distance, edit_distance(word, candidate.substr(dot + 1)) + 1);
    }
    if (distance < least) {
      least = distance;
      best = &candidate;
    }
  }
  return best == nullptr ? "" : *best;
}

}  // namespace bitloom::trainers
