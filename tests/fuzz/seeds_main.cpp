// Writes the seeds of BITLOOM_FUZZ_TARGET into a folder: seeds_NAME FOLDER
#include <filesystem>
#include <fstream>
#include <iostream>

#include "fuzz/target.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER\n";
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  int number = 0;
  for (const std::string& seed : bitloom::fuzz::BITLOOM_FUZZ_TARGET().seeds()) {
    const std::string name = "seed" + std::to_string(number++);
    std::ofstream(std::filesystem::path(argv[1]) / name, std::ios::binary) << seed;
  }
  return number > 0 ? 0 : 1;
}
