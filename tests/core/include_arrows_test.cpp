// The dependency table of the folders, enforced on every #include line: nothing points back up.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "support/read_text.h"

namespace bitloom {
namespace {

namespace fs = std::filesystem;

// What a folder names itself; what those use is allowed as well. CMakeLists.txt links the same.
const std::map<std::string, std::vector<std::string>>& arrows() {
  static const std::map<std::string, std::vector<std::string>> table{
      {"core", {"Eigen", "spdlog", "omp.h"}},
      {"io", {"zlib.h", "core", "hdf5.h", "nlohmann"}},
      {"integer", {"core"}},
      {"kernels", {"integer", "oneapi", "dnnl.hpp", "hwy"}},
      {"backends", {"kernels", "io"}},
      {"layers", {"kernels"}},
      {"models", {"layers"}},
      {"quant", {"layers", "integer"}},
      {"deploy", {"quant"}},
      {"datasets", {"core", "io", "zlib.h", "jpeglib.h", "jerror.h", "png.h"}},
      {"train", {"deploy", "backends", "datasets"}},
      {"trainers", {"train", "models", "io", "boost"}},
      {"tools", {"trainers"}}};
  return table;
}

/// Everything that `folder` may include: itself, and all that lies below it.
std::set<std::string> allowed(const std::string& folder) {
  std::set<std::string> reached{folder};
  std::vector<std::string> open{folder};
  while (!open.empty()) {
    const auto row = arrows().find(open.back());
    open.pop_back();
    if (row == arrows().end()) continue;
    for (const std::string& next : row->second) {
      if (reached.insert(next).second) open.push_back(next);
    }
  }
  return reached;
}

/// Libraries of the table: names that are no folder.
std::set<std::string> libraries() {
  std::set<std::string> names;
  for (const auto& [folder, uses] : arrows()) {
    for (const std::string& use : uses) {
      if (!arrows().contains(use)) names.insert(use);
    }
  }
  return names;
}

/// What `line` includes, or "" if it is no #include.
std::string include_target(const std::string& line) {
  std::istringstream words(line);
  char hash = 0;
  std::string word;
  char open = 0;
  std::string target;
  words >> hash >> word >> open;
  if (hash != '#' || word != "include" || (open != '"' && open != '<')) return "";
  std::getline(words, target, open == '"' ? '"' : '>');
  return target;
}

/// One line of text for each #include in `source` that `folder` must not have.
std::vector<std::string> violations(const std::string& folder, const std::string& source) {
  const std::set<std::string> reach = allowed(folder);
  const std::set<std::string> known_libraries = libraries();
  std::vector<std::string> found;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) {
    const std::string target = include_target(line);
    const std::string first = target.substr(0, target.find('/'));
    bool forbidden = first == ".." || (known_libraries.contains(first) && !reach.contains(first));
    if (first == "bitloom" && target.size() > first.size()) {
      const std::string rest = target.substr(first.size() + 1);
      forbidden = forbidden || !reach.contains(rest.substr(0, rest.find('/')));
    }
    if (forbidden) found.push_back(cat(folder, " includes ", target));
  }
  return found;
}

TEST(IncludeArrows, CheckerTellsGoodFromBad) {
  EXPECT_TRUE(
      violations("train", "#include \"bitloom/core/error.h\"\n#include <vector>\n").empty());
  EXPECT_TRUE(violations("train", "#include \"bitloom/io/json_rows.h\"\n").empty());
  EXPECT_EQ(violations("core", "\n  # include \"bitloom/io/json_rows.h\" // x\n").size(), 1U);
  EXPECT_EQ(violations("backends", "#include \"bitloom/layers/graph.h\"\n").size(), 1U);
  EXPECT_EQ(violations("integer", "#include <hwy/highway.h>\n").size(), 1U);
  EXPECT_EQ(violations("core", "#include <hdf5.h>\n").size(), 1U);
  EXPECT_EQ(violations("io", "#include \"../core/x.h\"\n").size(), 1U);
  EXPECT_EQ(violations("tools", "#include \"bitloom/unknown/x.h\"\n").size(), 1U);
}

TEST(IncludeArrows, TableHasNoCycle) {
  for (const auto& [folder, uses] : arrows()) {
    for (const std::string& use : uses) {
      EXPECT_FALSE(allowed(use).contains(folder)) << folder << " and " << use;
    }
  }
}

TEST(IncludeArrows, EveryFolderObeys) {
  const fs::path root = BITLOOM_SOURCE_DIR;
  int files = 0;
  std::set<std::string> seen;
  for (const auto& [folder, uses] : arrows()) {
    for (const fs::path& place :
         {root / "src" / folder, root / "include/bitloom" / folder, root / folder}) {
      if (!fs::is_directory(place)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(place)) {
        const std::string ending = entry.path().extension().string();
        if (ending != ".h" && ending != ".cpp") continue;
        ++files;
        seen.insert(folder);
        for (const std::string& line : violations(folder, read_text(entry.path()))) {
          ADD_FAILURE() << entry.path().lexically_relative(root).string() << ": " << line;
        }
      }
    }
  }
  EXPECT_GT(files, 20);
  EXPECT_GE(seen.size(), 3U);
}

// A folder that the table forgets would be free of it.
TEST(IncludeArrows, TableKnowsEveryFolder) {
  const fs::path root = BITLOOM_SOURCE_DIR;
  int folders = 0;
  for (const fs::path& place : {root / "src", root / "include/bitloom"}) {
    for (const auto& entry : fs::directory_iterator(place)) {
      if (!entry.is_directory()) continue;
      ++folders;
      EXPECT_TRUE(arrows().contains(entry.path().filename().string())) << entry.path();
    }
  }
  EXPECT_GE(folders, 4);
}

}  // namespace
}  // namespace bitloom
