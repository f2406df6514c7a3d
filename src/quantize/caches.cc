#include "quantize/caches.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "ops/build.h"
#include "ops/traits.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

constexpr int64_t kI8 = int64_t(DType::i8), kMost = 127;
constexpr float kLeastScale = 1e-5f;  // of rows of zeros, as torch's choose_qparams_per_token

const ValueId* operand(const Node& node, size_t i) {
  auto* ref = i < node.arguments.size() ? std::get_if<ValueRef>(&node.arguments[i]) : nullptr;
  return ref && ref->id != kNoValue ? &ref->id : nullptr;
}

// A node that gives its first operand with some rows changed: which argument they are. Nothing for
// others, and when rows are written in part.
std::optional<size_t> rows_argument(const Graph& graph, const Node& node) {
  const ValueId* whole = operand(node, 0);
  if (!whole || !graph.type(*whole).is_tensor()) return std::nullopt;
  auto rank = int64_t(graph.type(*whole).tensor.sizes.size());
  auto leaves_rows = [&](size_t dim_argument) {
    auto* dim = std::get_if<int64_t>(&node.arguments[dim_argument]);
    return dim && (*dim < 0 ? *dim + rank : *dim) < rank - 1;
  };
  if (node.op == "aten::index_copy")
    return leaves_rows(1) ? std::optional<size_t>(3) : std::nullopt;
  if (node.op == "aten::slice_scatter" || node.op == "aten::select_scatter")
    return leaves_rows(2) ? std::optional<size_t>(1) : std::nullopt;
  if (node.op == "sconce::updated_cache" || node.op == "sconce::updated_cache_at") return 1;
  if (node.op != "aten::index_put") return std::nullopt;
  auto* indices = std::get_if<std::vector<ValueRef>>(&node.arguments[1]);
  auto* accumulate = std::get_if<bool>(&node.arguments[3]);
  bool whole_rows = indices && (int64_t(indices->size()) < rank || indices->back().id == kNoValue);
  return whole_rows && accumulate && !*accumulate ? std::optional<size_t>(2) : std::nullopt;
}

bool is_attention(const std::string& op) {
  return op == "aten::scaled_dot_product_attention" || op == "llama::custom_sdpa";
}

// Moves elements, or repeats them.
bool only_moves(const Graph& graph, const Node& node) {
  const Op* op = find_op(node.op);
  const ValueId* x = operand(node, 0);
  if (!op || !x || !graph.type(*x).is_tensor()) return false;
  int rank = int(graph.type(*x).tensor.sizes.size());
  return keeps_element_order(*op) || !permutation_of(node.op, node.arguments, rank).empty() ||
         node.op == "aten::slice.Tensor" || node.op == "aten::select.int" ||
         node.op == "aten::expand" || node.op == "aten::repeat_interleave.self_int" ||
         node.op == "aten::_to_copy" || node.op == "aten::reshape" ||
         node.op == "aten::index_select";
}

class Finder {
 public:
  Finder(const Program& program, Graph& graph) : program_(program), graph_(graph), users_(graph) {}

  struct Found {
    ValueId before = kNoValue, after = kNoValue;
    int32_t buffer = -1;
    std::vector<NodeId> updates;
    std::string why_float;
  };

  // Buffers that attention reads after a call has written them.
  std::vector<Found> run() {
    std::vector<Found> caches;
    for (size_t v = 0; v < graph_.values.size(); v++) {
      const ValueInfo& info = graph_.values[v];
      if (info.origin != Origin::buffer) continue;
      for (const WriteBack& write : graph_.write_backs) {
        if (write.target != WriteBack::Target::buffer || write.index != info.index) continue;
        Found found{ValueId(v), write.value, info.index, {}, {}};
        bool by_attention = false;
        std::string other;
        find_readers(write.value, &by_attention, &other);
        if (!by_attention) continue;
        found.why_float = why_not(&found);
        if (found.why_float.empty() && !other.empty())
          found.why_float = fmt::format("{} reads it too", other);
        caches.push_back(std::move(found));
      }
    }
    return caches;
  }

 private:
  // Whether attention has `id` as keys or values; what else reads it.
  void find_readers(ValueId id, bool* by_attention, std::string* other) {
    int writes = 0;
    for (const WriteBack& write : graph_.write_backs) writes += write.value == id;
    bool is_result =
        std::find(graph_.outputs.begin(), graph_.outputs.end(), id) != graph_.outputs.end();
    if (is_result || writes > 1) *other = "the caller";
    for (NodeId user : users_.users(id)) {
      const Node& node = graph_.nodes[size_t(user)];
      bool as_rows = false;
      for (size_t i : {size_t(1), size_t(2)})
        if (const ValueId* used = operand(node, i)) as_rows |= *used == id;
      if (is_attention(node.op) && as_rows)
        *by_attention = true;
      else if (only_moves(graph_, node))
        find_readers(node.results[0], by_attention, other);
      else
        *other = node.op;
    }
  }

