// The story of quantising a model, in order: samples run through the float graph, what its values
// were decides ranges, weights are rounded so that errors cancel, and the result is compared.
#include "sconce/quantize.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/file.h"
#include "compile_normalized.h"
#include "emit/pt2/emit_pt2.h"
#include "import/import.h"
#include "passes/passes.h"
#include "passes/pipeline.h"
#include "quantize/caches.h"
#include "quantize/calibrate.h"
#include "quantize/measure.h"
#include "quantize/migrate.h"
#include "quantize/place.h"
#include "quantize/widen.h"
#include "run_samples.h"

namespace sconce {
namespace {

// A program as tile programs, its outputs followed by the values that were wanted.
Result<RunSample> run_program(const Program& program, const std::vector<ValueId>& wanted,
                              int threads) {
  std::unique_ptr<Program> changed = copy(program);
  Graph& graph = changed->methods[0].graph;
  SampleCall call;
  call.method = changed->methods[0].name;
  call.threads = threads;
  for (ValueId id : graph.inputs) call.is_tensor.push_back(graph.type(id).is_tensor());
  for (ValueId id : wanted) {
    const ValueInfo& info = graph.values[size_t(id)];
    if (info.origin == Origin::input) {
      // Inputs are counted as samples have them: tensors alone.
      auto before = call.is_tensor.begin() + info.index;
      call.wanted.push_back({true, size_t(std::count(call.is_tensor.begin(), before, true))});
      continue;
    }
    auto at = std::find(graph.outputs.begin(), graph.outputs.end(), id);
    call.wanted.push_back({false, size_t(at - graph.outputs.begin())});
    if (at == graph.outputs.end()) graph.outputs.push_back(id);
  }
  CompileOptions options;
  options.target = "cpu";
  options.source_lines = false;
  TRY(std::vector<uint8_t> file, compile_normalized(std::move(changed), options));
  return run_samples(std::move(file), std::move(call));
}

// --- from float to integers ----------------------------------------------------------------------

Result<void> check_options(const QuantizeOptions& options) {
  if (!(options.percentile > 50 && options.percentile <= 100))
    return error(Code::invalid_argument, "percentile {}: more than 50 and up to 100 is wanted",
                 options.percentile);
  if (!(options.smooth >= 0 && options.smooth <= 1))
    return error(Code::invalid_argument, "smooth {}: 0 to 1 is wanted", options.smooth);
  if (!(options.max_error >= 0) || !std::isfinite(options.max_error))
    return error(Code::invalid_argument, "max error {}: a number above 0 is wanted",
                 options.max_error);
  if (options.kv_cache != "float" && options.kv_cache != "int8")
    return error(Code::invalid_argument, "kv cache \"{}\": float or int8 is wanted",
                 options.kv_cache);
  if (options.threads < 0 || options.threads > 256)
    return error(Code::invalid_argument, "{} threads: 0 to 256 are wanted", options.threads);
  return {};
}

class Quantizer {
 public:
  // for_torch: the result is a .pt2 instead of a program.
  Quantizer(const QuantizeOptions& options, bool for_torch, QuantizeReport& report)
      : options_(options), for_torch_(for_torch), report_(report) {}

  Result<std::vector<uint8_t>> run(const CompileInput& input,
                                   const std::vector<CalibrationFile>& files) {
    TRY_VOID(check_options(options_));
    threads_.emplace(options_.threads);
    TRY(scheme_, find_scheme(options_.scheme));
    TRY(observer_, find_observer(options_.observer));
    TRY(target_, known_target(options_.target));
    TRY_VOID(load(input));
    TRY_VOID(read_samples(files));
    TRY_VOID(find());
    if (options_.equalize) {
      tell("equalize", 0);
      int pairs = equalize_layers(*program_, graph(), layers_);
      note("{} pairs of convolutions were evened out", pairs);
      TRY_VOID(find());
    }
    TRY_VOID(smooth());
    TRY_VOID(observe());
    TRY_VOID(round());
    TRY_VOID(mix());
    tell("compile", 0.97);
    TRY(std::vector<uint8_t> file, compiled());
    TRY_VOID(measure());
    TRY_VOID(fill_report(file.size()));
    return file;
  }

