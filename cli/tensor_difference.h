// How far two tensors are apart, as `sconce compare` and `sconce check --bundle` judge it.
#pragma once

#include "named_tensors.h"

namespace sconce::cli {

struct TensorDifference {
  std::string name, problem;  // problem: what cannot be compared
  double error_max = 0;       // |a - b|
  double scale = 0;           // max |b| of the tensor: errors are judged against it
  double relative = 0;        // error_max / scale
  int64_t mismatches = 0;     // elements past the tolerance
  int64_t count = 0;          // elements; two for a complex number
  bool passed = true;
};

// Row-major tensors; `b` is the reference. An element may be atol + rtol * scale away; integers and
// bools have to be equal when both are 0, to the last bit. NaN equals NaN.
TensorDifference compare_tensors(const NamedTensor& a, const NamedTensor& b, double rtol,
                                 double atol);

}  // namespace sconce::cli
