// A oneDNN primitive whose memory objects are made once; a call only exchanges pointers.
// Goes to: the f32 kernels of this folder.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/shape.h"
#include "bitloom/core/tensor.h"
#include "bitloom/kernels/onednn.h"

namespace bitloom::kernels {

/// One argument of a primitive.
struct PrimitiveArgument {
  int index;  ///< DNNL_ARG_...
  dnnl::memory::desc desc;
};

/// A primitive with its arguments. The scratchpad is one more argument, the last, with `user` mode.
class PreparedPrimitive {
 public:
  PreparedPrimitive() = default;
  /// PrimitiveDesc: the primitive's own descriptor type, made with user_scratchpad().
  template <typename Primitive>
  static PreparedPrimitive make(const typename Primitive::primitive_desc& pd,
                                const std::vector<PrimitiveArgument>& arguments) {
    PreparedPrimitive out;
    out.primitive_ = Primitive(pd);
    out.scratchpad_bytes_ = pd.scratchpad_desc().get_size();
    out.implementation_ = pd.impl_info_str();
    for (const PrimitiveArgument& argument : arguments) out.bind(argument);
    out.bind({DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()});
    return out;
  }

  explicit operator bool() const { return static_cast<bool>(primitive_); }
  std::size_t scratchpad_bytes() const { return scratchpad_bytes_; }
  const std::string& implementation() const { return implementation_; }

  /// `pointers` in the order of make()'s arguments, 64-byte aligned; one too many (an absent bias)
  /// is not read. Allocates nothing of ours.
  /// @throws BackendError if oneDNN fails.
  void run(std::initializer_list<const void*> pointers, std::byte* scratchpad);

 private:
  void bind(const PrimitiveArgument& argument);

  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  std::size_t scratchpad_bytes_ = 0;
  std::string implementation_;
};

dnnl::primitive_attr user_scratchpad();

/// Logical [N, C, H, W] in NHWC memory; rank 2 reads as [N, C, 1, 1].
dnnl::memory::desc nhwc(const Shape& shape, DType dtype);
dnnl::memory::desc nhwc_f32(const Shape& shape);
dnnl::memory::desc vector_f32(std::int64_t count);

/// "forward brgconv:avx512_core, backward-data ..." of the primitives that were made.
std::string names_of(
    std::initializer_list<std::pair<const char*, const PreparedPrimitive*>> primitives);

/// Rounds up to the alignment of tensors.
std::size_t aligned(std::size_t bytes);

/// Runs `make`; what oneDNN throws becomes a BackendError at `place`.
template <typename Make>
auto with_onednn_errors(const std::string& place, const Make& make) {
  try {
    return make();
  } catch (const dnnl::error& error) {
    throw BackendError({.place = place,
                        .expected = "oneDNN " + onednn_version() + " to make this primitive",
                        .found = error.what(),
                        .remedy = ""});
  }
}

}  // namespace bitloom::kernels