 private:
  Graph& graph() { return program_->methods[0].graph; }
  void tell(const char* stage, double done) {
    if (options_.progress) options_.progress(stage, done);
  }
  template <class... Arguments>
  void note(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    report_.notes.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
  }
  MakeRun make_run() const {
    return
        [threads = options_.threads](const Program& program, const std::vector<ValueId>& wanted) {
          return run_program(program, wanted, threads);
        };
  }
  bool has_fixed() const {
    return std::any_of(layers_.begin(), layers_.end(), [](const Layer& l) {
      return l.why_float.empty() && l.scheme.activations == Activations::fixed;
    });
  }

  Result<void> load(const CompileInput& input) {
    tell("import", 0);
    TRY(program_, import_pt2(input.path, input.method.empty() ? "forward" : input.method));
    TRY(std::string widened, widen_floats(*program_));
    if (!widened.empty())
      note("the model is of {}: it is quantised, and what stays float computed, as one of f32",
           widened);
    PipelineOptions pipeline_options;
    pipeline_options.stop_after = kNormalized;
    const PassContext context{target_->has_node, target_->quantized};
    TRY_VOID(run_pipeline(*program_, context, pipeline_options));
    TRY_VOID(remove_dead_code(*program_, graph(), context));
    graph().compact();
    return verify(*program_);
  }

  Result<void> read_samples(const std::vector<CalibrationFile>& files) {
    for (const CalibrationFile& file : files) {
      std::vector<SampleTensor> tensors;
      for (const CalibrationTensor& t : file.tensors) {
        uint64_t bytes = dtype_bytes(t.dtype);
        for (int64_t size : t.sizes)
          if (size < 0 || size > INT32_MAX || !checked_multiply(bytes, uint64_t(size), &bytes))
            return error(Code::too_large, "{}: \"{}\" has sizes [{}]", file.path, t.name,
                         fmt::join(t.sizes, ", "));
        if (bytes != t.bytes.size())
          return error(Code::invalid_argument, "{}: \"{}\" has {} bytes, {} are wanted", file.path,
                       t.name, t.bytes.size(), bytes);
        tensors.push_back({t.name, t.dtype, t.sizes, t.bytes});
      }
      TRY(auto samples, split_samples(*program_, graph(), file.path, tensors));
      samples_.insert(samples_.end(), std::make_move_iterator(samples.begin()),
                      std::make_move_iterator(samples.end()));
    }
    report_.samples = samples_.size();
    return {};
  }

  Result<void> find() {
    TRY(layers_, find_layers(*program_, graph(), scheme_, options_.keep));
    free_lone_linears(*program_, graph(), layers_);
    if (scheme_.bits == kFloatBits) {
      for (Layer& layer : layers_) layer.why_float = "the scheme is float";
      if (options_.kv_cache != "float") return {};
      return error(Code::invalid_argument, "scheme {} leaves all as it is, unless caches are int8",
                   options_.scheme);
    }
    bool any = std::any_of(layers_.begin(), layers_.end(),
                           [](const Layer& l) { return l.why_float.empty(); });
    if (!any) {
      if (layers_.empty())
        return error(Code::unsupported,
                     "the model has no linear, convolution or embedding with constant weights");
      return error(Code::unsupported, "no layer can be quantised; \"{}\": {}", layers_[0].name,
                   layers_[0].why_float);
    }
    if (has_fixed() && samples_.empty())
      return error(Code::invalid_argument,
                   "scheme {} takes ranges from samples: none are given (a scheme with \"dynamic\" "
                   "or \"w\" wants none)",
                   options_.scheme);
    return {};
  }

  Result<void> smooth() {
    if (options_.smooth == 0 || samples_.empty() || !can_smooth(*program_, graph(), layers_))
      return {};
    Watch watch;
    for (const Layer& layer : layers_)
      if (layer.kind == Layer::Kind::linear && layer.why_float.empty())
        add_once(watch.values, layer.x);
    TRY(Statistics statistics,
        calibrate(*program_, graph(), layers_, samples_, watch, make_run(),
                  [&](const char*, double done) { tell("smooth", 0.05 + 0.1 * done); }));
    int norms = smooth_layers(
        *program_, graph(), layers_, options_.smooth,
        [&](const Layer& layer) -> const std::vector<double>* {
          auto found = statistics.values.find(layer.x);
          return found == statistics.values.end() ? nullptr : &found->second.channel_max;
        });
    if (norms) note("{} norms took over scales of the linears after them", norms);
    return find();
  }

