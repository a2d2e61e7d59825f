// Which memory the tensors of a session lie in. Goes to: session.cpp.
#pragma once

#include <cstddef>
#include <vector>

#include "bitloom/core/arena.h"
#include "bitloom/integer/model.h"

namespace bitloom::backends {

/// Which memory each tensor lies in, and when that memory must hold.
struct BufferPlan {
  std::vector<std::size_t> buffer_of;  ///< per tensor
  std::vector<Lifetime> lifetimes;     ///< per buffer
};

/// Step 0 encodes the input, step i + 1 runs layer i. A residual that nobody reads later lends its
/// memory to the output, so that oneDNN's sum finds it in place. `sizes`: bytes of each tensor;
/// `hosts`: for each the later tensor in whose memory it lies, or -1.
BufferPlan plan_buffers(const integer::Model& model, const std::vector<std::size_t>& sizes,
                        const std::vector<int>& hosts);

/// Every tensor in memory of its own, for all steps.
BufferPlan plan_separate_buffers(const integer::Model& model,
                                 const std::vector<std::size_t>& sizes);

}  // namespace bitloom::backends
