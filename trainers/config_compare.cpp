#include "bitloom/backends/session.h"
#include "bitloom/trainers/compare_methods.h"
#include "config_key_kinds.h"

namespace bitloom::trainers {
namespace {

/// "w4a8": widths 2 .. 8 of weights and activations.
bool is_bits_word(std::string_view word) {
  const auto width = [&](std::size_t at) { return word[at] >= '2' && word[at] <= '8'; };
  return word.size() == 4 && word[0] == 'w' && width(1) && word[2] == 'a' && width(3);
}

}  // namespace

void declare_compare(Keys& keys) {
  Words methods;
  for (const CompareMethod& method : compare_methods()) methods.push_back(method.word);
  keys.push_back(word_list_key(
      "compare.methods", "what to compare",
      "distinct words that `bitloom compare --help` lists, by commas",
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

}  // namespace bitloom::trainers
