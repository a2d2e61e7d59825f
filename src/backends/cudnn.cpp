// int8 on NVIDIA devices.
#include "backend.h"

namespace bitloom::backends {

PlanResult plan_cudnn(const LayerContext&) { return Declined{"built without cuDNN"}; }

}  // namespace bitloom::backends