  static void add_once(std::vector<ValueId>& list, ValueId id) {
    if (std::find(list.begin(), list.end(), id) == list.end()) list.push_back(id);
  }
  bool wants_products(const Layer& layer) const {
    return options_.gptq && layer.why_float.empty() && layer.kind == Layer::Kind::linear &&
           (layer.scheme.bits == 4 || options_.max_size > 0) &&
           layer.columns <= InputProducts::kColumnsMax;
  }

  Result<void> observe() {
    region_ = find_integer_region(*program_, graph(), layers_);
    if (samples_.empty()) return {};
    Watch watch;
    for (size_t v = 0; v < region_.value.size(); v++)
      if (region_.value[v]) watch.values.push_back(ValueId(v));
    uint64_t product_bytes = 0;
    for (const Layer& layer : layers_) {
      if (!layer.why_float.empty() || layer.kind == Layer::Kind::embedding) continue;
      add_once(watch.values, layer.x);
      if (!wants_products(layer)) continue;
      size_t before = watch.products.size();
      add_once(watch.products, layer.x);
      if (watch.products.size() > before)
        product_bytes += uint64_t(layer.columns) * uint64_t(layer.columns) * 8;
    }
    constexpr uint64_t kProductBytesMax = uint64_t(4) << 30;
    if (product_bytes > kProductBytesMax) {
      note("4-bit weights are rounded to the nearest: their inputs are too wide to choose better");
      watch.products.clear();
    }
    std::erase_if(watch.values,
                  [&](ValueId id) { return graph().type(id).tensor.dtype != DType::f32; });
    watch.histograms = wants_histogram(observer_) && has_fixed();
    TRY(statistics_,
        calibrate(*program_, graph(), layers_, samples_, watch, make_run(),
                  [&](const char* stage, double done) { tell(stage, 0.15 + 0.25 * done); }));
    for (size_t v = 0; v < region_.value.size(); v++) {
      if (!region_.value[v]) continue;
      const Observed& observed = statistics_.values.at(ValueId(v));
      if (observed.min == 0 && observed.max == 0)
        note("%{} is 0 in all samples: is this what the model is for?", graph().values[v].name);
      ranges_[ValueId(v)] = choose_range(observed, observer_, options_.percentile);
    }
    return {};
  }

  Result<LayerIntegers> rounded(const Layer& layer) {
    LayerIntegers made;
    std::vector<float> weight = weight_rows(*program_, graph(), layer);
    for (size_t i = 0; i < weight.size(); i++)
      if (!std::isfinite(weight[i]))
        return error(Code::invalid_argument,
                     "weight of layer \"{}\" has {} at element {}; finite numbers are wanted",
                     layer.name, weight[i], i);
    const InputProducts* products = nullptr;
    if (auto found = statistics_.products.find(layer.x);
        wants_products(layer) && layer.scheme.bits == 4 && found != statistics_.products.end())
      products = &found->second;
    int64_t group =
        layer.scheme.bits == 4 && layer.kind != Layer::Kind::convolution ? layer.scheme.group : 0;
    if (products && shares_of_ != layer.x) {  // layers that read the same value follow each other
      shares_ = column_shares(*products);
      shares_of_ = layer.x;
    }
    if (products && shares_) {
      made.weight = round_rows_for_inputs(weight, layer.outputs, layer.columns, layer.scheme.bits,
                                          group, *shares_, *threads_);
    } else {
      if (products)
        note("\"{}\" is rounded to the nearest: its inputs tell too little", layer.name);
      made.weight = round_rows(weight, layer.outputs, layer.columns, layer.scheme.bits, group);
    }
    correct_bias(layer, weight, &made);
    return made;
  }

