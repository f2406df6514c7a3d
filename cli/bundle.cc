// sconce bundle: a program and tensors in, a program with its test cases out.
#include <algorithm>
#include <cstring>

#include <fmt/ranges.h>

#include "base/file.h"
#include "cli.h"
#include "formats/bpte/bpte.h"
#include "model_tensors.h"

namespace sconce::cli {
namespace {

BpteValue value_of(const Argument& argument) {
  if (!argument.is_tensor()) {
    if (argument.value.kind == Value::Kind::integer) return argument.value.integer;
    if (argument.value.kind == Value::Kind::boolean) return argument.value.boolean;
    return argument.value.floating;
  }
  BpteTensor tensor{argument.tensor.dtype, argument.sizes, argument.dim_order, argument.bytes()};
  for (size_t d = tensor.dim_order.size(); d < tensor.sizes.size(); d++)
    tensor.dim_order.push_back(uint8_t(d));
  return tensor;
}

// A tensor that the method could never take or give is no part of a case for it.
Result<void> check_fits(const Argument& given, const SlotMeta& slot, const std::string& name) {
  bool fits = given.tensor.dtype == slot.dtype && given.sizes.size() == slot.rank;
  for (int d = 0; fits && d < slot.rank; d++)
    fits = slot.dynamic ? given.sizes[size_t(d)] <= slot.sizes[d]
                        : given.sizes[size_t(d)] == slot.sizes[d];
  if (fits) return {};
  return error(Code::invalid_argument, "\"{}\" is {}[{}], the method has {} there", name,
               dtype_name(given.tensor.dtype), fmt::join(given.sizes, ", "), slot_text(slot));
}

// Numbers that the method was exported with are part of a case.
Result<std::vector<BpteValue>> inputs_of(const MethodMeta& meta, TensorFile& file) {
  TRY(std::vector<Argument> arguments, method_inputs(meta, file));
  std::vector<BpteValue> values;
  size_t tensor_index = 0;
  for (uint32_t i = 0; i < arguments.size(); i++) {
    if (arguments[i].is_tensor())
      TRY_VOID(check_fits(arguments[i], meta.input(i), fmt::format("input.{}", tensor_index++)));
    if (!arguments[i].is_tensor()) arguments[i].value = meta.input(i).value;
    if (!arguments[i].is_tensor() && !arguments[i].value.is_number())
      return error(Code::unsupported,
                   "input {} is neither a tensor nor a number: a bundle cannot hold it", i);
    values.push_back(value_of(arguments[i]));
  }
  return values;
}

// A 0-dim tensor as the number that it stands for.
Result<BpteValue> number_of(const NamedTensor& tensor) {
  auto load = [&](auto zero) {
    memcpy(&zero, tensor.bytes.data(), sizeof(zero));
    return zero;
  };
  if (tensor.sizes.empty()) {
    if (tensor.dtype == DType::i64) return BpteValue(load(int64_t(0)));
    if (tensor.dtype == DType::f64) return BpteValue(load(double(0)));
    if (tensor.dtype == DType::b8) return BpteValue(load(uint8_t(0)) != 0);
  }
  return error(Code::invalid_argument, "\"{}\" is no number: want i64[], f64[] or b8[]",
               tensor.name);
}

// By the names that `sconce run` gives results.
Result<std::vector<BpteValue>> outputs_of(const MethodMeta& meta, const TensorFile& file) {
  std::vector<BpteValue> values;
  size_t tensor_index = 0;
  for (uint32_t i = 0; i < meta.output_count(); i++) {
    SlotMeta slot = meta.output(i);
    bool is_tensor = slot.kind == Value::Kind::tensor;
    if (!is_tensor && !slot.value.is_number()) continue;  // None
    std::string name =
        is_tensor ? fmt::format("output.{}", tensor_index++) : fmt::format("number.{}", i);
    const NamedTensor* found = nullptr;
    for (const NamedTensor& t : file.tensors)
      if (t.name == name || (name == "output.0" && t.name == kNpyName)) found = &t;
    if (!found)
      return error(Code::invalid_argument, "tensor \"{}\" is missing: {} is expected", name,
                   slot_text(slot));
    TRY(std::vector<int32_t> sizes, method_sizes(*found));
    if (is_tensor) {
      Argument given = Argument::of(found->bytes.data(), found->dtype, std::move(sizes));
      TRY_VOID(check_fits(given, slot, name));
      values.push_back(value_of(given));
      continue;
    }
    TRY(BpteValue number, number_of(*found));
    values.push_back(number);
  }
  if (values.size() < file.tensors.size())
    return error(Code::invalid_argument, "{} tensors, the method gives {}", file.tensors.size(),
                 values.size());
  return values;
}

}  // namespace

void add_bundle(CLI::App& app) {
  struct Options {
    std::string model, output;
    std::vector<std::string> methods = {"forward"}, inputs, outputs;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "bundle", "Put a program and test cases for it into one .bpte, as stock ExecuTorch does");
  command->add_option("model", options->model, "A .pte, or a .bpte to add cases to")->required();
  command
      ->add_option("--inputs", options->inputs,
                   "The inputs of a case, as for run; repeat it for several cases")
      ->required();
  command->add_option("--outputs", options->outputs,
                      "The answers of a case (output.0, output.1, ...; number.POSITION), as often "
                      "as --inputs; left out: the cases expect nothing");
  command
      ->add_option("--method", options->methods,
                   "Which method a case is for; repeat it to name one for each")
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "The .bpte to write")->required();
  command->add_flag("--json", options->json, "Report as JSON");
  command->footer(
      "Example:\n"
      "  sconce bundle model.pte --inputs in.safetensors --outputs torch.safetensors -o "
      "model.bpte\n"
      "  sconce check model.bpte --bundle");
  command->callback([options] {
    bool json = options->json;
    size_t count = options->inputs.size();
    if (!options->outputs.empty() && options->outputs.size() != count)
      exit_with(error(Code::invalid_argument,
                      "{} times --inputs and {} times --outputs: one of each per case, or no "
                      "--outputs at all",
                      count, options->outputs.size()),
                json);
    std::vector<std::string>& methods = options->methods;
    if (methods.size() == 1) methods.resize(count, methods[0]);
    if (methods.size() != count)
      exit_with(error(Code::invalid_argument,
                      "{} times --method and {} cases: one for all, or one for each",
                      methods.size(), count),
                json);
    MappedFile model = value_or_exit(map_file(options->model), json);
    BpteFile bundle{{}, model.bytes()};
    if (is_bpte(model.bytes()))
      bundle = value_or_exit(read_bpte(model.bytes()).with_context(options->model), json);
    Module module = value_or_exit(Module::load(bundle.program).with_context(options->model), json);
    std::vector<TensorFile> files;  // what the bundle views
    files.reserve(2 * count);
    for (size_t c = 0; c < count; c++) {
      MethodMeta meta =
          value_or_exit(module.method_meta(methods[c]).with_context(options->model), json);
      BpteCase test;
      TensorFile& in = files.emplace_back(value_or_exit(load_tensors(options->inputs[c]), json));
      test.inputs = value_or_exit(inputs_of(meta, in).with_context(options->inputs[c]), json);
      if (!options->outputs.empty()) {
        TensorFile& out =
            files.emplace_back(value_or_exit(load_tensors(options->outputs[c]), json));
        test.outputs = value_or_exit(outputs_of(meta, out).with_context(options->outputs[c]), json);
      }
      auto suite = std::find_if(bundle.suites.begin(), bundle.suites.end(),
                                [&](const BpteSuite& s) { return s.method == methods[c]; });
      if (suite == bundle.suites.end())
        suite = bundle.suites.insert(suite, BpteSuite{methods[c], {}});
      suite->cases.push_back(std::move(test));
    }
    std::vector<uint8_t> bytes =
        value_or_exit(write_bpte(bundle).with_context(options->output), json);
    done_or_exit(save_file(options->output, bytes), json);
    size_t total = 0;
    for (const BpteSuite& suite : bundle.suites) total += suite.cases.size();
    if (json)
      fmt::print("{{\"output\": {}, \"bytes\": {}, \"cases\": {}}}\n", json_string(options->output),
                 bytes.size(), total);
    else
      fmt::print("{}: {} with {} case{}\n", options->output, human_bytes(bytes.size()), total,
                 total == 1 ? "" : "s");
  });
}

}  // namespace sconce::cli
