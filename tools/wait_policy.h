// How threads wait for each other: set before OpenMP starts.
// Goes to: main.cpp.
#pragma once

namespace bitloom::tools {

/// Starts the program anew with GOMP_SPINCOUNT set, unless the environment says already how
/// threads wait (OMP_WAIT_POLICY, GOMP_SPINCOUNT); GCC's OpenMP reads both before main() and never
/// again. Returns where they are set, or where the program cannot be started.
///
/// By default GCC's threads spin at each barrier for milliseconds, on the assumption that the
/// machine is theirs: of two programs on the same cores, one then waits for the other's spinning.
/// kSpins turns are meant to bridge what lies between two parallel regions of a training step, and
/// to be short beside the system's time slice.
void settle_wait_policy(char** argv);

/// GCC's own default is 300000 where there are as many cores as threads.
inline constexpr const char* kSpins = "2000";

}  // namespace bitloom::tools