  // What rounding adds to the mean of an output, on the samples, is taken off its bias.
  void correct_bias(const Layer& layer, const std::vector<float>& weight, LayerIntegers* made) {
    if (!options_.bias_correction || layer.kind == Layer::Kind::embedding) return;
    auto found = statistics_.values.find(layer.x);
    if (found == statistics_.values.end()) return;
    const std::vector<double>& mean = found->second.channel_mean;
    int64_t inputs = layer.columns / layer.window;  // channels of one group
    if (int64_t(mean.size()) != inputs * layer.groups) return;
    std::vector<float> bias(size_t(layer.outputs), 0);
    if (layer.bias != kNoValue) bias = floats_of(*program_, graph(), layer.bias);
    if (int64_t(bias.size()) != layer.outputs) return;
    for (int64_t o = 0; o < layer.outputs; o++) {
      double shift = 0;
      int64_t first = o / (layer.outputs / layer.groups) * inputs;
      for (int64_t c = 0; c < layer.columns; c++)
        shift +=
            (double(weight[size_t(o * layer.columns + c)]) - double(made->weight.number(o, c))) *
            mean[size_t(first + c / layer.window)];
      bias[size_t(o)] = float(bias[size_t(o)] + shift);
    }
    made->bias = std::move(bias);
  }

  Result<void> round() {
    integers_.resize(layers_.size());
    for (size_t i = 0; i < layers_.size(); i++) {
      tell("round weights", 0.4 + 0.2 * double(i) / double(layers_.size()));
      if (!layers_[i].why_float.empty()) continue;
      TRY(integers_[i], rounded(layers_[i]));
    }
    return {};
  }

  // --- the result
  // ---------------------------------------------------------------------------------

  Result<std::unique_ptr<Program>> placed(const std::vector<Layer>& layers) {
    std::unique_ptr<Program> made = copy(*program_);
    IntegerRegion region = find_integer_region(*program_, graph(), layers);
    TRY_VOID(place_integers(*made, made->methods[0].graph, layers, integers_, region, ranges_));
    if (options_.kv_cache == "int8") {
      TRY(report_.caches, quantize_caches(*made, made->methods[0].graph));
    }
    TRY_VOID(verify(*made));
    return made;
  }

  Result<std::vector<uint8_t>> compiled() {
    TRY(std::unique_ptr<Program> made, placed(layers_));
    if (for_torch_) return emit_pt2(*made);
    return compile_normalized(std::move(made), compile_options());
  }

  CompileOptions compile_options() const {
    CompileOptions options;
    options.target = options_.target;
    options.source_lines = options_.source_lines;
    return options;
  }

  std::vector<ValueId> float_outputs() {
    std::vector<ValueId> outputs;
    for (ValueId id : graph().outputs)
      if (graph().type(id).is_tensor() && graph().type(id).tensor.dtype == DType::f32 &&
          graph().is_node(id))
        add_once(outputs, id);
    return outputs;
  }

  // Runs two programs side by side; the differences of `wanted`. Their values are named by what
  // they are in each.
  Result<std::vector<Difference>> compare(const Program& other, const std::vector<ValueId>& wanted,
                                          const std::vector<ValueId>& found, size_t samples_max,
                                          const char* stage, double from, double to) {
    TRY(RunSample run, make_run()(*program_, wanted));
    TRY(RunSample run_other, make_run()(other, found));
    std::vector<Difference> differences(wanted.size());
    size_t count = std::min(samples_max, samples_.size());
    for (size_t s = 0; s < count; s++) {
      if (stage) tell(stage, from + (to - from) * double(s) / double(count));
      TRY(Span<const Numbers> a, run(samples_[s]));
      TRY(Span<const Numbers> b, run_other(samples_[s]));
      for (size_t i = 0; i < wanted.size(); i++) differences[i].add(a[i].data, b[i].data);
    }
    return differences;
  }

  // Outputs of a placed program, where its values may have been put behind a dequantize.
  static std::vector<ValueId> same_outputs(const Graph& before, const Graph& after,
                                           const std::vector<ValueId>& wanted) {
    std::vector<ValueId> found;
    for (ValueId id : wanted)
      for (size_t o = 0; o < before.outputs.size(); o++)
        if (before.outputs[o] == id) {
          found.push_back(after.outputs[o]);
          break;
        }
    return found;
  }

  static constexpr size_t kMeasured = 32, kSwept = 8;  // samples

