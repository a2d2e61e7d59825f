// oneDNN's engine and stream, one of each per process, and how a failure reads.
#pragma once

#include <string>

#include "oneapi/dnnl/dnnl.hpp"

namespace bitloom::kernels {

/// The CPU engine. First use applies the ISA cap of core/cpu.h to oneDNN.
dnnl::engine& engine();
dnnl::stream& stream();

/// "3.2.0".
std::string onednn_version();

}  // namespace bitloom::kernels
