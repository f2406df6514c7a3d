// Loading: constants are found, nodes are checked against their values, memory is shared out.
#include <cmath>
#include <cstring>

#include "base/little_endian.h"
#include "targets/xnnpack/run/runner.h"
#include "tensor/half.h"

namespace sconce::xnn {

Result<std::unique_ptr<XnnRunner>> XnnRunner::make(Bytes payload, const FindData& find,
                                                   uint64_t bytes_max) {
  auto runner = std::make_unique<XnnRunner>();
  runner->bytes_max_ = bytes_max;
  TRY_VOID(runner->load(payload, find));
  return runner;
}

Result<void> XnnRunner::load(Bytes payload, const FindData& find) {
  TRY(graph_, read_xnnpack(payload));
  expand_dynamic_inputs();
  values_.resize(graph_.values.size());
  for (size_t i = 0; i < values_.size(); i++) {
    const XnnValue& declared = graph_.values[i];
    TRY_VOID(
        load_value(declared, values_[i], find).with_context(fmt::format("value %{}", declared.id)));
  }
  TRY_VOID(check_order());
  for (size_t i = 0; i < graph_.nodes.size(); i++)
    TRY_VOID(
        check_node(graph_.nodes[i])
            .with_context(fmt::format("node {} ({})", i, xnn_node_name(graph_.nodes[i].kind))));
  plan_blocks();
  return {};
}

// Old payloads have no node where a dynamic value is quantised: one is put in front.
void XnnRunner::expand_dynamic_inputs() {
  std::vector<XnnNode> converts;
  for (size_t i = 0, count = graph_.values.size(); i < count; i++) {
    if (graph_.values[i].dynamic_dtype == XnnDType::invalid) continue;
    XnnValue quantized;
    quantized.id = graph_.values[i].id;
    quantized.dtype = XnnDType::qdint8;
    quantized.dims = graph_.values[i].dims;
    quantized.quantization.kind = XnnQuantization::Kind::per_token;
    quantized.quantization.inner_dims = 1;
    for (XnnNode& node : graph_.nodes)
      for (uint32_t& input : node.inputs)
        if (input == i) input = uint32_t(graph_.values.size());
    XnnNode& convert = converts.emplace_back();
    convert.kind = XnnNodeKind::convert;
    convert.inputs = {uint32_t(i)};
    convert.outputs = {uint32_t(graph_.values.size())};
    graph_.values.push_back(std::move(quantized));
  }
  graph_.nodes.insert(graph_.nodes.begin(), converts.begin(), converts.end());
}

// A copy that is aligned for any type.
uint8_t* XnnRunner::keep(Bytes bytes) {
  Block& block = *kept_.emplace_back(std::make_unique<Block>());
  block.bytes.resize(bytes.size() + 64);
  block.at = block.bytes.data();
  block.at += (64 - reinterpret_cast<uintptr_t>(block.at) % 64) % 64;
  if (!bytes.empty()) memcpy(block.at, bytes.data(), bytes.size());
  return block.at;
}

Result<Bytes> XnnRunner::constant_bytes(uint32_t index, const FindData& find) const {
  const XnnConstant& constant = graph_.constants[index];
  if (!constant.named) return constant.bytes;
  Bytes found = find(constant.key);
  if (!found.data())
    return error(Code::not_found,
                 "its constant \"{}\" is neither in the program nor in a data file", constant.key);
  return found;
}

Result<void> XnnRunner::load_scales(RunValue& value, const FindData& find) {
  const XnnQuantization& q = value.declared->quantization;
  bool grouped = q.kind == XnnQuantization::Kind::per_channel_group;
  value.scales = q.scales;
  if (q.scale_constant) {
    TRY(Bytes bytes, constant_bytes(q.scale_constant, find));
    size_t each = grouped ? 2 : 4;
    if (bytes.size() / each < q.scale_count)
      return error(Code::invalid_file, "{} bytes of scales, want {}", bytes.size(),
                   uint64_t(q.scale_count) * each);
    value.scales.resize(q.scale_count);
    for (size_t i = 0; i < value.scales.size(); i++)
      value.scales[i] = grouped ? to_float(bf16_t{load_little<uint16_t>(bytes.data() + 2 * i)})
                                : std::bit_cast<float>(load_little<uint32_t>(bytes.data() + 4 * i));
  } else if (grouped) {  // older payloads: f32, which XNNPACK keeps as bf16
    for (float& scale : value.scales) scale = to_float(to_bf16(scale));
  }
  for (float scale : value.scales)
    if (!(std::isfinite(scale) && scale > 0))
      return error(Code::invalid_file, "a scale is {}, want a positive number", scale);
  return {};
}

Result<void> XnnRunner::load_value(const XnnValue& declared, RunValue& value,
                                   const FindData& find) {
  value.declared = &declared;
  value.dtype = declared.dtype;
  value.rank = int(declared.dims.size());
  for (int i = 0; i < value.rank; i++) value.sizes[i] = int32_t(declared.dims[size_t(i)]);
  const XnnQuantization& q = declared.quantization;
  value.inner_dims = q.inner_dims;
  if (q.kind == XnnQuantization::Kind::per_tensor) value.scale = q.scale, value.zero = q.zero_point;
  if (value.dtype == XnnDType::pf32)
    return error(Code::unsupported, "pf32 lies in memory as only XNNPACK knows");
  bool channelwise = q.kind == XnnQuantization::Kind::per_channel ||
                     q.kind == XnnQuantization::Kind::per_channel_group;
  if (channelwise) {
    if (!declared.constant)
      return error(Code::unsupported, "{} that is no constant", xnn_dtype_name(value.dtype));
    TRY_VOID(load_scales(value, find));
  }
  if (declared.constant) {
    TRY(Bytes bytes, constant_bytes(declared.constant, find));
    if (bytes.size() < bytes_of(value))
      return error(Code::invalid_file, "its constant has {} bytes, {} wants {}", bytes.size(),
                   xnn_dtype_name(value.dtype), bytes_of(value));
    bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % 16 == 0;
    value.data = aligned && !bytes.empty() ? const_cast<uint8_t*>(bytes.data()) : keep(bytes);
  }
  return {};
}

// Every value is written once, before it is read.
Result<void> XnnRunner::check_order() {
  std::vector<bool> known(values_.size());
  for (size_t i = 0; i < values_.size(); i++)
    known[i] = graph_.values[i].constant || graph_.values[i].is_input();
  for (size_t n = 0; n < graph_.nodes.size(); n++) {
    const XnnNode& node = graph_.nodes[n];
    auto problem = [&](uint32_t value, const char* what) {
      return error(Code::invalid_file, "node {} ({}): value %{} {}", n, xnn_node_name(node.kind),
                   graph_.values[value].id, what);
    };
    for (uint32_t v : node.inputs)
      if (v != kXnnNoValue && !known[v]) return problem(v, "is read before it is written");
    for (uint32_t v : node.outputs) {
      if (known[v]) return problem(v, "is written, and it has its data already");
      known[v] = true;
    }
  }
  for (size_t i = 0; i < values_.size(); i++)
    if (graph_.values[i].is_output() && !known[i])
      return error(Code::invalid_file, "output %{} is never written", graph_.values[i].id);
  return {};
}

// Inputs, filter, bias and output of a product belong together.
Result<void> XnnRunner::check_product(const XnnNode& node) const {
  const RunValue &input = in(node, 0), &filter = in(node, 1), &output = out(node);
  const RunValue* bias = find_in(node, 2);
  bool fits = false;
  XnnDType b = bias ? bias->dtype : XnnDType::invalid;
  if (is_float(input.dtype))
    fits = (is_float(filter.dtype) || is_channelwise(filter.dtype)) && is_float(output.dtype) &&
           (!bias || is_float(b));
  else if (is_static_int8(input.dtype))
    fits = (filter.dtype == input.dtype ||
            (input.dtype == XnnDType::qint8 && filter.dtype == XnnDType::qcint8)) &&
           output.dtype == input.dtype &&
           (!bias || b == XnnDType::qint32 || b == XnnDType::qcint32 || b == XnnDType::int32);
  else if (is_dynamic_int8(input.dtype))
    fits = (filter.dtype == XnnDType::qint8 || is_channelwise(filter.dtype)) &&
           is_float(output.dtype) && (!bias || is_float(b));
  if (!fits)
    return error(Code::unsupported, "{} by {} with bias {} to {}", xnn_dtype_name(input.dtype),
                 xnn_dtype_name(filter.dtype), xnn_dtype_name(b), xnn_dtype_name(output.dtype));
  if (filter.declared->constant == 0 && !is_float(filter.dtype))
    return error(Code::unsupported, "a quantised filter that is no constant");
  if (is_channelwise(filter.dtype)) {
    int dim = filter.declared->quantization.channel_dim;
    bool last = node.kind == XnnNodeKind::depthwise_conv2d ||
                (node.kind == XnnNodeKind::fully_connected && (node.flags & 1));
    if (dim != (last ? filter.rank - 1 : 0))
      return error(Code::unsupported, "scales along dimension {} of the filter", dim);
    if (filter.dtype == XnnDType::qbint4 && node.kind != XnnNodeKind::fully_connected)
      return error(Code::unsupported, "groups of scales in a convolution");
  }
  return {};
}

Result<void> XnnRunner::check_node(const XnnNode& node) const {
  const RunValue &a = in(node, 0), &o = out(node);
  auto types = [&](bool fit) -> Result<void> {
    if (fit) return {};
    std::string given;
    for (uint32_t v : node.inputs)
      given += fmt::format("{} ", v == kXnnNoValue ? "none" : xnn_dtype_name(values_[v].dtype));
    return error(Code::unsupported, "{}to {}", given, xnn_dtype_name(o.dtype));
  };
  auto same_all = [&] {
    for (uint32_t v : node.inputs)
      if (v != kXnnNoValue && values_[v].dtype != o.dtype) return false;
    return true;
  };
  bool real = is_float(o.dtype) || is_static_int8(o.dtype);
  switch (node.kind) {
    case XnnNodeKind::none: break;
    case XnnNodeKind::fully_connected:
    case XnnNodeKind::conv2d:
    case XnnNodeKind::depthwise_conv2d:
    case XnnNodeKind::conv_transpose2d: return check_product(node);
    case XnnNodeKind::convert:
      return types((is_float(a.dtype) || is_static_int8(a.dtype) || a.dtype == XnnDType::int32) &&
                   (real || is_dynamic_int8(o.dtype) || o.dtype == XnnDType::int32));
    case XnnNodeKind::argmax_pool:
      return types(is_float(o.dtype) && same_all() && out(node, 1).dtype == XnnDType::int32);
    case XnnNodeKind::batch_matmul:
      return types(is_float(a.dtype) && is_float(o.dtype) &&
                   (is_float(in(node, 1).dtype) || in(node, 1).dtype == XnnDType::qcint8));
    case XnnNodeKind::attention: return types(same_all() && is_float(o.dtype));
    case XnnNodeKind::transpose:
    case XnnNodeKind::reshape:
    case XnnNodeKind::slice:
    case XnnNodeKind::copy:
    case XnnNodeKind::pad:
    case XnnNodeKind::concatenate2:
    case XnnNodeKind::concatenate3:
    case XnnNodeKind::concatenate4:
    case XnnNodeKind::concatenate5:
    case XnnNodeKind::max_pool:
      // Bytes move as they are, so the two ends mean the same by them.
      TRY_VOID(types(same_all() && (real || o.dtype == XnnDType::int32)));
      for (uint32_t v : node.inputs)
        if (values_[v].scale != o.scale || values_[v].zero != o.zero)
          return error(Code::invalid_file,
                       "scale {} and zero point {} of an input, {} and {} of the output",
                       values_[v].scale, values_[v].zero, o.scale, o.zero);
      return {};
    default: return types(same_all() && real);
  }
  return error(Code::internal, "no kind");
}

// Values that are not alive together share a block.
void XnnRunner::plan_blocks() {
  std::vector<int> last_use(values_.size(), -1);
  for (size_t n = 0; n < graph_.nodes.size(); n++)
    for (const auto* list : {&graph_.nodes[n].inputs, &graph_.nodes[n].outputs})
      for (uint32_t v : *list)
        if (v != kXnnNoValue) last_use[v] = int(n);
  block_of_.assign(values_.size(), -1);
  std::vector<int> free;
  for (size_t n = 0; n < graph_.nodes.size(); n++) {
    for (uint32_t v : graph_.nodes[n].outputs) {
      if (graph_.values[v].is_output()) last_use[v] = int(graph_.nodes.size());
      if (free.empty()) {
        free.push_back(int(blocks_.size()));
        blocks_.emplace_back();
      }
      block_of_[v] = free.back();
      free.pop_back();
    }
    for (size_t v = 0; v < values_.size(); v++)
      if (last_use[v] == int(n) && block_of_[v] >= 0) free.push_back(block_of_[v]);
  }
}

}  // namespace sconce::xnn
