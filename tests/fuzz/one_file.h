// A file in memory (where the machine has a memory file system), written again for each input.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "support/temp_dir.h"

namespace bitloom::fuzz {

class OneFile {
 public:
  explicit OneFile(const std::string& name) : path_(dir_ / name) {}

  /// Without write_whole_file's fsync.
  const std::filesystem::path& with(std::string_view bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_;
  }
  std::string folder() const { return dir_.path().string(); }
  const TempDir& dir() const { return dir_; }

 private:
  TempDir dir_;
  std::filesystem::path path_;
};

}  // namespace bitloom::fuzz
