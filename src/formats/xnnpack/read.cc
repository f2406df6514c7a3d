// Reading: the header, the flatbuffer's structure, then every id and number by meaning.
#include <cmath>
#include <cstring>
#include <unordered_map>

#include <fmt/ranges.h>

#include "base/checked.h"
#include "base/little_endian.h"
#include "formats/xnnpack/xnnpack.h"
#include "xnnpack_generated.h"

namespace sconce {
namespace {

namespace fb = xnnpack::fb;

constexpr size_t kHeaderBytes = 30;
constexpr size_t kAlignment = 16;  // of the tables, so that constants in them are aligned
constexpr uint64_t kNoOffset = UINT64_MAX;
constexpr uint32_t kExternalMax = 4096;  // stock's

using Ids = std::unordered_map<uint32_t, uint32_t>;  // id -> position

std::vector<uint32_t> numbers(const flatbuffers::Vector<uint32_t>* from) {
  if (!from) return {};
  return {from->begin(), from->end()};
}

Result<void> read_constants(const fb::Graph& root, Bytes region, XnnGraph& graph) {
  if (root.constants() && root.constants()->size()) {
    for (const fb::Constant* from : *root.constants()) {
      XnnConstant& constant = graph.constants.emplace_back();
      constant.named = from->key() != nullptr;  // even when empty: that is how stock reads it
      if (constant.named) {
        constant.key = from->key()->str();
        if (!constant.key.empty() && from->offset() != kNoOffset)
          return error(Code::invalid_file, "constant {}: has both a key \"{}\" and an offset {}",
                       graph.constants.size() - 1, constant.key, from->offset());
        continue;
      }
      // Nobody reads the first: index 0 says "not constant".
      if (graph.constants.size() == 1) continue;
      if (!range_inside(from->offset(), from->size(), region.size()))
        return error(Code::invalid_file, "constant {}: {} bytes at {} of {}",
                     graph.constants.size() - 1, from->size(), from->offset(), region.size());
      constant.bytes = region.subspan(size_t(from->offset()), size_t(from->size()));
    }
  } else if (root.constant_buffers()) {
    for (const fb::Buffer* from : *root.constant_buffers()) {
      XnnConstant& constant = graph.constants.emplace_back();
      if (from->bytes()) constant.bytes = {from->bytes()->data(), from->bytes()->size()};
    }
  }
  return {};
}

Result<void> check_constant(uint32_t index, const XnnGraph& graph) {
  if (index && index >= graph.constants.size())
    return error(Code::invalid_file, "constant {}, there are {}", index, graph.constants.size());
  return {};
}

Result<void> check_channel_dim(int32_t dim, const XnnValue& value) {
  if (dim < 0 || size_t(dim) >= value.dims.size())
    return error(Code::invalid_file, "channel dimension {} of rank {}", dim, value.dims.size());
  return {};
}

Result<void> check_scales(const XnnQuantization& quantization) {
  for (float scale : quantization.scales)
    if (!(std::isfinite(scale) && scale > 0))
      return error(Code::invalid_file, "a scale is {}, want a positive number", scale);
  return {};
}

template <class T>
void read_scales(const T& from, XnnQuantization& to) {
  if (from.scales()) to.scales.assign(from.scales()->begin(), from.scales()->end());
  to.scale_constant = from.scale_constant();
  to.scale_count = to.scale_constant ? from.scale_count() : uint32_t(to.scales.size());
  to.channel_dim = from.channel_dim();
}

Result<void> read_quantization(const fb::QuantizedValue& from, const XnnGraph& graph,
                               XnnValue& value) {
  using Kind = XnnQuantization::Kind;
  XnnQuantization& to = value.quantization;
  XnnDType dtype = value.dtype;
  auto wants = [&](bool fits) -> Result<void> {
    if (fits) return {};
    return error(Code::invalid_file, "{} with quantization kind {}", xnn_dtype_name(dtype),
                 int(from.quantization_type()));
  };
  if (!from.quantization()) return error(Code::invalid_file, "has no quantization");
  switch (from.quantization_type()) {
    case fb::Quantization_PerTensor: {
      to.kind = Kind::per_tensor;
      to.scale = from.quantization_as_PerTensor()->scale();
      to.zero_point = from.quantization_as_PerTensor()->zero_point();
      TRY_VOID(wants(dtype == XnnDType::qint8 || dtype == XnnDType::quint8 ||
                     dtype == XnnDType::qint32));
      if (!(std::isfinite(to.scale) && to.scale > 0))
        return error(Code::invalid_file, "scale {}, want a positive number", to.scale);
      int64_t low = dtype == XnnDType::quint8 ? 0 : -128,
              high = dtype == XnnDType::quint8 ? 255 : 127;
      if (dtype == XnnDType::qint32) low = high = 0;
      if (to.zero_point < low || to.zero_point > high)
        return error(Code::invalid_file, "zero point {} of {}, want {} to {}", to.zero_point,
                     xnn_dtype_name(dtype), low, high);
      return {};
    }
    case fb::Quantization_PerChannel:
      to.kind = Kind::per_channel;
      read_scales(*from.quantization_as_PerChannel(), to);
      TRY_VOID(wants(dtype == XnnDType::qcint8 || dtype == XnnDType::qcint32 ||
                     dtype == XnnDType::qcint4));
      TRY_VOID(check_channel_dim(to.channel_dim, value));
      if (to.scale_count != value.dims[size_t(to.channel_dim)])
        return error(Code::invalid_file, "{} scales for {} channels", to.scale_count,
                     value.dims[size_t(to.channel_dim)]);
      break;
    case fb::Quantization_PerToken:
      to.kind = Kind::per_token;
      to.inner_dims = from.quantization_as_PerToken()->inner_dims();
      TRY_VOID(wants(dtype == XnnDType::qdint8 || dtype == XnnDType::qpint8));
      if (to.inner_dims < 1 || size_t(to.inner_dims) > value.dims.size())
        return error(Code::invalid_file, "{} dimensions share a scale, the rank is {}",
                     to.inner_dims, value.dims.size());
      if (value.constant) return error(Code::invalid_file, "a dynamic value cannot be constant");
      return {};
    case fb::Quantization_PerChannelGroup: {
      to.kind = Kind::per_channel_group;
      read_scales(*from.quantization_as_PerChannelGroup(), to);
      to.group_size = from.quantization_as_PerChannelGroup()->group_size();
      TRY_VOID(wants(dtype == XnnDType::qbint4));
      TRY_VOID(check_channel_dim(to.channel_dim, value));
      if (value.dims.size() != 2 || to.channel_dim != 0)
        return error(Code::invalid_file, "groups in a value of rank {} along dimension {}",
                     value.dims.size(), to.channel_dim);
      if (to.group_size < 1 || value.dims[1] % uint32_t(to.group_size) != 0)
        return error(Code::invalid_file, "groups of {} in rows of {}", to.group_size,
                     value.dims[1]);
      uint64_t wanted = uint64_t(value.dims[0]) * (value.dims[1] / uint32_t(to.group_size));
      if (to.scale_count != wanted)
        return error(Code::invalid_file, "{} scales for {} groups", to.scale_count, wanted);
      break;
    }
    default:
      return error(Code::unsupported, "quantization kind {} is not known",
                   int(from.quantization_type()));
  }
  TRY_VOID(check_constant(to.scale_constant, graph));
  return check_scales(to);
}

Result<void> read_value(const fb::Value& from, XnnGraph& graph, XnnValue& value) {
  const fb::TensorValue* tensor = nullptr;
  const fb::QuantizedValue* quantized = nullptr;
  if (from.value_type() == fb::AnyValue_TensorValue) tensor = from.value_as_TensorValue();
  if (from.value_type() == fb::AnyValue_QuantizedValue) {
    quantized = from.value_as_QuantizedValue();
    tensor = quantized ? quantized->tensor() : nullptr;
  }
  if (!tensor) return error(Code::invalid_file, "is no tensor (kind {})", int(from.value_type()));
  value.id = tensor->id();
  auto dtype = [&](int16_t code) -> Result<XnnDType> {
    if (code < 0 || code >= kXnnDTypeCount)
      return error(Code::unsupported, "dtype {} is not known", code);
    return XnnDType(code);
  };
  TRY(value.dtype, dtype(tensor->dtype()));
  TRY(value.dynamic_dtype, dtype(tensor->dynamic_dtype()));
  if (value.dtype == XnnDType::invalid) return error(Code::invalid_file, "has no dtype");
  value.dims = numbers(tensor->dims());
  if (value.dims.size() > size_t(kXnnRankMax))
    return error(Code::too_large, "rank {} exceeds {}", value.dims.size(), kXnnRankMax);
  if (tensor->rank() != value.dims.size())
    return error(Code::invalid_file, "rank {} with {} dimensions", tensor->rank(),
                 value.dims.size());
  uint64_t count = 1;
  for (uint32_t dim : value.dims)
    if (dim > INT32_MAX || !checked_multiply<uint64_t>(count, dim ? dim : 1, &count) ||
        count > INT64_MAX / 8)
      return error(Code::too_large, "dimensions [{}] are too large", fmt::join(value.dims, ", "));
  value.constant = tensor->constant();
  TRY_VOID(check_constant(value.constant, graph));
  value.external_id = tensor->external_id();
  value.flags = tensor->flags();
  if (value.flags & ~(kXnnExternalInput | kXnnExternalOutput))
    return error(Code::unsupported, "flags {:#x} are not known", value.flags);
  if (value.flags && value.external_id >= graph.external_count)
    return error(Code::invalid_file, "external id {} of {}", value.external_id,
                 graph.external_count);
  if (value.flags && value.constant)
    return error(Code::invalid_file, "is both constant and external");
  if (value.flags == (kXnnExternalInput | kXnnExternalOutput))
    return error(Code::unsupported, "is both an input and an output");
  bool wants_quantization = value.dtype >= XnnDType::qint8 && value.dtype <= XnnDType::qpint8;
  if (wants_quantization != (quantized != nullptr))
    return error(Code::invalid_file, "{} {} quantization", xnn_dtype_name(value.dtype),
                 quantized ? "with" : "without");
  if (value.dynamic_dtype != XnnDType::invalid &&
      (value.dynamic_dtype != XnnDType::qint8 || quantized || !value.is_input() ||
       value.dims.empty()))
    return error(Code::unsupported, "is quantised to {} at run time, which wants a float input",
                 xnn_dtype_name(value.dynamic_dtype));
  if (quantized) return read_quantization(*quantized, graph, value);
  return {};
}

// Reads the table of one node; `use` turns an id into a position.
struct NodeReader {
  const Ids& ids;
  XnnNode& node;

