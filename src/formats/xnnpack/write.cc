// Writing, as stock's exporter does it: XN01, every constant named, nothing after the tables.
#include <cstring>

#include "base/little_endian.h"
#include "formats/xnnpack/xnnpack.h"
#include "xnnpack_generated.h"

namespace sconce {
namespace {

namespace fb = xnnpack::fb;
using flatbuffers::Offset;
using Builder = flatbuffers::FlatBufferBuilder;

constexpr uint32_t kHeaderBytes = 30, kTablesAt = 32, kPadding = 16;

Offset<fb::TensorValue> tensor_of(Builder& b, const XnnValue& v) {
  return fb::CreateTensorValueDirect(b, int16_t(v.dtype), uint32_t(v.dims.size()), &v.dims,
                                     v.constant, v.external_id, v.flags, v.id);
}

Offset<fb::Value> value_of(Builder& b, const XnnValue& v) {
  using Kind = XnnQuantization::Kind;
  auto tensor = tensor_of(b, v);
  const XnnQuantization& q = v.quantization;
  Offset<void> how;
  fb::Quantization tag = fb::Quantization_NONE;
  switch (q.kind) {
    case Kind::none: return fb::CreateValue(b, fb::AnyValue_TensorValue, tensor.Union());
    case Kind::per_tensor:
      tag = fb::Quantization_PerTensor;
      how = fb::CreatePerTensor(b, q.scale, q.zero_point).Union();
      break;
    case Kind::per_channel:
      tag = fb::Quantization_PerChannel;
      how = fb::CreatePerChannelDirect(b, &q.scales, q.channel_dim, q.scale_constant, q.scale_count)
                .Union();
      break;
    case Kind::per_token:
      tag = fb::Quantization_PerToken;
      how = fb::CreatePerToken(b, q.inner_dims).Union();
      break;
    case Kind::per_channel_group:
      tag = fb::Quantization_PerChannelGroup;
      how = fb::CreatePerChannelGroupDirect(b, &q.scales, q.channel_dim, q.group_size,
                                            q.scale_constant, q.scale_count)
                .Union();
      break;
  }
  auto quantized = fb::CreateQuantizedValue(b, tensor, tag, how);
  return fb::CreateValue(b, fb::AnyValue_QuantizedValue, quantized.Union());
}

// The table of a node, by its shape; ids of values stand where positions did.
struct NodeWriter {
  Builder& b;
  const XnnGraph& graph;
  const XnnNode& node;

  uint32_t id(const std::vector<uint32_t>& list, size_t i) const {
    return i >= list.size() || list[i] == kXnnNoValue ? kXnnNoValue : graph.values[list[i]].id;
  }
  uint32_t in(size_t i = 0) const { return id(node.inputs, i); }
  uint32_t out(size_t i = 0) const { return id(node.outputs, i); }

