// libFuzzer's entry for the target that BITLOOM_FUZZ_TARGET names.
#include <cstddef>
#include <cstdint>

#include "bitloom/core/error.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bitloom::fuzz::Target target = bitloom::fuzz::BITLOOM_FUZZ_TARGET();
  try {
    target.run({reinterpret_cast<const char*>(data), size});
  } catch (const bitloom::Error&) {  // the one answer to a broken file
  }
  return 0;
}
