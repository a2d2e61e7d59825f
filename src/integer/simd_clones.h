// Lets the compiler vectorise one plain loop for several x86 steps and choose at load time.
// The results do not depend on the choice: integer sums are exact in any order, and float steps
// are written one by one and compiled with -ffp-contract=off.
#pragma once

// Sanitizers run before the loader can resolve such functions, so they get the plain build;
// coverage would count the builds that this CPU does not choose.
#if !defined(BITLOOM_COVERAGE) && defined(__x86_64__) && defined(__GNUC__) && \
    !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define BITLOOM_SIMD_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define BITLOOM_SIMD_CLONES
#endif
