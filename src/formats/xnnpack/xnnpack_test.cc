#include "formats/xnnpack/xnnpack.h"

#include <cstring>
#include <filesystem>
#include <functional>

#include <gtest/gtest.h>

#include "base/file.h"
#include "xnnpack_generated.h"

namespace sconce {
namespace {

namespace fb = xnnpack::fb;

// Tables that a test changes before they are written: y = clamp(x + w), w the second constant.
struct Parts {
  fb::TensorValueT x, w, y;
  fb::TwoT add;
  fb::LimitsT limits;
  fb::GraphT graph;
  std::vector<fb::ConstantT> constants;
  const char* identifier = "XN01";
  fb::AnyNode tag = fb::AnyNode_add;
  std::unique_ptr<fb::PerTensorT> quantization;  // of w
  uint32_t region_offset = 0, extra_region = 0;

  Parts() {
    auto value = [](fb::TensorValueT& v, uint32_t id, uint32_t flags, uint32_t constant) {
      v.dtype = 1, v.rank = 2, v.dims = {2, 3}, v.id = id, v.flags = flags, v.constant = constant;
      v.external_id = flags ? id : kXnnNoValue;
    };
    value(x, 0, kXnnExternalInput, 0);
    value(w, 2, 0, 1);
    value(y, 1, kXnnExternalOutput, 0);
    add.a = 0, add.b = 2, add.output = 1;
    limits.min = 0, limits.max = 6;
    graph.version = "0";
    graph.external_count = 2;
    constants.resize(2);
    constants[1].offset = 0, constants[1].size = 24;
  }
};

// Header, tables, 24 bytes of constants.
std::vector<uint8_t> payload_of(const Parts& parts) {
  flatbuffers::FlatBufferBuilder b;
  std::vector<flatbuffers::Offset<fb::Value>> values;
  for (const fb::TensorValueT* v : {&parts.x, &parts.w, &parts.y}) {
    auto tensor = fb::CreateTensorValue(b, v);
    if (v == &parts.w && parts.quantization) {
      auto how = fb::CreatePerTensor(b, parts.quantization.get());
      auto value = fb::CreateQuantizedValue(b, tensor, fb::Quantization_PerTensor, how.Union());
      values.push_back(fb::CreateValue(b, fb::AnyValue_QuantizedValue, value.Union()));
    } else {
      values.push_back(fb::CreateValue(b, fb::AnyValue_TensorValue, tensor.Union()));
    }
  }
  std::vector<flatbuffers::Offset<fb::Node>> nodes = {fb::CreateNode(
      b, parts.tag, fb::CreateTwo(b, &parts.add).Union(), 7, fb::CreateLimits(b, &parts.limits))};
  std::vector<flatbuffers::Offset<fb::Constant>> constants;
  for (const fb::ConstantT& c : parts.constants) {
    flatbuffers::Offset<flatbuffers::String> key = 0;
    if (!c.key.empty()) key = b.CreateString(c.key);
    constants.push_back(fb::CreateConstant(b, c.offset, c.size, key));
  }
  std::vector<uint32_t> inputs = {0}, outputs = {1};
  b.Finish(fb::CreateGraphDirect(b, "0", &nodes, &values, parts.graph.external_count, &inputs,
                                 &outputs, nullptr, nullptr, &constants),
           parts.identifier);
  std::vector<uint8_t> payload(32);
  uint32_t offset = 32, size = b.GetSize();
  uint32_t region = (offset + size + 15) / 16 * 16 + parts.region_offset;
  uint64_t region_bytes = 24 + parts.extra_region;
  memcpy(&payload[4], "XH00", 4);
  payload[8] = 30;
  memcpy(&payload[10], &offset, 4);
  memcpy(&payload[14], &size, 4);
  memcpy(&payload[18], &region, 4);
  memcpy(&payload[22], &region_bytes, 8);
  payload.insert(payload.end(), b.GetBufferPointer(), b.GetBufferPointer() + size);
  payload.resize((offset + size + 15) / 16 * 16 + 24);
  return payload;
}

TEST(Xnnpack, reads_values_nodes_and_constants) {
  std::vector<uint8_t> payload = payload_of({});
  auto graph = read_xnnpack(payload);
  ASSERT_TRUE(graph.ok()) << graph.error().text;
  ASSERT_EQ(graph->values.size(), 3u);
  EXPECT_EQ(graph->values[1].id, 2u);
  EXPECT_EQ(graph->values[1].dims, (std::vector<uint32_t>{2, 3}));
  EXPECT_EQ(graph->constants[1].bytes.data(), payload.data() + payload.size() - 24);
  ASSERT_EQ(graph->nodes.size(), 1u);
  const XnnNode& node = graph->nodes[0];
  EXPECT_EQ(node.kind, XnnNodeKind::add);
  EXPECT_EQ(node.inputs, (std::vector<uint32_t>{0, 1}));  // positions, not ids
  EXPECT_EQ(node.outputs, (std::vector<uint32_t>{2}));
  EXPECT_TRUE(node.limited);
  EXPECT_EQ(node.max, 6);
  EXPECT_EQ(print_xnnpack(*graph),
            "XN01 1 nodes, 3 values, 2 external\n"
            "%0: f32[2, 3] = input 0\n%2: f32[2, 3] = 24 bytes\n%1: f32[2, 3] = output 1\n"
            "%1 = add(%0, %2) limits 0 to 6\n");
}

TEST(Xnnpack, reads_old_payloads_and_bare_tables) {
  Parts parts;
  parts.identifier = "XN00";
  auto graph = read_xnnpack(payload_of(parts));
  ASSERT_TRUE(graph.ok()) << graph.error().text;
  EXPECT_TRUE(graph->old_form);
  std::vector<uint8_t> payload = payload_of({});
  std::vector<uint8_t> bare(payload.begin() + 32, payload.end() - 24);
  auto refused = read_xnnpack(bare);  // its constant has nowhere to be
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().text.find("constant 1: 24 bytes at 0 of 0"), std::string::npos)
      << refused.error().text;
}

TEST(Xnnpack, reads_the_same_at_any_address) {
  std::vector<uint8_t> payload = payload_of({});
  for (size_t shift : {1, 2, 7, 8}) {
    std::vector<uint8_t> moved(shift);
    moved.insert(moved.end(), payload.begin(), payload.end());
    auto graph = read_xnnpack(Bytes(moved).subspan(shift));
    ASSERT_TRUE(graph.ok()) << graph.error().text;
    EXPECT_EQ(graph->nodes.size(), 1u);
  }
}

TEST(Xnnpack, reads_a_named_constant_by_its_key) {
  Parts parts;
  parts.constants[1].key = "weights";
  parts.constants[1].offset = UINT64_MAX;
  auto graph = read_xnnpack(payload_of(parts));
  ASSERT_TRUE(graph.ok()) << graph.error().text;
  EXPECT_TRUE(graph->constants[1].named);
  EXPECT_EQ(graph->constants[1].key, "weights");
}

TEST(Xnnpack, writes_what_it_read) {
  size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(SCONCE_SOURCE_DIR "/tests/fuzz/corpus/xnnpack")) {
    auto file = map_file(entry.path().string());
    ASSERT_TRUE(file.ok());
    auto graph = read_xnnpack(file->bytes());
    ASSERT_TRUE(graph.ok()) << entry.path() << ": " << graph.error().text;
    std::vector<uint8_t> payload = write_xnnpack(*graph);
    auto again = read_xnnpack(payload);
    ASSERT_TRUE(again.ok()) << again.error().text;
    EXPECT_EQ(print_xnnpack(*again), print_xnnpack(*graph));
    EXPECT_EQ(write_xnnpack(*again), payload);
    count++;
  }
  EXPECT_GE(count, 20u);
}

