// sconce compare: are two tensor files equal within a tolerance?
#include "cli.h"
#include "tensor_difference.h"

namespace sconce::cli {

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
    std::vector<TensorDifference> rows;
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
    for (const TensorDifference& d : rows) passed &= d.passed;
    if (options->json) {
      fmt::print("{{\"passed\": {}, \"tensors\": [", passed);
      const char* comma = "";
      for (const TensorDifference& d : rows) {
        fmt::print(
            "{}{{\"name\": {}, \"passed\": {}, \"problem\": {}, \"error_max\": {:.9g}, \"scale\": "
            "{:.9g}, \"mismatches\": {}, \"count\": {}}}",
            comma, json_string(d.name), d.passed, json_string(d.problem),
            std::min(d.error_max, 1e308), d.scale, d.mismatches, d.count);
        comma = ", ";
      }
      fmt::print("]}}\n");
    } else {
      for (const TensorDifference& d : rows) {
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
