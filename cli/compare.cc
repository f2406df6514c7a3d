// sconce compare: are two tensor files equal within a tolerance?
#include <cmath>
#include <cstring>

#include "cli.h"
#include "named_tensors.h"
#include "ops/elementwise.h"

namespace sconce::cli {
namespace {

struct Difference {
  std::string name, problem;  // problem: what cannot be compared
  double error_max = 0;       // |a - b|
  double scale = 0;           // max |b| of the tensor: errors are judged against it
  double relative = 0;        // error_max / scale
  int64_t mismatches = 0;     // elements past the tolerance
  int64_t count = 0;
  bool passed = true;
};

Difference compare_tensors(const NamedTensor& a, const NamedTensor& b, double rtol, double atol) {
  Difference d;
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
  d.count = int64_t(a.bytes.size() / dtype_bytes(a.dtype));
  if (dtype_category(a.dtype) == DTypeCategory::complex) {
    d.passed = a.bytes.size() == b.bytes.size() &&
               memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
    if (!d.passed) d.problem = "complex values differ";
    return d;
  }
  std::vector<double> x(static_cast<size_t>(d.count)), y(x);
  auto load = [&](const NamedTensor& t, std::vector<double>& to) {
    for (int64_t done = 0; done < d.count; done += 1 << 20)
      load_elements<double>(to.data() + done, t.bytes.data() + size_t(done) * dtype_bytes(t.dtype),
                            1, int(std::min<int64_t>(d.count - done, 1 << 20)), t.dtype);
  };
  load(a, x);
  load(b, y);
  for (double v : y)
    if (std::isfinite(v)) d.scale = std::max(d.scale, std::fabs(v));
  for (size_t i = 0; i < x.size(); i++) {
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

}  // namespace

void add_compare(CLI::App& app) {
  struct Options {
    std::string a, b;
    double rtol = 1e-4, atol = 0;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("compare", "Compare two tensor files; exit code 1 when they differ");
  command->add_option("a", options->a, "A .safetensors or .npy")->required();
  command->add_option("b", options->b, "The reference")->required();
  command
      ->add_option("--rtol", options->rtol,
                   "Tolerance, relative to the largest value of each reference tensor")
      ->capture_default_str();
  command->add_option("--atol", options->atol, "Absolute tolerance, added to it")
      ->capture_default_str();
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example:\n  sconce compare ours.safetensors torch.safetensors --rtol 1e-4");
  command->callback([options] {
    TensorFile a = value_or_exit(load_tensors(options->a), options->json);
    TensorFile b = value_or_exit(load_tensors(options->b), options->json);
    std::vector<Difference> rows;
    for (const NamedTensor& t : a.tensors) {
      const NamedTensor* other = nullptr;
      for (const NamedTensor& u : b.tensors)
        if (u.name == t.name) other = &u;
      // Two .npy files, or one tensor each: names do not matter.
      if (!other && a.tensors.size() == 1 && b.tensors.size() == 1) other = &b.tensors[0];
      if (other)
        rows.push_back(compare_tensors(t, *other, options->rtol, options->atol));
      else
        rows.push_back({t.name, "only in " + options->a, 0, 0, 0, 0, 0, false});
    }
    for (const NamedTensor& t : b.tensors) {
      bool found = a.tensors.size() == 1 && b.tensors.size() == 1;
      for (const NamedTensor& u : a.tensors) found |= u.name == t.name;
      if (!found) rows.push_back({t.name, "only in " + options->b, 0, 0, 0, 0, 0, false});
    }
    bool passed = true;
    for (const Difference& d : rows) passed &= d.passed;
    if (options->json) {
      fmt::print("{{\"passed\": {}, \"tensors\": [", passed);
      const char* comma = "";
      for (const Difference& d : rows) {
        fmt::print(
            "{}{{\"name\": {}, \"passed\": {}, \"problem\": {}, \"error_max\": {:.9g}, \"scale\": "
            "{:.9g}, \"mismatches\": {}, \"count\": {}}}",
            comma, json_string(d.name), d.passed, json_string(d.problem),
            std::min(d.error_max, 1e308), d.scale, d.mismatches, d.count);
        comma = ", ";
      }
      fmt::print("]}}\n");
    } else {
      for (const Difference& d : rows) {
        if (!d.problem.empty())
          fmt::print("{:24} FAIL  {}\n", d.name, d.problem);
        else
          fmt::print(
              "{:24} {}  max error {:.3g}, {:.3g} of the largest value {:.4g}; {} of {} past the "
              "tolerance\n",
              d.name, d.passed ? "ok  " : "FAIL", d.error_max, d.relative, d.scale, d.mismatches,
              d.count);
      }
    }
    if (!passed) exit(1);
  });
}

}  // namespace sconce::cli
