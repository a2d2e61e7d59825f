// Runs a test once per CPU target of Google Highway.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

namespace bitloom {

/// Runs `body` once per Highway target that this machine supports and the kernels were built for;
/// returns how often.
template <typename Body>
int for_each_highway_target(const Body& body) {
  int count = 0;
  std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  for (; targets != 0; targets &= targets - 1) {
    const std::int64_t target = targets & -targets;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    body();
    ++count;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return count;
}

}  // namespace bitloom