  Result<double> worst_error(const std::vector<Layer>& layers) {
    TRY(std::unique_ptr<Program> made, placed(layers));
    std::vector<ValueId> wanted = float_outputs();
    TRY(auto differences,
        compare(*made, wanted, same_outputs(graph(), made->methods[0].graph, wanted), kSwept,
                nullptr, 0, 0));
    double worst = 0;
    for (const Difference& d : differences)
      worst = std::max(worst, d.finite ? d.error() : INFINITY);
    return worst;
  }

  // Layers by how much the outputs change when they alone are quantised as `as` says, most first.
  Result<std::vector<size_t>> by_harm() {
    std::vector<std::pair<double, size_t>> harm;
    size_t done = 0;
    for (size_t i = 0; i < layers_.size(); i++) {
      if (!layers_[i].why_float.empty()) continue;
      tell("sweep", 0.6 + 0.25 * double(done++) / double(layers_.size()));
      std::vector<Layer> alone = layers_;
      for (size_t j = 0; j < alone.size(); j++)
        if (j != i && alone[j].why_float.empty()) alone[j].why_float = "not now";
      TRY(double worst, worst_error(alone));
      harm.push_back({-worst, i});
    }
    std::sort(harm.begin(), harm.end());
    std::vector<size_t> order;
    for (const auto& [worst, i] : harm) order.push_back(i);
    return order;
  }

  // Mixed precision: the fewest layers, most harmful first, that stay float so that the error is
  // small enough; the fewest, least harmful first, that get 4 bits so that the file is.
  Result<void> mix() {
    if (options_.max_error == 0 && options_.max_size == 0) return {};
    if (options_.max_error > 0 && samples_.empty())
      return error(Code::invalid_argument,
                   "a largest error is measured on samples: none are given");
    if (options_.max_error > 0 && float_outputs().empty())
      return error(Code::unsupported, "the model has no outputs of f32 to measure errors of");
    if (options_.max_size > 0) TRY_VOID(shrink());
    if (options_.max_error == 0) return {};
    TRY(double now, worst_error(layers_));
    if (now <= options_.max_error) return {};
    TRY(std::vector<size_t> order, by_harm());
    auto with_float = [&](size_t count) {
      std::vector<Layer> layers = layers_;
      for (size_t k = 0; k < count; k++)
        layers[order[k]].why_float = fmt::format("the error would exceed {}", options_.max_error);
      return layers;
    };
    // The error falls as more layers are float, but for chance: what is chosen is measured.
    size_t low = 0, high = order.size() - 1;  // at least one layer is quantised
    TRY(double least, worst_error(with_float(high)));
    if (least > options_.max_error)
      return error(Code::unsupported,
                   "the error is {:.2g} with \"{}\" quantised alone; at most {} is wanted", least,
                   layers_[order.back()].name, options_.max_error);
    while (low + 1 < high) {
      size_t middle = (low + high) / 2;
      TRY(double error, worst_error(with_float(middle)));
      (error <= options_.max_error ? high : low) = middle;
    }
    layers_ = with_float(high);
    if (options_.max_size > 0) {
      TRY(std::vector<uint8_t> file, compiled());
      if (file.size() > options_.max_size)
        return error(Code::unsupported,
                     "the file has {} bytes when the error is at most {}; at most {} are wanted",
                     file.size(), options_.max_error, options_.max_size);
    }
    return {};
  }