  Result<void> use(std::vector<uint32_t>& list, uint32_t id, const char* what,
                   bool optional = false) {
    if (optional && id == kXnnNoValue) {
      list.push_back(kXnnNoValue);
      return {};
    }
    auto found = ids.find(id);
    if (found == ids.end())
      return error(Code::invalid_file, "{} is value {}, which there is none of", what, id);
    list.push_back(found->second);
    return {};
  }
  Result<void> input(uint32_t id, const char* what = "input") { return use(node.inputs, id, what); }
  Result<void> output(uint32_t id) { return use(node.outputs, id, "output"); }
  Result<void> ends(uint32_t in, uint32_t out) {
    TRY_VOID(input(in));
    return output(out);
  }

  template <class T>
  Result<void> padding_and_kernel(const T& from) {
    XnnWindow& w = node.window;
    w.padding_top = from.padding_top(), w.padding_right = from.padding_right();
    w.padding_bottom = from.padding_bottom(), w.padding_left = from.padding_left();
    w.kernel[0] = from.kernel_height(), w.kernel[1] = from.kernel_width();
    return {};
  }
  template <class T>
  Result<void> window(const T& from) {
    TRY_VOID(padding_and_kernel(from));
    XnnWindow& w = node.window;
    w.stride[0] = from.stride_height(), w.stride[1] = from.stride_width();
    w.dilation[0] = from.dilation_height(), w.dilation[1] = from.dilation_width();
    return {};
  }