TEST(Xnnpack, refuses_every_lie_and_names_it) {
  struct Lie {
    const char* said;
    std::function<void(Parts&)> tell;
  };
  auto quantize = [](Parts& p, float scale, int zero) {
    p.w.dtype = int16_t(XnnDType::qint8);
    p.quantization = std::make_unique<fb::PerTensorT>();
    p.quantization->scale = scale, p.quantization->zero_point = zero;
  };
  const Lie lies[] = {
      {"XN00 or XN01 is wanted", [](Parts& p) { p.identifier = "XN02"; }},
      {"constants: 24 bytes at", [](Parts& p) { p.region_offset = 16; }},
      {"constants: 25 bytes at", [](Parts& p) { p.extra_region = 1; }},
      {"constant 1: 25 bytes at 0 of 24", [](Parts& p) { p.constants[1].size = 25; }},
      {"constant 1: 8 bytes at 18446744073709551615",
       [](Parts& p) { p.constants[1].offset = UINT64_MAX, p.constants[1].size = 8; }},
      {"constant 1: has both a key \"w\" and an offset 0",
       [](Parts& p) { p.constants[1].key = "w"; }},
      {"value 1: constant 9, there are 2", [](Parts& p) { p.w.constant = 9; }},
      {"value 1: dtype 15 is not known", [](Parts& p) { p.w.dtype = 15; }},
      {"value 1: dtype -1 is not known", [](Parts& p) { p.w.dtype = -1; }},
      {"value 1: has no dtype", [](Parts& p) { p.w.dtype = 0; }},
      {"value 1: rank 3 with 2 dimensions", [](Parts& p) { p.w.rank = 3; }},
      {"value 1: rank 7 exceeds 6",
       [](Parts& p) { p.w.rank = 7, p.w.dims = std::vector<uint32_t>(7, 1); }},
      {"value 1: dimensions [2147483647, 2147483647] are too large",
       [](Parts& p) {
         p.w.dims = {INT32_MAX, INT32_MAX};
       }},
      {"value 0: flags 0x5 are not known", [](Parts& p) { p.x.flags = 5; }},
      {"value 0: is both an input and an output", [](Parts& p) { p.x.flags = 3; }},
      {"value 0: is both constant and external", [](Parts& p) { p.x.constant = 1; }},
      {"value 0: external id 2 of 2", [](Parts& p) { p.x.external_id = 2; }},
      {"value 2: there are two with external id 0", [](Parts& p) { p.y.external_id = 0; }},
      {"value 2: there are two with id 2", [](Parts& p) { p.y.id = 2; }},
      {"4097 external values exceed 4096", [](Parts& p) { p.graph.external_count = 4097; }},
      {"value 1: qint8 without quantization",
       [](Parts& p) { p.w.dtype = int16_t(XnnDType::qint8); }},
      {"value 1: scale 0,", [&](Parts& p) { quantize(p, 0, 0); }},
      {"value 1: zero point 128 of qint8", [&](Parts& p) { quantize(p, 1, 128); }},
      {"value 1: f32 with quantization",
       [&](Parts& p) { quantize(p, 1, 0), p.w.dtype = int16_t(XnnDType::f32); }},
      {"node 0 (add): second input is value 9", [](Parts& p) { p.add.b = 9; }},
      {"node 0 (add): limits 0 to -1", [](Parts& p) { p.limits.max = -1; }},
      {"kind 99 is not known", [](Parts& p) { p.tag = fb::AnyNode(99); }},
  };
  for (const Lie& lie : lies) {
    Parts parts;
    lie.tell(parts);
    auto read = read_xnnpack(payload_of(parts));
    ASSERT_FALSE(read.ok()) << lie.said;
    EXPECT_NE(read.error().text.find(lie.said), std::string::npos) << read.error().text;
  }
}

}  // namespace
}  // namespace sconce
