#include "tensor_difference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/ranges.h>

#include "ops/elementwise.h"

namespace sconce::cli {

TensorDifference compare_tensors(const NamedTensor& a, const NamedTensor& b, double rtol,
                                 double atol) {
  TensorDifference d;
  d.name = a.name;
  if (a.dtype != b.dtype)
    d.problem = fmt::format("{} and {}", dtype_name(a.dtype), dtype_name(b.dtype));
  else if (a.sizes != b.sizes)
    d.problem =
        fmt::format("sizes [{}] and [{}]", fmt::join(a.sizes, ", "), fmt::join(b.sizes, ", "));
  if (!d.problem.empty()) {
    d.passed = false;
    return d;
  }
  // A complex number is two numbers, each judged by itself.
  DType dtype = a.dtype == DType::c64 ? DType::f32 : a.dtype == DType::c128 ? DType::f64 : a.dtype;
  size_t element = dtype_bytes(dtype);
  d.count = int64_t(a.bytes.size() / element);
  std::vector<double> x(static_cast<size_t>(d.count)), y(x);
  auto load = [&](const NamedTensor& t, std::vector<double>& to) {
    for (int64_t done = 0; done < d.count; done += 1 << 20)
      load_elements<double>(to.data() + done, t.bytes.data() + size_t(done) * element, 1,
                            int(std::min<int64_t>(d.count - done, 1 << 20)), dtype);
  };
  load(a, x);
  load(b, y);
  for (double v : y)
    if (std::isfinite(v)) d.scale = std::max(d.scale, std::fabs(v));
  // 64-bit integers beyond 2^53 are not told apart as doubles.
  bool exact = is_integral(dtype) && rtol == 0 && atol == 0;
  for (size_t i = 0; i < x.size(); i++) {
    if (exact && x[i] == y[i] &&
        memcmp(a.bytes.data() + i * element, b.bytes.data() + i * element, element) != 0) {
      d.mismatches++;
      d.passed = false;
      d.error_max = std::max(d.error_max, 1.0);
      continue;
    }
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    double error = std::fabs(x[i] - y[i]);
    if (!(error <= atol + rtol * d.scale)) {
      d.mismatches++;
      d.passed = false;
    }
    d.error_max = std::isnan(error) ? INFINITY : std::max(d.error_max, error);
  }
  d.relative = d.error_max == 0 ? 0 : d.scale > 0 ? d.error_max / d.scale : INFINITY;
  return d;
}

}  // namespace sconce::cli
