#include "check_bundle.h"

#include <algorithm>
#include <cmath>

#include "cli.h"
#include "formats/bpte/bpte.h"
#include "model_tensors.h"
#include "tensor_difference.h"

namespace sconce::cli {
namespace {

struct CaseRow {
  std::string method;
  size_t index = 0;
  bool passed = true, compared = false;
  std::string problem;  // why it failed, when no number says so
  double error_max = 0, relative = 0;
  std::vector<TensorDifference> outputs;
};

// Row-major, named for its position.
NamedTensor expected_tensor(const BpteValue& value, size_t position) {
  NamedTensor tensor;
  tensor.name = fmt::format("output.{}", position);
  auto take = [&](DType dtype, const void* bytes) {
    tensor.dtype = dtype;
    tensor.owned.assign(static_cast<const uint8_t*>(bytes),
                        static_cast<const uint8_t*>(bytes) + dtype_bytes(dtype));
  };
  if (auto* integer = std::get_if<int64_t>(&value)) take(DType::i64, integer);
  if (auto* flag = std::get_if<bool>(&value)) take(DType::b8, flag);
  if (auto* number = std::get_if<double>(&value)) take(DType::f64, number);
  if (auto* given = std::get_if<BpteTensor>(&value)) {
    tensor.dtype = given->dtype;
    tensor.sizes.assign(given->sizes.begin(), given->sizes.end());
    tensor.owned = reordered(given->bytes, given->dtype, given->sizes, given->dim_order, {});
  }
  tensor.bytes = tensor.owned;
  return tensor;
}

// `storage` holds what the arguments view: a method may write to its inputs, a file may not be
// written to.
std::vector<Argument> inputs_of(const BpteCase& test, const MethodMeta& meta,
                                std::vector<std::vector<uint8_t>>* storage) {
  std::vector<Argument> inputs;
  storage->reserve(test.inputs.size());
  for (size_t i = 0; i < test.inputs.size(); i++) {
    const BpteValue& value = test.inputs[i];
    if (auto* integer = std::get_if<int64_t>(&value)) inputs.emplace_back(*integer);
    if (auto* flag = std::get_if<bool>(&value)) inputs.emplace_back(*flag);
    if (auto* number = std::get_if<double>(&value)) inputs.emplace_back(*number);
    auto* tensor = std::get_if<BpteTensor>(&value);
    if (!tensor) continue;
    std::vector<uint8_t> order;
    if (i < meta.input_count()) order = order_wanted(meta.input(uint32_t(i)));
    if (order.size() != tensor->sizes.size()) order.clear();  // the runtime says what is wrong
    storage->push_back(
        reordered(tensor->bytes, tensor->dtype, tensor->sizes, tensor->dim_order, order));
    inputs.push_back(
        Argument::of(storage->back().data(), tensor->dtype, tensor->sizes, std::move(order)));
  }
  return inputs;
}

Result<void> run_case(Module& module, const BpteCase& test, const BundleCheck& options,
                      CaseRow& row) {
  TRY(MethodMeta meta, module.method_meta(row.method));
  if (test.inputs.size() != meta.input_count())
    return error(Code::invalid_argument, "{} inputs, the method has {}", test.inputs.size(),
                 meta.input_count());
  TRY_VOID(module.reset(row.method));
  std::vector<std::vector<uint8_t>> storage;
  std::vector<Argument> inputs = inputs_of(test, meta, &storage);
  TRY(std::vector<Argument> results, module.execute(row.method, inputs));
  if (test.outputs.empty()) return {};
  std::vector<NamedTensor> found = named_results(results);
  if (found.size() != test.outputs.size())
    return error(Code::invalid_argument, "{} expected outputs, the method gives {}",
                 test.outputs.size(), found.size());
  row.compared = true;
  for (size_t i = 0; i < found.size(); i++) {
    NamedTensor expected = expected_tensor(test.outputs[i], i);
    bool exact = is_integral(expected.dtype);
    TensorDifference d =
        compare_tensors(found[i], expected, exact ? 0 : options.rtol, exact ? 0 : options.atol);
    d.name = expected.name;
    row.passed &= d.passed;
    row.error_max = std::max(row.error_max, d.error_max);
    row.relative = std::max(row.relative, d.relative);
    if (!d.problem.empty() && row.problem.empty()) row.problem = d.name + ": " + d.problem;
    row.outputs.push_back(std::move(d));
  }
  return {};
}

// JSON has no infinity.
double finite(double value) { return std::min(value, 1e308); }

}  // namespace

bool check_bundle(const std::string& path, Bytes file, const BundleCheck& options, bool json) {
  BpteFile bundle = value_or_exit(read_bpte(file).with_context(path), json);
  Module module =
      value_or_exit(Module::load(bundle.program, options.module).with_context(path), json);
  Progress progress;
  size_t total = 0, failed = 0, compared = 0;
  for (const BpteSuite& suite : bundle.suites) total += suite.cases.size();
  std::vector<CaseRow> rows;
  for (const BpteSuite& suite : bundle.suites)
    for (size_t i = 0; i < suite.cases.size(); i++) {
      progress.show("running cases", double(rows.size()) / double(total));
      CaseRow& row = rows.emplace_back();
      row.method = suite.method;
      row.index = i;
      if (auto ran = run_case(module, suite.cases[i], options, row); !ran.ok()) {
        row.passed = false;
        row.problem = ran.error().text;
      }
      failed += !row.passed;
      compared += row.compared;
    }
  progress.clear();
  if (json) {
    fmt::print("{{\"passed\": {}, \"rtol\": {}, \"atol\": {}, \"cases\": [", failed == 0,
               options.rtol, options.atol);
    const char* comma = "";
    for (const CaseRow& row : rows) {
      fmt::print(
          "{}{{\"method\": {}, \"case\": {}, \"passed\": {}, \"compared\": {}, \"error_max\": "
          "{:.9g}, \"relative\": {:.9g}, \"problem\": {}, \"outputs\": [",
          comma, json_string(row.method), row.index, row.passed, row.compared,
          finite(row.error_max), finite(row.relative), json_string(row.problem));
      const char* inner = "";
      for (const TensorDifference& d : row.outputs) {
        fmt::print(
            "{}{{\"name\": {}, \"passed\": {}, \"error_max\": {:.9g}, \"scale\": {:.9g}, "
            "\"mismatches\": {}, \"count\": {}}}",
            inner, json_string(d.name), d.passed, finite(d.error_max), d.scale, d.mismatches,
            d.count);
        inner = ", ";
      }
      fmt::print("]}}");
      comma = ", ";
    }
    fmt::print("]}}\n");
    return failed == 0;
  }
  size_t width = 6;
  for (const CaseRow& row : rows) width = std::max(width, row.method.size());
  fmt::print("{:{}}  {:>4}  {:>10}  {:>10}\n", "method", width, "case", "error", "relative");
  for (const CaseRow& row : rows) {
    fmt::print("{:{}}  {:>4}  ", row.method, width, row.index);
    if (row.compared)
      fmt::print("{:10.3g}  {:10.3g}  ", row.error_max, row.relative);
    else
      fmt::print("{:>10}  {:>10}  ", "-", "-");
    fmt::print("{}{}{}\n",
               !row.passed    ? "FAIL"
               : row.compared ? "ok"
                              : "ran; nothing is expected",
               row.problem.empty() ? "" : "  ", row.problem);
  }
  fmt::print("{} case{}: {} passed, {} failed{}\n", rows.size(), rows.size() == 1 ? "" : "s",
             rows.size() - failed, failed,
             rows.size() - failed > compared ? "; those without expected outputs only ran" : "");
  return failed == 0;
}

}  // namespace sconce::cli