  // Why a buffer stays float; fills in what writes it.
  std::string why_not(Found* cache) {
    const TensorType& type = graph_.type(cache->before).tensor;
    if (type.dtype != DType::f32)
      return fmt::format("it holds {}, f32 is wanted", dtype_name(type.dtype));
    if (type.sizes.size() < 2 || !is_static(type)) return "its sizes are not known";
    constexpr int64_t kLeastRow = 8;  // below, scales take more than integers save
    if (type.sizes.back().value < kLeastRow)
      return fmt::format("its rows have {} numbers, {} and more are worth it",
                         type.sizes.back().value, kLeastRow);
    ValueId id = cache->before;
    while (id != cache->after) {
      if (users_.users(id).size() != 1 || users_.is_output(id))
        return "what it held before a write is read too";
      NodeId user = users_.users(id)[0];
      const Node& node = graph_.nodes[size_t(user)];
      auto rows = rows_argument(graph_, node);
      const ValueId* given = rows ? operand(node, *rows) : nullptr;
      if (!given || *operand(node, 0) != id || *given == id)
        return fmt::format("{} changes it, which does not write whole rows by position", node.op);
      const TensorType& of_rows = graph_.type(*given).tensor;
      if (of_rows.dtype != DType::f32 || of_rows.sizes.empty() ||
          of_rows.sizes.back() != type.sizes.back())
        return fmt::format("{} writes rows of another size than the cache's", node.op);
      cache->updates.push_back(user);
      id = node.results[0];
    }
    return cache->updates.empty() ? "nothing writes it by position" : std::string();
  }

  const Program& program_;
  Graph& graph_;
  UserIndex users_;
};

class CachePlacer {
 public:
  CachePlacer(Program& program, Graph& graph)
      : program_(program), graph_(graph), build_(program, graph) {}

  // Buffers become bytes and scales. What they were is in `rows_of_`, by value.
  void take(const Finder::Found& cache) {
    BufferData& bytes = program_.buffers[size_t(cache.buffer)];
    BufferData scales{bytes.type, bytes.name + ".scales", {}, {}, 0};
    scales.type.sizes.back() = 1;
    if (!bytes.initial.empty()) quantize_initial(bytes, scales);
    bytes.type.dtype = DType::i8;
    graph_.values[size_t(cache.before)].type.tensor.dtype = DType::i8;
    TensorType type = scales.type;
    std::string name = scales.name;
    program_.buffers.push_back(std::move(scales));
    auto index = int32_t(program_.buffers.size()) - 1;
    ValueId scale = graph_.add_value(Type::of(type), name, Origin::buffer, index);
    pairs_[cache.before] = {cache.before, scale};
    for (NodeId id : cache.updates) updates_.insert(id);
    last_[cache.after] = {cache.buffer, index};
  }

  Result<void> run() {
    std::vector<NodeId> order = std::move(graph_.order);
    graph_.order.clear();
    Replacements numbers(graph_);
    std::vector<WriteBack> write_backs;
    for (NodeId id : order) {
      Node node = graph_.nodes[size_t(id)];
      build_.source = node.source;
      if (!updates_.count(id)) {
        numbers.apply(graph_.nodes[size_t(id)]);
        graph_.order.push_back(id);
        continue;
      }
      numbers.apply(node);
      Integers after = updated(node);
      ValueId result = node.results[0];
      graph_.nodes[size_t(id)].removed = true;
      pairs_[result] = after;
      auto last = last_.find(result);
      if (last == last_.end()) continue;
      numbers.add(result, read(after));
      write_backs.push_back({WriteBack::Target::buffer, last->second.first, after.q});
      write_backs.push_back({WriteBack::Target::buffer, last->second.second, after.scale});
    }
    TRY_VOID(build_.status());
    std::erase_if(graph_.write_backs,
                  [&](const WriteBack& write) { return last_.count(write.value) > 0; });
    for (WriteBack& write : graph_.write_backs) write.value = numbers.find(write.value);
    for (ValueId& id : graph_.outputs) id = numbers.find(id);
    graph_.write_backs.insert(graph_.write_backs.end(), write_backs.begin(), write_backs.end());
    return {};
  }

 private:
  struct Integers {
    ValueId q = kNoValue, scale = kNoValue;
  };

