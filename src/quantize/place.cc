#include "quantize/place.h"

#include <cstring>

#include "ops/build.h"

namespace sconce {
namespace {

constexpr int64_t kI8 = int64_t(DType::i8);

class Placer {
 public:
  Placer(Program& program, Graph& graph, const std::vector<Layer>& layers,
         const std::vector<LayerIntegers>& integers, const IntegerRegion& region,
         const std::map<ValueId, Range>& ranges)
      : program_(program),
        graph_(graph),
        layers_(layers),
        integers_(integers),
        region_(region),
        ranges_(ranges),
        build_(program, graph) {
    layer_of_.assign(graph.nodes.size(), -1);
    for (size_t i = 0; i < layers.size(); i++)
      if (layers[i].why_float.empty()) layer_of_[size_t(layers[i].node)] = int(i);
    fixed_.assign(graph.values.size(), kNoValue);
    dynamic_.assign(graph.values.size(), kNoValue);
  }

  Result<void> in_place() {
    std::vector<NodeId> order = std::move(graph_.order);
    graph_.order.clear();
    for (size_t v = 0; v < fixed_.size(); v++)
      if (graph_.values[v].origin != Origin::node) quantize(ValueId(v));
    for (NodeId id : order) {
      Node node = graph_.nodes[size_t(id)];
      build_.source = node.source;
      bool on_integers = region_.node[size_t(id)] != 0;
      int layer = layer_of_[size_t(id)];
      if (layer >= 0) change(layers_[size_t(layer)], integers_[size_t(layer)], node);
      Graph::for_each_use(node, [&](ValueId& used) {
        if (size_t(used) < fixed_.size() && fixed_[size_t(used)] != kNoValue &&
            (on_integers || region_.made[size_t(used)]))
          used = fixed_[size_t(used)];
      });
      graph_.nodes[size_t(id)] = std::move(node);
      graph_.order.push_back(id);
      std::vector<ValueId> results = graph_.nodes[size_t(id)].results;
      for (ValueId result : results) quantize(result);
    }
    auto last = [&](ValueId& id) {
      if (fixed_[size_t(id)] != kNoValue && region_.made[size_t(id)]) id = fixed_[size_t(id)];
    };
    for (ValueId& id : graph_.outputs) last(id);
    for (WriteBack& write : graph_.write_backs) last(write.value);
    return build_.status();
  }

  Result<std::vector<ValueId>> beside() {
    std::vector<ValueId> shadows(layers_.size(), kNoValue);
    for (size_t i = 0; i < layers_.size(); i++) {
      const Layer& layer = layers_[i];
      if (!layer.why_float.empty()) continue;
      Node node = graph_.nodes[size_t(layer.node)];
      change(layer, integers_[i], node);
      if (layer.x != kNoValue && region_.value[size_t(layer.x)] &&
          layer.scheme.activations == Activations::fixed) {
        quantize(layer.x);
        node.arguments[0] = ValueRef{fixed_[size_t(layer.x)]};
      }
      shadows[i] = build_.call1(node.op, node.arguments);
    }
    TRY_VOID(build_.status());
    return shadows;
  }

 private:
  // The numbers of a value as its range has them, when it is to be quantised.
  void quantize(ValueId id) {
    if (size_t(id) >= fixed_.size() || !region_.value[size_t(id)] || fixed_[size_t(id)] != kNoValue)
      return;
    auto found = ranges_.find(region_.range[size_t(id)]);
    CHECK(found != ranges_.end());
    const Range& range = found->second;
    ValueId q =
        build_.call1("quantized_decomposed::quantize_per_tensor",
                     {Build::v(id), range.scale, range.zero, int64_t(-128), int64_t(127), kI8});
    fixed_[size_t(id)] = build_.call1(
        "quantized_decomposed::dequantize_per_tensor",
        {Build::v(q), range.scale, range.zero, int64_t(-128), int64_t(127), kI8, None{}});
  }

  // The same by each row's own range.
  ValueId quantize_rows(ValueId id) {
    ValueId& done = dynamic_[size_t(id)];
    if (done != kNoValue) return done;
    auto how = build_.call("quantized_decomposed::choose_qparams_per_token_asymmetric",
                           {Build::v(id), kI8});
    if (how.size() != 2) return id;
    ValueId q = build_.call1(
        "quantized_decomposed::quantize_per_token",
        {Build::v(id), Build::v(how[0]), Build::v(how[1]), int64_t(-128), int64_t(127), kI8});
    return done = build_.call1("quantized_decomposed::dequantize_per_token",
                               {Build::v(q), Build::v(how[0]), Build::v(how[1]), int64_t(-128),
                                int64_t(127), kI8, int64_t(DType::f32)});
  }