  Result<void> shrink() {
    TRY(std::vector<uint8_t> file, compiled());
    if (file.size() <= options_.max_size) return {};
    // What 4 bits do to each layer's weights: the noise they add, as a share of what it computes
    // with.
    std::vector<std::pair<double, size_t>> harm;
    std::vector<Layer> small = layers_;
    std::vector<LayerIntegers> small_integers = integers_;
    for (size_t i = 0; i < layers_.size(); i++) {
      Layer& layer = small[i];
      if (!layer.why_float.empty() || layer.scheme.bits == 4 ||
          layer.kind == Layer::Kind::convolution || layer.columns % 32 != 0)
        continue;
      layer.scheme.bits = 4;
      layer.scheme.group = 32;
      // Groups are for rows that are quantised by their own range.
      if (layer.scheme.activations == Activations::fixed)
        layer.scheme.activations = Activations::dynamic;
      std::vector<float> weight = weight_rows(*program_, graph(), layer);
      TRY(small_integers[i], rounded(layer));
      Difference difference;
      for (int64_t r = 0; r < layer.outputs; r++) {
        std::vector<float> row;
        for (int64_t c = 0; c < layer.columns; c++)
          row.push_back(small_integers[i].weight.number(r, c));
        difference.add({&weight[size_t(r * layer.columns)], size_t(layer.columns)}, row);
      }
      // Noise for each byte that is saved.
      harm.push_back({difference.error() / std::sqrt(double(weight.size())), i});
    }
    std::sort(harm.begin(), harm.end());
    std::vector<Layer> layers = layers_;
    std::vector<LayerIntegers> integers = integers_;
    auto with_small = [&](size_t count) -> Result<size_t> {
      layers_ = layers;
      integers_ = integers;
      for (size_t k = 0; k < count; k++) {
        layers_[harm[k].second] = small[harm[k].second];
        integers_[harm[k].second] = small_integers[harm[k].second];
      }
      TRY(std::vector<uint8_t> bytes, compiled());
      return bytes.size();
    };
    size_t low = 0, high = harm.size();
    TRY(size_t least, with_small(high));
    if (least > options_.max_size)
      return error(
          Code::unsupported,
          "the smallest file has {} bytes (all that can has 4 bits); at most {} are wanted", least,
          options_.max_size);
    while (low + 1 < high) {
      size_t middle = (low + high) / 2;
      TRY(size_t bytes, with_small(middle));
      (bytes <= options_.max_size ? high : low) = middle;
    }
    TRY(size_t bytes, with_small(high));
    note("{} layers have 4 bits so that the file has {} bytes", high, bytes);
    return {};
  }

  // --- measuring and the report
  // -------------------------------------------------------------------

  Result<void> measure() {
    if (samples_.empty()) {
      note("nothing was measured: there are no samples");
      return {};
    }
    sqnr_.assign(layers_.size(), {0, 0});
    std::vector<ValueId> wanted = float_outputs(), layer_values;
    std::vector<size_t> layer_indices;
    for (size_t i = 0; i < layers_.size() && options_.sensitivity; i++) {
      if (graph().type(layers_[i].y).tensor.dtype != DType::f32) continue;
      layer_indices.push_back(i);
      layer_values.push_back(layers_[i].y);
    }
    {
      TRY(std::unique_ptr<Program> made, placed(layers_));
      std::vector<ValueId> found = same_outputs(graph(), made->methods[0].graph, wanted);
      std::vector<ValueId> all = wanted;
      all.insert(all.end(), layer_values.begin(), layer_values.end());
      found.insert(found.end(), layer_values.begin(), layer_values.end());
      TRY(auto differences, compare(*made, all, found, kMeasured, "measure", 0.85, 0.92));
      for (size_t i = 0; i < differences.size(); i++) {
        const Difference& d = differences[i];
        if (i < wanted.size()) {
          if (!d.finite)
            return error(Code::unsupported,
                         "output %{} is NaN or infinite when quantised, and finite in the float "
                         "model",
                         graph().values[size_t(wanted[i])].name);
          report_.outputs.push_back({d.sqnr_db(), d.error(), d.cosine()});
          if (d.sqnr_db() < 10)
            note(
                "output %{} has little in common with the float model's ({:.1f} dB): keep layers "
                "float, or try another scheme",
                graph().values[size_t(wanted[i])].name, d.sqnr_db());
        } else {
          sqnr_[layer_indices[i - wanted.size()]].second = d.sqnr_db();
        }
      }
    }
    if (!options_.sensitivity) return {};
    std::unique_ptr<Program> made = copy(*program_);
    IntegerRegion region = find_integer_region(*program_, graph(), layers_);
    TRY(std::vector<ValueId> shadows,
        place_shadows(*made, made->methods[0].graph, layers_, integers_, ranges_, region));
    std::vector<ValueId> mine, theirs;
    std::vector<size_t> which;
    for (size_t i = 0; i < shadows.size(); i++)
      if (shadows[i] != kNoValue) {
        which.push_back(i);
        mine.push_back(layers_[i].y);
        theirs.push_back(shadows[i]);
      }
    TRY(auto differences, compare(*made, mine, theirs, kMeasured, "measure", 0.92, 0.97));
    for (size_t i = 0; i < which.size(); i++) sqnr_[which[i]].first = differences[i].sqnr_db();
    return {};
  }