  Result<void> one(const fb::One& from) { return ends(from.input(), from.output()); }
  Result<void> two(const fb::Two& from) {
    TRY_VOID(input(from.a(), "first input"));
    TRY_VOID(input(from.b(), "second input"));
    return output(from.output());
  }
  Result<void> linear(const fb::FullyConnected& from) {
    TRY_VOID(input(from.input()));
    TRY_VOID(input(from.filter(), "filter"));
    TRY_VOID(use(node.inputs, from.bias(), "bias", true));
    return output(from.output());
  }
  Result<void> conv(const fb::Conv& from) {
    TRY_VOID(window(from));
    XnnWindow& w = node.window;
    w.group_inputs = from.group_inputs(), w.group_outputs = from.group_outputs();
    w.groups = from.groups();
    w.adjustment[0] = from.adjustment_height(), w.adjustment[1] = from.adjustment_width();
    TRY_VOID(input(from.input()));
    TRY_VOID(input(from.filter(), "filter"));
    TRY_VOID(use(node.inputs, from.bias(), "bias", true));
    return output(from.output());
  }
  Result<void> pool(const fb::Pool& from) {
    TRY_VOID(window(from));
    return ends(from.input(), from.output());
  }
  Result<void> argmax_pool(const fb::ArgMaxPool& from) {
    TRY_VOID(padding_and_kernel(from));
    for (int i = 0; i < 2; i++) node.window.stride[i] = node.window.kernel[i];
    TRY_VOID(ends(from.input(), from.output()));
    return use(node.outputs, from.index(), "output of indices");
  }
  Result<void> transpose(const fb::Transpose& from) {
    node.first = numbers(from.order());
    uint32_t seen = 0;
    for (uint32_t dim : node.first) {
      if (dim >= node.first.size() || dim >= uint32_t(kXnnRankMax) || (seen >> dim & 1))
        return error(Code::invalid_file, "order [{}] is none", fmt::join(node.first, ", "));
      seen |= 1u << dim;
    }
    return ends(from.input(), from.output());
  }
  Result<void> resize(const fb::Resize& from) {
    node.first = {from.height(), from.width()};
    return ends(from.input(), from.output());
  }
  Result<void> pairs(const flatbuffers::Vector<uint32_t>* a,
                     const flatbuffers::Vector<uint32_t>* b) {
    node.first = numbers(a), node.second = numbers(b);
    if (node.first.size() != node.second.size())
      return error(Code::invalid_file, "lists of {} and {} numbers, want as many of both",
                   node.first.size(), node.second.size());
    return {};
  }
  Result<void> pad(const fb::Pad& from) {
    TRY_VOID(pairs(from.before(), from.after()));
    node.number = from.number();
    return ends(from.input(), from.output());
  }
  Result<void> reshape(const fb::Reshape& from) {
    node.first = numbers(from.dims());
    if (node.first.size() > size_t(kXnnRankMax))
      return error(Code::too_large, "rank {} exceeds {}", node.first.size(), kXnnRankMax);
    return ends(from.input(), from.output());
  }
  Result<void> leaky_relu(const fb::LeakyRelu& from) {
    node.number = from.slope();
    return ends(from.input(), from.output());
  }
  Result<void> elu(const fb::Elu& from) {
    node.number = from.alpha();
    return ends(from.input(), from.output());
  }
  Result<void> cat(const fb::Cat& from) {
    node.axis = from.axis();
    uint32_t given[] = {from.input1(), from.input2(), from.input3(), from.input4(), from.input5()};
    int count = node.kind == XnnNodeKind::concatenate2   ? 2
                : node.kind == XnnNodeKind::concatenate3 ? 3
                : node.kind == XnnNodeKind::concatenate4 ? 4
                                                         : 5;
    for (int i = 0; i < count; i++) TRY_VOID(input(given[i]));
    return output(from.output());
  }
  Result<void> slice(const fb::Slice& from) {
    TRY_VOID(pairs(from.offsets(), from.sizes()));
    return ends(from.input(), from.output());
  }
  Result<void> attention(const fb::Attention& from) {
    TRY_VOID(input(from.query(), "query"));
    TRY_VOID(input(from.key(), "key"));
    TRY_VOID(input(from.value(), "value"));
    TRY_VOID(input(from.scale(), "scale"));
    TRY_VOID(use(node.inputs, from.mask(), "mask", true));
    return output(from.output());
  }
};

Result<void> read_node(const fb::Node& from, const Ids& ids, XnnNode& node) {
  node.debug_handle = from.debug_handle();
  if (from.limits()) {
    node.limited = true;
    node.min = from.limits()->min(), node.max = from.limits()->max();
    if (!(node.min <= node.max))
      return error(Code::invalid_file, "limits {} to {}", node.min, node.max);
  }
  NodeReader reader{ids, node};
  if (!from.node()) return error(Code::invalid_file, "is empty");
  switch (from.node_type()) {
#define SCONCE_ROW(name, shape)                     \
  case fb::AnyNode_##name:                          \
    node.kind = XnnNodeKind::name;                  \
    node.flags = from.node_as_##name()->flags();    \
    TRY_VOID(reader.shape(*from.node_as_##name())); \
    break;
    SCONCE_XNNPACK_NODES(SCONCE_ROW)
#undef SCONCE_ROW
    default: return error(Code::unsupported, "kind {} is not known", int(from.node_type()));
  }
  return {};
}

Result<void> read_graph(const fb::Graph& root, Bytes region, XnnGraph& graph) {
  if (root.version()) graph.version = root.version()->str();
  graph.external_count = root.external_count();
  if (graph.external_count > kExternalMax)
    return error(Code::too_large, "{} external values exceed {}", graph.external_count,
                 kExternalMax);
  graph.inputs = numbers(root.inputs());
  graph.outputs = numbers(root.outputs());
  TRY_VOID(read_constants(root, region, graph));
  Ids ids;
  std::vector<bool> external(graph.external_count);
  if (root.values()) {
    for (const fb::Value* from : *root.values()) {
      XnnValue& value = graph.values.emplace_back();
      auto named = [&] { return fmt::format("value {}", graph.values.size() - 1); };
      TRY_VOID(read_value(*from, graph, value).with_context(named()));
      if (!ids.emplace(value.id, uint32_t(graph.values.size() - 1)).second)
        return error(Code::invalid_file, "{}: there are two with id {}", named(), value.id);
      if (!value.flags) continue;
      if (external[value.external_id])
        return error(Code::invalid_file, "{}: there are two with external id {}", named(),
                     value.external_id);
      external[value.external_id] = true;
    }
  }
  if (root.nodes()) {
    for (const fb::Node* from : *root.nodes()) {
      XnnNode& node = graph.nodes.emplace_back();
      TRY_VOID(read_node(*from, ids, node)
                   .with_context(fmt::format("node {} ({})", graph.nodes.size() - 1,
                                             fb::EnumNameAnyNode(from->node_type()))));
    }
  }
  return {};
}

}  // namespace

Result<XnnGraph> read_xnnpack(Bytes payload) {
  XnnGraph graph;
  Bytes tables = payload, region;
  if (payload.size() < 8)
    return error(Code::invalid_file, "{} bytes are no XNNPACK payload", payload.size());
  if (memcmp(payload.data() + 4, "XH00", 4) == 0) {
    if (payload.size() < kHeaderBytes)
      return error(Code::invalid_file, "header of {} bytes, want {}", payload.size(), kHeaderBytes);
    const uint8_t* at = payload.data();
    uint64_t tables_at = load_little<uint32_t>(at + 10);
    uint64_t tables_bytes = load_little<uint32_t>(at + 14);
    uint64_t region_at = load_little<uint32_t>(at + 18);
    uint64_t region_bytes = load_little<uint64_t>(at + 22);
    if (!range_inside(tables_at, tables_bytes, payload.size()) || tables_bytes < 8 ||
        tables_at < kHeaderBytes)
      return error(Code::invalid_file, "tables: {} bytes at {} of {}", tables_bytes, tables_at,
                   payload.size());
    if (!range_inside(region_at, region_bytes, payload.size()) ||
        region_at < tables_at + tables_bytes)
      return error(Code::invalid_file,
                   "constants: {} bytes at {} of {}, want them after the tables, which end at {}",
                   region_bytes, region_at, payload.size(), tables_at + tables_bytes);
    tables = payload.subspan(size_t(tables_at), size_t(tables_bytes));
    region = payload.subspan(size_t(region_at), size_t(region_bytes));
  }
  if (memcmp(tables.data() + 4, "XN01", 4) != 0 && memcmp(tables.data() + 4, "XN00", 4) != 0)
    return error(Code::invalid_file,
                 "no XNNPACK payload: XN00 or XN01 is wanted at byte 4 of its tables");
  graph.old_form = memcmp(tables.data() + 4, "XN00", 4) == 0;
  if (tables.size() > FLATBUFFERS_MAX_BUFFER_SIZE)
    return error(Code::too_large, "tables of {} bytes", tables.size());
  if (reinterpret_cast<uintptr_t>(tables.data()) % kAlignment) {
    graph.copy = std::make_shared<std::vector<uint8_t>>(tables.size() + kAlignment);
    uint8_t* to = graph.copy->data();
    to += (kAlignment - reinterpret_cast<uintptr_t>(to) % kAlignment) % kAlignment;
    memcpy(to, tables.data(), tables.size());
    tables = {to, tables.size()};
  }
  // No more tables than bytes to hold them: vectors that share tables cannot make the walk long.
  flatbuffers::Verifier verifier(tables.data(), tables.size(), 16, uint32_t(tables.size() / 4));
  if (!verifier.VerifyBuffer<fb::Graph>(nullptr))
    return error(Code::invalid_file, "its tables leave the payload");
  TRY_VOID(read_graph(*fb::GetGraph(tables.data()), region, graph));
  return graph;
}

}  // namespace sconce
