#include "bitloom/integer/tuned_plan.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "bitloom/core/error.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kMostThreads = 256;
constexpr std::int64_t kMostBatch = 65'536;

/// Reads "key = value" lines in their order.
class Lines {
 public:
  explicit Lines(const std::string& text) : stream_(text) {}

  bool is_done() { return stream_.peek() == std::istringstream::traits_type::eof(); }

  std::string value(const std::string& key) {
    std::string line;
    const std::string opening = key + " = ";
    if (!std::getline(stream_, line) || !line.starts_with(opening)) {
      refuse(cat("a line '", opening, "...'"), cat("'", line, "'"));
    }
    return line.substr(opening.size());
  }

  std::int64_t number(const std::string& key, std::int64_t most) {
    const std::string word = value(key);
    std::int64_t number = 0;
    const char* end = word.data() + word.size();
    const auto [stopped, error] = std::from_chars(word.data(), end, number);
    if (error != std::errc() || stopped != end || number < 1 || number > most) {
      refuse(cat(key, " from 1 to ", most), cat("'", word, "'"));
    }
    return number;
  }

  std::vector<std::string> words(const std::string& key) {
    std::istringstream list(value(key));
    std::vector<std::string> out;
    for (std::string word; list >> word;) out.push_back(word);
    return out;
  }

  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw FormatError({.place = "tuned",
                       .expected = expected,
                       .found = found,
                       .remedy = "bitloom bench --tune writes it anew"});
  }

 private:
  std::istringstream stream_;
};

}  // namespace

const TunedPlan* find_tuned(std::span<const TunedPlan> plans, const TunedFor& where) {
  const auto at = std::find_if(plans.begin(), plans.end(),
                               [&](const TunedPlan& plan) { return plan.where == where; });
  return at == plans.end() ? nullptr : &*at;
}

void put_tuned(std::vector<TunedPlan>& plans, TunedPlan plan) {
  std::erase_if(plans, [&](const TunedPlan& other) { return other.where == plan.where; });
  plans.push_back(std::move(plan));
}

std::string tuned_to_text(std::span<const TunedPlan> plans) {
  std::string text;
  for (const TunedPlan& plan : plans) {
    text += cat("cpu = ", plan.where.cpu, "\nisa = ", plan.where.isa,
                "\nbackend = ", plan.where.backend, "\nthreads = ", plan.where.threads,
                "\nbatch = ", plan.where.batch, "\nlayers =");
    for (const std::string& name : plan.implementations) text += " " + name;
    text += "\n";
  }
  return text;
}

std::vector<TunedPlan> tuned_from_text(const std::string& text, std::size_t layers) {
  Lines lines(text);
  std::vector<TunedPlan> plans;
  while (!lines.is_done()) {
    TunedPlan plan;
    plan.where.cpu = lines.value("cpu");
    plan.where.isa = lines.value("isa");
    plan.where.backend = lines.value("backend");
    plan.where.threads = static_cast<int>(lines.number("threads", kMostThreads));
    plan.where.batch = lines.number("batch", kMostBatch);
    plan.implementations = lines.words("layers");
    if (plan.implementations.size() != layers) {
      lines.refuse(cat(layers, " layers"), cat(plan.implementations.size()));
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace bitloom::integer