  // The rows of an update as integers, and their scales, written in the same way.
  Integers updated(const Node& node) {
    size_t at = *rows_argument(graph_, node);
    Integers before = pairs_.at(*operand(node, 0));
    ValueId rows = *operand(node, at);
    ValueId most =
        build_.call1("aten::amax", {Build::v(build_.call1("aten::abs", {Build::v(rows)})),
                                    Build::ints(std::vector<int64_t>{-1}), true});
    most = build_.call1("aten::clamp", {Build::v(most), double(kLeastScale), None{}});
    ValueId scale = build_.call1("aten::div.Scalar", {Build::v(most), double(kMost)});
    ValueId q =
        build_.call1("quantized_decomposed::quantize_per_token",
                     {Build::v(rows), Build::v(scale), Build::v(zeros(scale)), -kMost, kMost, kI8});
    auto written = [&](ValueId whole, ValueId part) {
      std::vector<Argument> arguments = node.arguments;
      arguments[0] = ValueRef{whole};
      arguments[at] = ValueRef{part};
      return build_.call1(node.op, std::move(arguments));
    };
    return {written(before.q, q), written(before.scale, scale)};
  }
  ValueId read(const Integers& integers) {
    return build_.call1("quantized_decomposed::dequantize_per_token",
                        {Build::v(integers.q), Build::v(integers.scale),
                         Build::v(zeros(integers.scale)), -kMost, kMost, kI8, int64_t(DType::f32)});
  }
  // Zero points for these scales.
  ValueId zeros(ValueId scale) {
    const std::vector<SymInt> sizes = build_.tensor(scale).sizes;
    TensorType type{DType::i64, sizes, {}};
    if (!is_static(type)) return build_.full(sizes, 0, DType::i64);
    uint64_t bytes = *bytes_max(type, program_.symbols);
    return build_.constant(std::move(type), std::vector<uint8_t>(bytes, 0), "cache.zeros");
  }

  static void quantize_initial(BufferData& bytes, BufferData& scales) {
    auto width = size_t(bytes.type.sizes.back().value);
    size_t count = bytes.initial.size() / sizeof(float), rows = count / width;
    auto q = std::make_shared<std::vector<uint8_t>>(count);
    auto s = std::make_shared<std::vector<uint8_t>>(rows * sizeof(float));
    std::vector<float> row(width);
    if (std::all_of(bytes.initial.begin(), bytes.initial.end(),
                    [](uint8_t byte) { return byte == 0; })) {
      bytes.owned = nullptr;
      bytes.initial = {};  // zeros; the scales are too
      return;
    }
    for (size_t r = 0; r < rows; r++) {
      memcpy(row.data(), bytes.initial.data() + r * width * sizeof(float), width * sizeof(float));
      float most = kLeastScale;
      for (float x : row) most = std::max(most, std::fabs(x));
      float scale = most / float(kMost);
      memcpy(s->data() + r * sizeof(float), &scale, sizeof(float));
      for (size_t c = 0; c < width; c++) {
        float x = std::nearbyint(row[c] * (1 / scale));
        (*q)[r * width + c] = uint8_t(int8_t(std::clamp(x, -float(kMost), float(kMost))));
      }
    }
    bytes.owned = q;
    bytes.initial = *q;
    scales.owned = s;
    scales.initial = *s;
  }

  Program& program_;
  Graph& graph_;
  Build build_;
  std::unordered_map<ValueId, Integers> pairs_;  // what a cache's value is made of
  std::unordered_set<NodeId> updates_;
  std::unordered_map<ValueId, std::pair<int32_t, int32_t>> last_;  // buffers of bytes and scales
};

}  // namespace

Result<std::vector<QuantizeReport::Cache>> quantize_caches(Program& program, Graph& graph) {
  std::vector<Finder::Found> found = Finder(program, graph).run();
  CachePlacer placer(program, graph);
  std::vector<QuantizeReport::Cache> caches;
  std::string why;
  bool any = false;
  for (const Finder::Found& cache : found) {
    const BufferData& buffer = program.buffers[size_t(cache.buffer)];
    QuantizeReport::Cache told{buffer.name, cache.why_float, 0, 0};
    told.bytes_before = told.bytes_after = bytes_max(buffer.type, program.symbols).value_or(0);
    if (cache.why_float.empty()) {
      auto width = uint64_t(buffer.type.sizes.back().value);
      told.bytes_after = told.bytes_before / sizeof(float) / width * (width + sizeof(float));
      placer.take(cache);
      any = true;
    } else if (why.empty()) {
      why = fmt::format("\"{}\": {}", buffer.name, cache.why_float);
    }
    caches.push_back(std::move(told));
  }
  if (!any)
    return error(Code::unsupported, "no cache of keys and values can be int8: {}",
                 why.empty() ? "there is no buffer that a call writes by position (index_copy, "
                               "index_put, slices, update_cache) and attention reads"
                             : why);
  TRY_VOID(placer.run());
  return caches;
}

}  // namespace sconce