  template <class T>
  ValueId constant(DType dtype, const std::vector<SymInt>& sizes, const std::vector<T>& data,
                   const std::string& name) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(data.size() * sizeof(T));
    if (!data.empty()) memcpy(bytes->data(), data.data(), bytes->size());
    TensorType type;
    type.dtype = dtype;
    type.sizes = sizes;
    int32_t index = program_.add_constant(type, std::move(bytes), name);
    return graph_.add_value(Type::of(type), name, Origin::constant, index);
  }

  // The node computes with integer weights, and with rows of integers where the scheme says so.
  void change(const Layer& layer, const LayerIntegers& integers, Node& node) {
    const RoundedRows& rows = integers.weight;
    const std::string name =
        program_.constants[size_t(graph_.values[size_t(layer.weight)].index)].name;
    std::vector<SymInt> sizes = graph_.type(layer.weight).tensor.sizes;
    int64_t groups = rows.group ? rows.columns / rows.group : 1;
    std::vector<SymInt> scale_sizes{SymInt(rows.rows)};
    if (rows.group) scale_sizes.push_back(SymInt(groups));
    ValueId scales = constant(DType::f32, scale_sizes, rows.scales, name + ".scales");
    int64_t low = rows.bits == 4 ? -8 : -127, high = rows.bits == 4 ? 7 : 127;
    if (layer.kind == Layer::Kind::embedding) {
      Argument indices = node.arguments[1];
      ValueId table;
      if (rows.bits == 4) {
        std::vector<uint8_t> packed(rows.q.size() / 2);
        for (size_t i = 0; i < packed.size(); i++)
          packed[i] = uint8_t((rows.q[2 * i] + 8) << 4 | (rows.q[2 * i + 1] + 8));
        sizes[1] = SymInt(rows.columns / 2);
        table = constant(DType::u8, sizes, packed, name);
      } else {
        table = constant(DType::i8, sizes, rows.q, name);
      }
      node.op = rows.bits == 4 ? "quantized_decomposed::embedding_4bit"
                               : "quantized_decomposed::embedding_byte";
      node.arguments = {ValueRef{table}, ValueRef{scales}, None{}, low, high, indices};
      return;
    }
    ValueId q = constant(DType::i8, sizes, in_weight_order(layer, rows.q), name);
    ValueId weight = rows.group ? build_.call1("quantized_decomposed::dequantize_per_channel_group",
                                               {Build::v(q), Build::v(scales), None{}, low, high,
                                                kI8, rows.group, int64_t(DType::f32)})
                                : build_.call1("quantized_decomposed::dequantize_per_channel",
                                               {Build::v(q), Build::v(scales), None{}, layer.axis,
                                                low, high, kI8, None{}});
    node.arguments[1] = ValueRef{weight};
    if (!integers.bias.empty()) {
      std::string bias =
          layer.bias == kNoValue ? name + ".bias" : graph_.values[size_t(layer.bias)].name;
      node.arguments[2] =
          ValueRef{constant(DType::f32, {SymInt(layer.outputs)}, integers.bias, bias)};
    }
    if (layer.scheme.activations == Activations::dynamic)
      node.arguments[0] = ValueRef{quantize_rows(layer.x)};
  }

  Program& program_;
  Graph& graph_;
  const std::vector<Layer>& layers_;
  const std::vector<LayerIntegers>& integers_;
  const IntegerRegion& region_;
  const std::map<ValueId, Range>& ranges_;
  Build build_;
  std::vector<int> layer_of_;     // by NodeId
  std::vector<ValueId> fixed_;    // by ValueId: its numbers as integers have them
  std::vector<ValueId> dynamic_;  // the same, by rows
};

}  // namespace

Result<void> place_integers(Program& program, Graph& graph, const std::vector<Layer>& layers,
                            const std::vector<LayerIntegers>& integers, const IntegerRegion& region,
                            const std::map<ValueId, Range>& ranges) {
  return Placer(program, graph, layers, integers, region, ranges).in_place();
}

Result<std::vector<ValueId>> place_shadows(Program& program, Graph& graph,
                                           const std::vector<Layer>& layers,
                                           const std::vector<LayerIntegers>& integers,
                                           const std::map<ValueId, Range>& ranges,
                                           const IntegerRegion& region) {
  return Placer(program, graph, layers, integers, region, ranges).beside();
}

}  // namespace sconce
