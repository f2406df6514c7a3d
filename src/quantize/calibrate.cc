#include "quantize/calibrate.h"

#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "tensor/tensor.h"

namespace sconce {
namespace {

std::string sizes_text(const Program& program, const TensorType& type) {
  std::string text = fmt::format("{}[", dtype_name(type.dtype));
  for (size_t d = 0; d < type.sizes.size(); d++)
    text += (d ? ", " : "") + program.symbols.print(type.sizes[d]);
  return text + "]";
}

bool fits(const Program& program, SymInt wanted, int64_t found) {
  if (wanted.is_known()) return wanted.value == found;
  Bounds bounds = program.symbols.bounds(wanted);
  return found >= bounds.min && found <= bounds.max;
}

bool fit_from(const Program& program, const TensorType& type, size_t first,
              const std::vector<int64_t>& sizes, size_t offset) {
  for (size_t d = first; d < type.sizes.size(); d++)
    if (!fits(program, type.sizes[d], sizes[d + offset])) return false;
  return true;
}

// How many samples a tensor holds, and the sizes of each; nothing when it does not fit.
struct Split {
  int64_t count = 0;
  std::vector<int64_t> sizes;
};
std::optional<Split> split(const Program& program, const TensorType& type,
                           const std::vector<int64_t>& sizes) {
  size_t rank = type.sizes.size();
  if (sizes.size() == rank && fit_from(program, type, 0, sizes, 0)) return Split{1, sizes};
  if (sizes.size() == rank && rank > 0 && type.sizes[0].is_known() && type.sizes[0].value > 0 &&
      sizes[0] % type.sizes[0].value == 0 && fit_from(program, type, 1, sizes, 0)) {
    std::vector<int64_t> each = sizes;
    each[0] = type.sizes[0].value;
    return Split{sizes[0] / each[0], std::move(each)};
  }
  if (sizes.size() == rank + 1 && fit_from(program, type, 0, sizes, 1))
    return Split{sizes[0], std::vector<int64_t>(sizes.begin() + 1, sizes.end())};
  return std::nullopt;
}

Result<void> check_numbers(const SampleTensor& tensor) {
  if (tensor.dtype == DType::b8 && !all_bools(tensor.bytes.data(), tensor.bytes.size()))
    return error(Code::invalid_argument, "\"{}\" has bools that are neither 0 nor 1", tensor.name);
  if (!is_floating(tensor.dtype)) return {};
  size_t each = dtype_bytes(tensor.dtype), count = tensor.bytes.size() / each;
  double block[kBlockCount];
  for (size_t i = 0; i < count; i += kBlockCount) {
    int n = int(std::min<size_t>(kBlockCount, count - i));
    load_elements<double>(block, tensor.bytes.data() + i * each, 1, n, tensor.dtype);
    for (int k = 0; k < n; k++)
      if (!std::isfinite(block[k]))
        return error(Code::invalid_argument,
                     "\"{}\" has {} at element {}; finite numbers are wanted", tensor.name,
                     block[k], i + size_t(k));
  }
  return {};
}

}  // namespace

Result<std::vector<Sample>> split_samples(const Program& program, const Graph& graph,
                                          const std::string& path,
                                          const std::vector<SampleTensor>& tensors) {
  std::vector<Sample> samples;
  auto problem = [&](Error e) { return std::move(e).with_context(path); };
  int64_t count = -1;
  std::string first_name;
  size_t index = 0;
  for (ValueId id : graph.inputs) {
    if (!graph.type(id).is_tensor()) continue;
    const TensorType& type = graph.type(id).tensor;
    std::string name = fmt::format("input.{}", index++);
    const std::string& known = graph.values[size_t(id)].name;
    const SampleTensor* found = nullptr;
    for (const SampleTensor& t : tensors)
      if (t.name == name) found = &t;
    if (!found)
      return problem(error(Code::invalid_argument,
                           "tensor \"{}\" is missing (input \"{}\" of the model): {} is wanted",
                           name, known, sizes_text(program, type)));
    if (found->dtype != type.dtype)
      return problem(error(Code::invalid_argument, "\"{}\" is {}; {} is wanted", name,
                           dtype_name(found->dtype), sizes_text(program, type)));
    auto parts = split(program, type, found->sizes);
    if (!parts)
      return problem(error(Code::invalid_argument,
                           "\"{}\" has sizes [{}]; {} is wanted, or more of these along the first "
                           "dimension or one in front",
                           name, fmt::join(found->sizes, ", "), sizes_text(program, type)));
    if (parts->count == 0)
      return problem(error(Code::invalid_argument, "\"{}\" has sizes [{}]: it holds no sample",
                           name, fmt::join(found->sizes, ", ")));
    if (count >= 0 && parts->count != count)
      return problem(error(Code::invalid_argument,
                           "\"{}\" holds {} samples, \"{}\" holds {}; as many are wanted", name,
                           parts->count, first_name, count));
    if (count < 0) {
      count = parts->count;
      first_name = name;
      samples.resize(size_t(count));
    }
    Result<void> sound = check_numbers(*found);
    if (!sound.ok()) return problem(std::move(sound.error()));
    size_t each = found->bytes.size() / size_t(count);
    for (int64_t s = 0; s < count; s++)
      samples[size_t(s)].inputs.push_back(
          {name, found->dtype, parts->sizes, found->bytes.subspan(size_t(s) * each, each)});
  }
  for (const SampleTensor& t : tensors) {
    bool is_input = false;
    for (size_t i = 0; i < index; i++) is_input |= t.name == fmt::format("input.{}", i);
    if (!is_input)
      return problem(error(Code::invalid_argument,
                           "tensor \"{}\" is no input: the model takes input.0 to input.{}", t.name,
                           int64_t(index) - 1));
  }
  for (size_t s = 0; s < samples.size(); s++) {
    samples[s].name = samples.size() == 1 ? path : fmt::format("{}, sample {}", path, s);
    samples[s].starts = s == 0;
  }
  return samples;
}

Result<Statistics> calibrate(const Program& program, const Graph& graph,
                             const std::vector<Layer>& layers, const std::vector<Sample>& samples,
                             const Watch& watch, const MakeRun& make_run, const Tell& tell) {
  Statistics statistics;
  std::map<ValueId, int> channel_dim;
  for (const Layer& layer : layers)
    if (layer.channel_dim >= 0) channel_dim.emplace(layer.x, layer.channel_dim);
  std::vector<ValueId> values = watch.values;
  for (ValueId id : watch.products)
    if (std::find(values.begin(), values.end(), id) == values.end()) values.push_back(id);
  for (ValueId id : watch.values) statistics.values[id];
  for (ValueId id : watch.products) statistics.products[id];
  TRY(RunSample run, make_run(program, values));
  int passes = watch.histograms ? 2 : 1;
  for (int pass = 0; pass < passes; pass++) {
    if (pass == 1)
      for (auto& [id, observed] : statistics.values)
        observed.histogram.start(std::min(observed.min, 0.0), std::max(observed.max, 0.0));
    for (size_t s = 0; s < samples.size(); s++) {
      tell("calibrate", (double(pass) + double(s) / double(samples.size())) / passes);
      auto seen = run(samples[s]);
      if (!seen.ok()) return std::move(seen.error()).with_context(samples[s].name);
      for (size_t i = 0; i < values.size(); i++) {
        const Numbers& numbers = (*seen)[i];
        if (auto at = statistics.values.find(values[i]); at != statistics.values.end()) {
          Observed& observed = at->second;
          if (pass == 1) {
            observed.histogram.add(numbers.data);
          } else {
            if (!observed.add(numbers.data)) {
              const ValueInfo& value = graph.values[size_t(values[i])];
              std::string where;
              if (graph.is_node(values[i])) {
                const Node& node = graph.producer(values[i]);
                where = fmt::format(" ({}{})", node.op,
                                    node.source.empty() ? "" : " at " + node.source);
              }
              return error(Code::invalid_argument,
                           "{}: %{}{} has {} at element {}; finite numbers are wanted",
                           samples[s].name, value.name, where, observed.bad_number,
                           observed.bad_index);
            }
            auto dim = channel_dim.find(values[i]);
            if (dim != channel_dim.end() && size_t(dim->second) < numbers.sizes.size()) {
              size_t inner = 1;
              for (size_t d = size_t(dim->second) + 1; d < numbers.sizes.size(); d++)
                inner *= size_t(numbers.sizes[d]);
              observed.add_channels(numbers.data, size_t(numbers.sizes[size_t(dim->second)]),
                                    inner);
            }
          }
        }
        if (auto at = statistics.products.find(values[i]);
            pass == 0 && at != statistics.products.end() && !numbers.sizes.empty()) {
          at->second.columns = numbers.sizes.back();
          at->second.add(numbers.data);
        }
      }
    }
  }
  return statistics;
}

}  // namespace sconce