  Result<void> fill_report(uint64_t file_bytes) {
    report_.scheme = options_.scheme;
    report_.target = options_.target;
    report_.observer = has_fixed() ? options_.observer : "";
    TRY(std::vector<uint8_t> before, compile_normalized(copy(*program_), compile_options()));
    report_.file_bytes_before = before.size();
    report_.file_bytes_after = file_bytes;
    bool numbers = std::any_of(layers_.begin(), layers_.end(), [](const Layer& l) {
      return l.why_float.empty() && l.kind == Layer::Kind::convolution &&
             l.scheme.activations != Activations::fixed;
    });
    if (numbers && target_->quantized == QuantizedGraphs::integers_then_numbers)
      note(
          "files for {} have weights of convolutions as f32 where ranges are not fixed; scheme "
          "int8-fixed fixes all",
          options_.target);
    for (size_t i = 0; i < layers_.size(); i++) {
      const Layer& layer = layers_[i];
      QuantizeReport::Layer row;
      row.name = layer.name;
      row.op = layer.op;
      row.why_float = layer.why_float;
      uint64_t elements = 1;
      for (const SymInt& size : graph().type(layer.weight).tensor.sizes)
        elements *= uint64_t(size.value);
      row.weight_bytes_before = row.weight_bytes_after =
          elements * dtype_bytes(graph().type(layer.weight).tensor.dtype);
      row.activations = "float";
      if (layer.why_float.empty()) {
        const RoundedRows& rows = integers_[i].weight;
        row.bits = rows.bits;
        row.group = rows.group;
        row.weight_bytes_after = (elements * uint64_t(rows.bits) + 7) / 8 + rows.scales.size() * 4;
        if (layer.scheme.activations == Activations::fixed) row.activations = "int8";
        if (layer.scheme.activations == Activations::dynamic) row.activations = "dynamic int8";
      }
      if (i < sqnr_.size()) {
        row.sqnr_alone_db = sqnr_[i].first;
        row.sqnr_db = sqnr_[i].second;
      }
      report_.weight_bytes_before += row.weight_bytes_before;
      report_.weight_bytes_after += row.weight_bytes_after;
      report_.layers.push_back(std::move(row));
    }
    return {};
  }

  const QuantizeOptions& options_;
  const bool for_torch_;
  QuantizeReport& report_;
  Scheme scheme_;
  Observer observer_ = Observer::mse;
  const Target* target_ = nullptr;
  std::unique_ptr<Program> program_;  // float, in its normal form
  std::vector<Sample> samples_;
  std::vector<Layer> layers_;
  IntegerRegion region_;
  Statistics statistics_;
  std::optional<ThreadPool> threads_;
  ValueId shares_of_ = kNoValue;
  std::optional<ColumnShares> shares_;  // of the inputs in shares_of_
  std::map<ValueId, Range> ranges_;
  std::vector<LayerIntegers> integers_;
  std::vector<std::pair<double, double>> sqnr_;  // alone, and among the others
};

}  // namespace

std::vector<QuantizationScheme> quantization_schemes() {
  std::vector<QuantizationScheme> schemes;
  for (const NamedScheme& s : all_schemes()) schemes.push_back({s.name, s.about});
  return schemes;
}

bool quantize_file(const CompileInput& input, const std::vector<CalibrationFile>& samples,
                   const std::string& output, const QuantizeOptions& options,
                   QuantizeReport* report, CompileError* error) {
  auto start = std::chrono::steady_clock::now();
  QuantizeReport unused, &told = report ? *report : unused;
  told = {};
  auto fail = [&](const Error& problem) {
    if (error) *error = {int(problem.code), problem.text};
    return false;
  };
  auto file = Quantizer(options, output.ends_with(".pt2"), told).run(input, samples);
  if (!file.ok()) return fail(file.error());
  if (Result<void> saved = save_file(output, Bytes(*file)); !saved.ok()) return fail(saved.error());
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  told.seconds = time.count();
  if (options.progress) options.progress("done", 1);
  return true;
}

}  // namespace sconce
