#include "allocation_count.h"

#include <link.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

// The linker refuses ours beside those of clang's thread sanitizer.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BITLOOM_OWN_OPERATORS 0
#endif
#endif
#ifndef BITLOOM_OWN_OPERATORS
#define BITLOOM_OWN_OPERATORS 1
#endif

namespace {

std::atomic<std::int64_t> g_ours{0};
std::atomic<std::int64_t> g_onednn{0};

}  // namespace

#if BITLOOM_OWN_OPERATORS
namespace {

/// Where the code of one shared library lies; empty until it is found.
struct CodeRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

/// dl_iterate_phdr's callback: nonzero ends the walk.
int take_onednn(dl_phdr_info* info, std::size_t /*size*/, void* out) {
  if (info->dlpi_name == nullptr || std::strstr(info->dlpi_name, "libdnnl") == nullptr) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    const std::uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    *static_cast<CodeRange*>(out) = {begin, begin + segment.p_memsz};
  }
  return 1;
}

CodeRange find_onednn() {
  CodeRange range;
  dl_iterate_phdr(take_onednn, &range);
  return range;
}

/// Set when static objects are made; what was allocated before counts as ours.
const CodeRange kOnednnCode = find_onednn();

void* counted(std::size_t bytes, std::size_t alignment, const void* caller) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(caller);
  const bool by_onednn = address >= kOnednnCode.begin && address < kOnednnCode.end;
  (by_onednn ? g_onednn : g_ours).fetch_add(1, std::memory_order_relaxed);
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes > 0 ? bytes : 1);
  // aligned_alloc wants a multiple of the alignment, and room for zero bytes too.
  return std::aligned_alloc(alignment, (bytes / alignment + 1) * alignment);
}

void* counted_or_throw(std::size_t bytes, std::size_t alignment, const void* caller) {
  void* memory = counted(bytes, alignment, caller);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

constexpr std::size_t kUsual = alignof(std::max_align_t);

// Not inlined: GCC would see free() after a new-expression and warn of a mismatch.
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }

}  // namespace

// All forms: the address sanitizer would bring its own for those left out.
void* operator new(std::size_t bytes) {
  return counted_or_throw(bytes, kUsual, __builtin_return_address(0));
}
void* operator new[](std::size_t bytes) {
  return counted_or_throw(bytes, kUsual, __builtin_return_address(0));
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return counted(bytes, kUsual, __builtin_return_address(0));
}
void* operator new[](std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return counted(bytes, kUsual, __builtin_return_address(0));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted_or_throw(bytes, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return counted_or_throw(bytes, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new(std::size_t bytes, std::align_val_t alignment,
                   const std::nothrow_t& /*tag*/) noexcept {
  return counted(bytes, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment,
                     const std::nothrow_t& /*tag*/) noexcept {
  return counted(bytes, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/,
                       std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/,
                     const std::nothrow_t& /*tag*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t /*alignment*/,
                       const std::nothrow_t& /*tag*/) noexcept {
  release(memory);
}

#endif

namespace bitloom::tools {

AllocationCount allocation_count() noexcept {
  return {g_ours.load(std::memory_order_relaxed), g_onednn.load(std::memory_order_relaxed)};
}

bool counts_allocations() noexcept { return BITLOOM_OWN_OPERATORS != 0; }

}  // namespace bitloom::tools