  Offset<void> one() { return fb::CreateOne(b, in(), out(), node.flags).Union(); }
  Offset<void> two() { return fb::CreateTwo(b, in(), in(1), out(), node.flags).Union(); }
  Offset<void> linear() {
    return fb::CreateFullyConnected(b, in(), in(1), in(2), out(), node.flags).Union();
  }
  Offset<void> conv() {
    const XnnWindow& w = node.window;
    return fb::CreateConv(b, w.padding_top, w.padding_right, w.padding_bottom, w.padding_left,
                          w.kernel[0], w.kernel[1], w.stride[0], w.stride[1], w.dilation[0],
                          w.dilation[1], w.group_inputs, w.group_outputs, w.groups, w.adjustment[0],
                          w.adjustment[1], in(), in(1), in(2), out(), node.flags)
        .Union();
  }
  Offset<void> pool() {
    const XnnWindow& w = node.window;
    return fb::CreatePool(b, w.padding_top, w.padding_right, w.padding_bottom, w.padding_left,
                          w.kernel[0], w.kernel[1], w.stride[0], w.stride[1], w.dilation[0],
                          w.dilation[1], in(), out(), node.flags)
        .Union();
  }
  Offset<void> argmax_pool() {
    const XnnWindow& w = node.window;
    return fb::CreateArgMaxPool(b, w.padding_top, w.padding_right, w.padding_bottom, w.padding_left,
                                w.kernel[0], w.kernel[1], in(), out(), out(1), node.flags)
        .Union();
  }
  Offset<void> transpose() {
    return fb::CreateTransposeDirect(b, uint32_t(node.first.size()), &node.first, in(), out(),
                                     node.flags)
        .Union();
  }
  Offset<void> resize() {
    return fb::CreateResize(b, node.first[0], node.first[1], in(), out(), node.flags).Union();
  }
  Offset<void> pad() {
    return fb::CreatePadDirect(b, &node.first, &node.second, node.number, in(), out(), node.flags)
        .Union();
  }
  Offset<void> reshape() {
    return fb::CreateReshapeDirect(b, uint32_t(node.first.size()), &node.first, in(), out(),
                                   node.flags)
        .Union();
  }
  Offset<void> leaky_relu() {
    return fb::CreateLeakyRelu(b, node.number, in(), out(), node.flags).Union();
  }
  Offset<void> elu() { return fb::CreateElu(b, node.number, in(), out(), node.flags).Union(); }
  Offset<void> cat() {
    return fb::CreateCat(b, node.axis, in(), in(1), in(2), in(3), out(), node.flags, in(4)).Union();
  }
  Offset<void> slice() {
    return fb::CreateSliceDirect(b, uint32_t(node.first.size()), &node.first, &node.second, in(),
                                 out(), node.flags)
        .Union();
  }
  Offset<void> attention() {
    return fb::CreateAttention(b, in(), in(1), in(2), in(3), in(4), out(), node.flags).Union();
  }
};

Offset<fb::Node> node_of(Builder& b, const XnnGraph& graph, const XnnNode& node) {
  NodeWriter writer{b, graph, node};
  Offset<void> table;
  switch (node.kind) {
#define SCONCE_ROW(name, shape) \
  case XnnNodeKind::name: table = writer.shape(); break;
    SCONCE_XNNPACK_NODES(SCONCE_ROW)
#undef SCONCE_ROW
    case XnnNodeKind::none: CHECK(false);
  }
  Offset<fb::Limits> limits;
  if (node.limited) limits = fb::CreateLimits(b, node.min, node.max);
  return fb::CreateNode(b, fb::AnyNode(node.kind), table, node.debug_handle, limits);
}

}  // namespace

std::vector<uint8_t> write_xnnpack(const XnnGraph& graph) {
  Builder b;
  std::vector<Offset<fb::Node>> nodes;
  for (const XnnNode& node : graph.nodes) nodes.push_back(node_of(b, graph, node));
  std::vector<Offset<fb::Value>> values;
  for (const XnnValue& value : graph.values) values.push_back(value_of(b, value));
  std::vector<Offset<fb::Constant>> constants;
  for (const XnnConstant& constant : graph.constants) {
    CHECK(constant.named || constants.empty());
    constants.push_back(
        fb::CreateConstantDirect(b, UINT64_MAX, constant.bytes.size(), constant.key.c_str()));
  }
  b.Finish(fb::CreateGraphDirect(b, graph.version.c_str(), &nodes, &values, graph.external_count,
                                 &graph.inputs, &graph.outputs, nullptr, nullptr, &constants),
           "XN01");
  std::vector<uint8_t> payload(kTablesAt);
  uint32_t bytes = b.GetSize(), end = (kTablesAt + bytes + kPadding - 1) / kPadding * kPadding;
  memcpy(payload.data() + 4, "XH00", 4);
  store_little<uint16_t>(payload.data() + 8, kHeaderBytes);
  store_little<uint32_t>(payload.data() + 10, kTablesAt);
  store_little<uint32_t>(payload.data() + 14, bytes);
  store_little<uint32_t>(payload.data() + 18, end);
  store_little<uint64_t>(payload.data() + 22, 0);
  payload.insert(payload.end(), b.GetBufferPointer(), b.GetBufferPointer() + bytes);
  payload.resize(end);
  return payload;
}

}  // namespace sconce
