#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/xnnpack/xnnpack.h"

namespace sconce {
namespace {

struct DTypeFacts {
  const char* name;
  int bits;
};
constexpr DTypeFacts kDTypes[kXnnDTypeCount] = {
    {"invalid", 0}, {"f32", 32},   {"f16", 16},     {"qint8", 8},  {"quint8", 8},
    {"qint32", 32}, {"qcint8", 8}, {"qcint32", 32}, {"qcint4", 4}, {"qdint8", 8},
    {"qbint4", 4},  {"qpint8", 0}, {"int32", 32},   {"pf32", 0},   {"bf16", 16},
};

constexpr const char* kNodeNames[] = {"none",
#define SCONCE_ROW(name, shape) #name,
                                      SCONCE_XNNPACK_NODES(SCONCE_ROW)
#undef SCONCE_ROW
};

// Keys are long hashes; a line needs enough to tell them apart.
std::string short_key(const std::string& key) {
  return key.size() > 24 ? key.substr(0, 21) + "..." : key;
}

std::string quantization_text(const XnnQuantization& q) {
  using Kind = XnnQuantization::Kind;
  switch (q.kind) {
    case Kind::none: break;
    case Kind::per_tensor: return fmt::format(" scale {} zero {}", q.scale, q.zero_point);
    case Kind::per_channel: return fmt::format(" {} scales along {}", q.scale_count, q.channel_dim);
    case Kind::per_token: return fmt::format(" a scale for every {} inner dims", q.inner_dims);
    case Kind::per_channel_group:
      return fmt::format(" {} scales in groups of {}", q.scale_count, q.group_size);
  }
  return "";
}

std::string value_text(const XnnGraph& graph, const XnnValue& value) {
  std::string text =
      fmt::format("%{}: {}[{}]{}", value.id, xnn_dtype_name(value.dtype),
                  fmt::join(value.dims, ", "), quantization_text(value.quantization));
  if (value.dynamic_dtype != XnnDType::invalid)
    text += fmt::format(" read as {}", xnn_dtype_name(value.dynamic_dtype));
  if (value.is_input()) text += fmt::format(" = input {}", value.external_id);
  if (value.is_output()) text += fmt::format(" = output {}", value.external_id);
  if (value.constant) {
    const XnnConstant& constant = graph.constants[value.constant];
    text += constant.named ? fmt::format(" = \"{}\"", short_key(constant.key))
                           : fmt::format(" = {} bytes", constant.bytes.size());
  }
  return text;
}

std::string names(const XnnGraph& graph, const std::vector<uint32_t>& values) {
  std::string text;
  for (uint32_t v : values) {
    if (!text.empty()) text += ", ";
    text += v == kXnnNoValue ? "none" : fmt::format("%{}", graph.values[v].id);
  }
  return text;
}

std::string window_text(const XnnWindow& w, bool conv) {
  std::string text =
      fmt::format(" kernel {}x{} stride {}x{} padding {},{},{},{} dilation {}x{}", w.kernel[0],
                  w.kernel[1], w.stride[0], w.stride[1], w.padding_top, w.padding_right,
                  w.padding_bottom, w.padding_left, w.dilation[0], w.dilation[1]);
  if (conv)
    text += fmt::format(" groups {} of {} to {}", w.groups, w.group_inputs, w.group_outputs);
  if (w.adjustment[0] || w.adjustment[1])
    text += fmt::format(" adjustment {}x{}", w.adjustment[0], w.adjustment[1]);
  return text;
}

std::string node_text(const XnnGraph& graph, const XnnNode& node) {
  std::string text = fmt::format("{} = {}({})", names(graph, node.outputs),
                                 xnn_node_name(node.kind), names(graph, node.inputs));
  switch (node.kind) {
    case XnnNodeKind::conv2d:
    case XnnNodeKind::depthwise_conv2d:
    case XnnNodeKind::conv_transpose2d: text += window_text(node.window, true); break;
    case XnnNodeKind::avg_pool:
    case XnnNodeKind::max_pool:
    case XnnNodeKind::argmax_pool: text += window_text(node.window, false); break;
    case XnnNodeKind::transpose:
      text += fmt::format(" order {}", fmt::join(node.first, ","));
      break;
    case XnnNodeKind::reshape: text += fmt::format(" to [{}]", fmt::join(node.first, ", ")); break;
    case XnnNodeKind::resize_bilinear:
      text += fmt::format(" to {}x{}", node.first[0], node.first[1]);
      break;
    case XnnNodeKind::pad:
      text += fmt::format(" by [{}] and [{}] with {}", fmt::join(node.first, ", "),
                          fmt::join(node.second, ", "), node.number);
      break;
    case XnnNodeKind::slice:
      text += fmt::format(" from [{}] of [{}]", fmt::join(node.first, ", "),
                          fmt::join(node.second, ", "));
      break;
    case XnnNodeKind::leaky_relu: text += fmt::format(" slope {}", node.number); break;
    case XnnNodeKind::elu: text += fmt::format(" alpha {}", node.number); break;
    case XnnNodeKind::concatenate2:
    case XnnNodeKind::concatenate3:
    case XnnNodeKind::concatenate4:
    case XnnNodeKind::concatenate5: text += fmt::format(" axis {}", node.axis); break;
    default: break;
  }
  if (node.limited) text += fmt::format(" limits {} to {}", node.min, node.max);
  if (node.flags) text += fmt::format(" flags {:#x}", node.flags);
  return text;
}

}  // namespace

const char* xnn_node_name(XnnNodeKind kind) { return kNodeNames[size_t(kind)]; }
const char* xnn_dtype_name(XnnDType dtype) { return kDTypes[size_t(dtype)].name; }
int xnn_dtype_bits(XnnDType dtype) { return kDTypes[size_t(dtype)].bits; }

std::string print_xnnpack(const XnnGraph& graph) {
  std::string text =
      fmt::format("{} {} nodes, {} values, {} external\n", graph.old_form ? "XN00" : "XN01",
                  graph.nodes.size(), graph.values.size(), graph.external_count);
  for (const XnnValue& value : graph.values) text += value_text(graph, value) + "\n";
  for (const XnnNode& node : graph.nodes) text += node_text(graph, node) + "\n";
  return text;
}

}  // namespace sconce
