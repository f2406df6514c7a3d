// sconce run: a .pte and tensors in, tensors out.
#include <cstring>

#include "cli.h"
#include "model_inputs.h"

namespace sconce::cli {

void add_run(CLI::App& app) {
  struct Options { std::string model, inputs, outputs, method = "forward"; int threads = 1; bool json = false; };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Run a program on input tensors");
  command->add_option("model", options->model, "A .pte")->required();
  command->add_option("--inputs", options->inputs, "A .safetensors with input.0, input.1, ... (the tensor inputs in order), or a .npy for one");
  command->add_option("--outputs", options->outputs, "Where output.0, output.1, ... go (results that are numbers: number.POSITION); .safetensors, or .npy for one")->required();
  command->add_option("--method", options->method, "Which method to run")->capture_default_str();
  command->add_option("--threads", options->threads, "How many threads (the reference kernels use one)")->check(CLI::Range(1, 256))->capture_default_str();
  command->add_flag("--json", options->json, "Report as JSON");
  command->footer("Example:\n  sconce run model.pte --inputs in.safetensors --outputs out.safetensors");
  command->callback([options] {
    bool json = options->json;
    Progress progress;
    Module module = value_or_exit(Module::load(options->model), json);
    MethodMeta meta = value_or_exit(module.method_meta(options->method).with_context(options->model), json);
    TensorFile file;
    if (!options->inputs.empty()) file = value_or_exit(load_tensors(options->inputs), json);
    std::vector<Argument> inputs = value_or_exit(method_inputs(meta, file).with_context(options->inputs.empty() ? "--inputs" : options->inputs), json);
    done_or_exit(module.load_method(options->method).with_context(options->model), json);
    progress.show("running", 0);
    double start = seconds_now();
    std::vector<Argument> results = value_or_exit(module.execute(options->method, inputs).with_context(options->model), json);
    double seconds = seconds_now() - start;
    progress.clear();
    std::vector<NamedTensor> outputs;
    size_t tensor_index = 0;
    for (size_t position = 0; position < results.size(); position++) {
      const Argument& result = results[position];
      NamedTensor tensor;
      // Tensors are counted as inputs are; a number is a 0-dim tensor named for its position among
      // all results. None has no tensor.
      tensor.name = result.is_tensor() ? fmt::format("output.{}", tensor_index++) : fmt::format("number.{}", position);
      if (result.is_tensor()) {
        tensor.dtype = result.tensor.dtype;
        tensor.sizes.assign(result.sizes.begin(), result.sizes.end());
        tensor.bytes = result.bytes();
        if (!is_contiguous(result.tensor)) {
          // The file holds row-major tensors.
          tensor.owned.resize(tensor.bytes.size());
          Strides strides = strides_of(result.tensor);
          size_t element = dtype_bytes(tensor.dtype), count = tensor.bytes.size() / element;
          std::vector<int64_t> index(tensor.sizes.size(), 0);
          for (size_t k = 0; k < count; k++) {
            int64_t offset = 0;
            for (size_t d = 0; d < index.size(); d++) offset += index[d] * strides[int(d)];
            memcpy(tensor.owned.data() + k * element, tensor.bytes.data() + size_t(offset) * element, element);
            for (size_t d = index.size(); d-- > 0;) {
              if (++index[d] < tensor.sizes[d]) break;
              index[d] = 0;
            }
          }
        }
      } else if (result.value.kind == Value::Kind::integer) {
        tensor.dtype = DType::i64;
        tensor.owned.resize(8);
        memcpy(tensor.owned.data(), &result.value.integer, 8);
      } else if (result.value.kind == Value::Kind::floating) {
        tensor.dtype = DType::f64;
        tensor.owned.resize(8);
        memcpy(tensor.owned.data(), &result.value.floating, 8);
      } else if (result.value.kind == Value::Kind::boolean) {
        tensor.dtype = DType::b8;
        tensor.owned.push_back(result.value.boolean);
      } else {
        continue;
      }
      outputs.push_back(std::move(tensor));
    }
    for (NamedTensor& tensor : outputs) if (!tensor.owned.empty()) tensor.bytes = tensor.owned;
    done_or_exit(save_tensors(options->outputs, outputs), json);
    if (json) {
      fmt::print("{{\"method\": {}, \"seconds\": {:.6f}, \"outputs\": [", json_string(options->method), seconds);
      const char* comma = "";
      for (const NamedTensor& t : outputs) {
        fmt::print("{}{{\"name\": {}, \"dtype\": \"{}\", \"sizes\": [{}]}}", comma, json_string(t.name), dtype_name(t.dtype), fmt::join(t.sizes, ", "));
        comma = ", ";
      }
      fmt::print("]}}\n");
      return;
    }
    fmt::print("{} in {:.1f} ms\n", options->method, seconds * 1e3);
    for (const NamedTensor& t : outputs) fmt::print("  {} {}[{}]\n", t.name, dtype_name(t.dtype), fmt::join(t.sizes, ", "));
  });
}

}  // namespace sconce::cli
