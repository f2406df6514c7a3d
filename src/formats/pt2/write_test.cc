// What is written reads back as what it was written of.
#include "formats/pt2/write.h"

#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"

namespace sconce::pt2 {
namespace {

void expect_same(const Argument& a, const Argument& b) {
  ASSERT_EQ(kind_name(a.kind), kind_name(b.kind));
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.text, b.text);
  if (a.kind == Argument::Kind::floating)
    EXPECT_EQ(memcmp(&a.floating, &b.floating, 8), 0) << a.floating << " " << b.floating;
  if (a.kind == Argument::Kind::integer) EXPECT_EQ(a.integer, b.integer);
  if (a.kind == Argument::Kind::boolean) EXPECT_EQ(a.boolean, b.boolean);
  if (a.kind == Argument::Kind::dtype) EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.imaginary, b.imaginary);
  ASSERT_EQ(a.items.size(), b.items.size());
  for (size_t i = 0; i < a.items.size(); i++) expect_same(a.items[i], b.items[i]);
}

void expect_same(Span<const Argument> a, Span<const Argument> b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); i++) expect_same(a[i], b[i]);
}

void expect_same(const TensorMeta& a, const TensorMeta& b) {
  EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.layout, b.layout);
  EXPECT_EQ(a.requires_grad, b.requires_grad);
  EXPECT_EQ(a.device.type, b.device.type);
  EXPECT_EQ(a.device.index, b.device.index);
  ASSERT_EQ(a.sizes.size(), b.sizes.size());
  for (size_t d = 0; d < a.sizes.size(); d++) {
    EXPECT_EQ(a.sizes[d].expr, b.sizes[d].expr);
    EXPECT_EQ(a.sizes[d].hint, b.sizes[d].hint);
    EXPECT_EQ(a.strides[d].expr, b.strides[d].expr);
    EXPECT_EQ(a.strides[d].hint, b.strides[d].hint);
  }
}

void expect_same(const Program& a, const Program& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.torch_version, b.torch_version);
  EXPECT_EQ(a.schema_minor, b.schema_minor);
  expect_same(a.graph.inputs, b.graph.inputs);
  expect_same(a.graph.outputs, b.graph.outputs);
  ASSERT_EQ(a.graph.nodes.size(), b.graph.nodes.size());
  for (size_t n = 0; n < a.graph.nodes.size(); n++) {
    const Node &x = a.graph.nodes[n], &y = b.graph.nodes[n];
    EXPECT_EQ(x.target, y.target);
    EXPECT_EQ(x.name, y.name);
    EXPECT_EQ(x.stack_trace, y.stack_trace);
    EXPECT_EQ(x.nn_module_stack, y.nn_module_stack);
    ASSERT_EQ(x.inputs.size(), y.inputs.size());
    for (size_t i = 0; i < x.inputs.size(); i++) {
      EXPECT_EQ(x.inputs[i].name, y.inputs[i].name);
      EXPECT_EQ(x.inputs[i].is_keyword, y.inputs[i].is_keyword);
      expect_same(x.inputs[i].value, y.inputs[i].value);
    }
    expect_same(x.outputs, y.outputs);
  }
  ASSERT_EQ(a.graph.tensor_values.size(), b.graph.tensor_values.size());
  for (const auto& [name, meta] : a.graph.tensor_values) {
    ASSERT_TRUE(find_tensor(b.graph, name)) << name;
    expect_same(meta, *find_tensor(b.graph, name));
  }
  ASSERT_EQ(a.inputs.size(), b.inputs.size());
  for (size_t i = 0; i < a.inputs.size(); i++) {
    EXPECT_EQ(a.inputs[i].kind, b.inputs[i].kind);
    EXPECT_EQ(a.inputs[i].target, b.inputs[i].target);
    EXPECT_EQ(a.inputs[i].persistent, b.inputs[i].persistent);
    expect_same(a.inputs[i].arg, b.inputs[i].arg);
  }
  ASSERT_EQ(a.outputs.size(), b.outputs.size());
  for (size_t i = 0; i < a.outputs.size(); i++) {
    EXPECT_EQ(a.outputs[i].kind, b.outputs[i].kind);
    EXPECT_EQ(a.outputs[i].target, b.outputs[i].target);
    expect_same(a.outputs[i].arg, b.outputs[i].arg);
  }
  ASSERT_EQ(a.range_constraints.size(), b.range_constraints.size());
  for (size_t i = 0; i < a.range_constraints.size(); i++) {
    EXPECT_EQ(a.range_constraints[i].value.min, b.range_constraints[i].value.min);
    EXPECT_EQ(a.range_constraints[i].value.max, b.range_constraints[i].value.max);
  }
  ASSERT_EQ(a.module_calls.size(), b.module_calls.size());
  for (size_t i = 0; i < a.module_calls.size(); i++) {
    EXPECT_EQ(a.module_calls[i].in_spec, b.module_calls[i].in_spec);
    EXPECT_EQ(a.module_calls[i].out_spec, b.module_calls[i].out_spec);
  }
  for (auto weights : {&Program::weights, &Program::constants}) {
    ASSERT_EQ((a.*weights).size(), (b.*weights).size());
    for (size_t i = 0; i < (a.*weights).size(); i++) {
      const Weight &x = (a.*weights)[i], &y = (b.*weights)[i];
      EXPECT_EQ(x.name, y.name);
      EXPECT_EQ(x.dtype, y.dtype);
      EXPECT_EQ(x.is_parameter, y.is_parameter);
      EXPECT_EQ(x.storage_offset, y.storage_offset);
      ASSERT_EQ(x.bytes.size(), y.bytes.size()) << x.name;
      if (!x.bytes.empty()) EXPECT_EQ(memcmp(x.bytes.data(), y.bytes.data(), x.bytes.size()), 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(y.storage.data()) % 16, 0u);
    }
  }
}

class Written : public testing::TestWithParam<const char*> {};

TEST_P(Written, reads_back) {
  auto file =
      map_file(SCONCE_SOURCE_DIR "/src/formats/pt2/testdata/" + std::string(GetParam()) + ".pt2");
  ASSERT_TRUE(file.ok());
  auto archive = read_archive(file->bytes());
  ASSERT_TRUE(archive.ok());
  auto written = write_archive(archive->programs[0]);
  ASSERT_TRUE(written.ok()) << written.error().text;
  auto again = read_archive(*written, {.verify_weights = true});
  ASSERT_TRUE(again.ok()) << again.error().text;
  expect_same(archive->programs[0], again->programs[0]);
}
INSTANTIATE_TEST_SUITE_P(Pt2, Written,
                         testing::Values("constants", "functional", "lists", "mutated_buffer",
                                         "mutated_input", "numbers", "options", "outputs",
                                         "parameters", "symbolic", "tied", "types"));

TEST(Pt2, refuses_to_write_control_flow) {
  auto file = map_file(SCONCE_SOURCE_DIR "/src/formats/pt2/testdata/cond.pt2");
  ASSERT_TRUE(file.ok());
  auto archive = read_archive(file->bytes());
  ASSERT_TRUE(archive.ok());
  auto written = write_archive(archive->programs[0]);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, Code::unsupported);
  EXPECT_NE(written.error().text.find("graph"), std::string::npos) << written.error().text;
}

}  // namespace
}  // namespace sconce::pt2
