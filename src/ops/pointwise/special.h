// Rewritings of special functions in terms of arithmetic, logarithms and the error function, for
// targets without kernels of their own. See special.def.cc.
#pragma once

#include "ops/pointwise/decompose.h"

namespace sconce {

Results erfinv_parts(Build& build, const Node& node);
Results lgamma_parts(Build& build, const Node& node);
Results digamma_parts(Build& build, const Node& node);
Results polygamma_parts(Build& build, const Node& node);
Results bessel_i0_parts(Build& build, const Node& node);
Results bessel_i0e_parts(Build& build, const Node& node);
Results bessel_i1_parts(Build& build, const Node& node);
Results bessel_i1e_parts(Build& build, const Node& node);
Results signbit_parts(Build& build, const Node& node);
Results copysign_parts(Build& build, const Node& node);
Results logaddexp2_parts(Build& build, const Node& node);
Results gcd_parts(Build& build, const Node& node);
Results lcm_parts(Build& build, const Node& node);

}  // namespace sconce
