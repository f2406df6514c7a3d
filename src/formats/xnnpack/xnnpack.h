// XNNPACK payloads: what ExecuTorch's XnnpackBackend stores in a .pte. Layout and source:
// format.md.
//
// A payload is a graph of XNNPACK nodes over values; its constants stand in the payload, or are
// named and stand in the program's named data. Reading proves the structure: every id, index, range
// and rank means something. What a node makes of its values is the business of who runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

// X(name, shape): the kinds of nodes in the order of their tags (from 1), and the table they have.
#define SCONCE_XNNPACK_NODES(X) \
  X(add, two)                   \
  X(fully_connected, linear)    \
  X(softmax, one)               \
  X(sigmoid, one)               \
  X(transpose, transpose)       \
  X(clamp, one)                 \
  X(conv2d, conv)               \
  X(divide, two)                \
  X(resize_bilinear, resize)    \
  X(pad, pad)                   \
  X(avg_pool, pool)             \
  X(minimum, two)               \
  X(depthwise_conv2d, conv)     \
  X(max_pool, pool)             \
  X(multiply, two)              \
  X(subtract, two)              \
  X(floor, one)                 \
  X(convert, one)               \
  X(global_avg_pool, one)       \
  X(reshape, reshape)           \
  X(argmax_pool, argmax_pool)   \
  X(sqrt, one)                  \
  X(ceil, one)                  \
  X(hardswish, one)             \
  X(leaky_relu, leaky_relu)     \
  X(maximum, two)               \
  X(negate, one)                \
  X(square, one)                \
  X(elu, elu)                   \
  X(abs, one)                   \
  X(prelu, two)                 \
  X(concatenate2, cat)          \
  X(concatenate3, cat)          \
  X(concatenate4, cat)          \
  X(slice, slice)               \
  X(attention, attention)       \
  X(batch_matmul, two)          \
  X(concatenate5, cat)          \
  X(conv_transpose2d, conv)     \
  X(rsqrt, one)                 \
  X(log, one)                   \
  X(gelu, one)                  \
  X(tanh, one)                  \
  X(exp, one)                   \
  X(sin, one)                   \
  X(copy, one)                  \
  X(cos, one)

enum class XnnNodeKind : uint8_t {
  none,
#define SCONCE_ROW(name, shape) name,
  SCONCE_XNNPACK_NODES(SCONCE_ROW)
#undef SCONCE_ROW
};
const char* xnn_node_name(XnnNodeKind kind);

// Element types, in XNNPACK's numbers: q quantised, c per channel, d dynamically, b in blocks.
enum class XnnDType : uint8_t {
  invalid,
  f32,
  f16,
  qint8,
  quint8,
  qint32,
  qcint8,
  qcint32,
  qcint4,
  qdint8,
  qbint4,
  qpint8,
  int32,
  pf32,
  bf16,
};
inline constexpr int kXnnDTypeCount = 15;
const char* xnn_dtype_name(XnnDType dtype);
// Bits of one element; 0 for types whose bytes only XNNPACK knows (qpint8, pf32).
int xnn_dtype_bits(XnnDType dtype);

inline constexpr char kXnnBackendId[] = "XnnpackBackend";  // of delegates with such payloads
inline constexpr uint32_t kXnnNoValue = 0xffffffff;
inline constexpr int kXnnRankMax = 6;
inline constexpr uint32_t kXnnExternalInput = 1, kXnnExternalOutput = 2;

struct XnnQuantization {
  enum class Kind : uint8_t { none, per_channel, per_tensor, per_token, per_channel_group };
  Kind kind = Kind::none;
  float scale = 0;          // per tensor: > 0
  int32_t zero_point = 0;   // per tensor
  int32_t channel_dim = 0;  // per channel and group: a dimension of the value
  int32_t group_size = 0;   // elements of the inner dimension that share a scale
  int32_t inner_dims = 0;   // per token: dimensions, from the last, that share a scale
  // Scales of channels (f32) and groups (bf16 bits): inline, or a constant of the payload.
  std::vector<float> scales;
  uint32_t scale_constant = 0;  // 0 = inline
  uint32_t scale_count = 0;
};

struct XnnValue {
  uint32_t id = 0;  // what nodes call it; unique
  XnnDType dtype = XnnDType::f32;
  // In XNNPACK's order (NHWC images); sizes at export for values that are computed.
  std::vector<uint32_t> dims;
  uint32_t constant = 0;               // index into XnnGraph::constants; 0 = computed
  uint32_t external_id = kXnnNoValue;  // argument of the delegate's call
  uint32_t flags = 0;                  // kXnnExternalInput, kXnnExternalOutput
  // Old payloads: an f32 or f16 input that nodes read quantised per row to this type.
  XnnDType dynamic_dtype = XnnDType::invalid;
  XnnQuantization quantization;

  bool is_input() const { return flags & kXnnExternalInput; }
  bool is_output() const { return flags & kXnnExternalOutput; }
};

// Heights come before widths.
struct XnnWindow {
  uint32_t padding_top = 0, padding_right = 0, padding_bottom = 0, padding_left = 0;
  uint32_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  uint32_t adjustment[2] = {0, 0};  // conv_transpose2d: added to the output's sizes
  uint32_t group_inputs = 0, group_outputs = 0, groups = 1;
};

struct XnnNode {
  XnnNodeKind kind = XnnNodeKind::none;
  uint32_t debug_handle = 0;
  // Positions in XnnGraph::values, kXnnNoValue for an absent bias or mask. Linear and conv: input,
  // filter, bias. prelu: input, slope. attention: query, key, value, scale, mask.
  std::vector<uint32_t> inputs, outputs;
  uint32_t flags = 0;  // XNNPACK's, of the node's kind
  bool limited = false;
  float min = 0, max = 0;  // of the output, if limited
  XnnWindow window;        // conv, pool, argmax_pool
  float number = 0;        // slope, alpha, value of padding
  uint32_t axis = 0;       // cat
  // transpose: order. reshape: dims. pad: before. slice: offsets. resize: height, width.
  std::vector<uint32_t> first;
  std::vector<uint32_t> second;  // pad: after. slice: sizes.
};

struct XnnConstant {
  std::string key;     // of named data; else
  bool named = false;  // in the payload:
  Bytes bytes;
};

struct XnnGraph {
  bool old_form = false;  // XN00
  std::string version;
  std::vector<XnnNode> nodes;
  std::vector<XnnValue> values;
  std::vector<XnnConstant> constants;  // the first stands for "none"
  uint32_t external_count = 0;
  std::vector<uint32_t> inputs, outputs;  // ids, as the payload lists them
  // Constants view the payload, or this copy of a payload that was not aligned.
  std::shared_ptr<std::vector<uint8_t>> copy;
};

// The graph of a whole payload, which outlives it.
Result<XnnGraph> read_xnnpack(Bytes payload);
// The payload of a graph whose constants are all named (but for the first). Stock runs it.
std::vector<uint8_t> write_xnnpack(const XnnGraph& graph);
// One line a value and a node, for people.
std::string print_xnnpack(const XnnGraph& graph);

}  // namespace sconce
