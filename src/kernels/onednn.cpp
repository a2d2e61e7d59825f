#include "bitloom/kernels/onednn.h"

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"

namespace bitloom::kernels {
namespace {

dnnl::cpu_isa onednn_cap() {
  const Isa isa = effective_isa();
  if (isa == detected_isa()) return dnnl::cpu_isa::isa_default;
  switch (isa) {
    case Isa::kSse41:
      return dnnl::cpu_isa::sse41;
    case Isa::kAvx2:
      return dnnl::cpu_isa::avx2;
    case Isa::kAvx512:
      return dnnl::cpu_isa::avx512_core;
    case Isa::kAvx512Vnni:
      return dnnl::cpu_isa::avx512_core_vnni;
    case Isa::kAvx512Amx:
    case Isa::kOther:
      break;
  }
  return dnnl::cpu_isa::isa_default;
}

dnnl::engine make_engine() {
  // Set even where there is no cap: so ONEDNN_MAX_CPU_ISA cannot weaken oneDNN behind the back of
  // the profile check, which asks core/cpu.h alone.
  const dnnl::status status = dnnl::set_max_cpu_isa(onednn_cap());
  if (status != dnnl::status::success && effective_isa() != detected_isa()) {
    throw BackendError({.place = "isa",
                        .expected = "to be set before the first kernel runs",
                        .found = "oneDNN has chosen its instructions already",
                        .remedy = "pass --isa or BITLOOM_ISA when the program starts"});
  }
  return dnnl::engine(dnnl::engine::kind::cpu, 0);
}

}  // namespace

dnnl::engine& engine() {
  static dnnl::engine instance = make_engine();
  return instance;
}

dnnl::stream& stream() {
  static dnnl::stream instance(engine());
  return instance;
}

std::string onednn_version() {
  const dnnl::version_t* version = dnnl::version();
  return cat(version->major, ".", version->minor, ".", version->patch);
}

}  // namespace bitloom::kernels
