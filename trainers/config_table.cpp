#include "config_table.h"

#include "bitloom/core/cpu.h"
#include "bitloom/integer/profile.h"
#include "bitloom/models/networks.h"
#include "config_key_kinds.h"

namespace bitloom::trainers {
namespace {

Words profile_words() {
  Words words;
  for (const integer::DeviceProfile& profile : integer::all_profiles())
    words.push_back(profile.name);
  return words;
}

void declare_unsectioned(Keys& keys) {
  keys.push_back(seed_key(
      "seed", "random numbers of the whole run", [](auto& c) -> auto& { return c.seed; }));
  keys.push_back(integer_key(
      "threads", "threads; 0: all cores", 0, 256, [](auto& c) -> auto& { return c.threads; }));
  keys.push_back(flag_key(
      "pin_threads", "each thread stays on a core of its own",
      [](auto& c) -> auto& { return c.pin_threads; }));
  keys.push_back(word_key(
      "isa", "cap on the CPU's instructions; nothing: all it has", isa_words(), true,
      [](auto& c) -> auto& { return c.isa; }));
  keys.push_back(word_key(
      "profile", "number formats of the device; nothing: what the CPU runs exactly",
      profile_words(), true, [](auto& c) -> auto& { return c.profile; }));
}

void declare_model(Keys& keys) {
  keys.push_back(word_key(
      "model.network", "built-in network", models::network_names(), false,
      [](auto& c) -> auto& { return c.model.network; }));
  keys.push_back(text_key(
      "model.file", "graph text (.net); wins over model.network",
      [](auto& c) -> auto& { return c.model.file; }));
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
    declare_schedule(keys);
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
