// Good archives: every sample of testdata/ (made by make.py there) says what it was made to show.
#include "formats/pt2/pt2.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"

namespace sconce::pt2 {
namespace {

using Kind = Argument::Kind;

struct Sample {
  MappedFile file;
  Archive archive;
  const Program& program() const { return archive.programs[0]; }
  const Graph& graph() const { return program().graph; }
};

Sample read_sample(const std::string& name) {
  auto file = map_file(SCONCE_SOURCE_DIR "/src/formats/pt2/testdata/" + name + ".pt2");
  EXPECT_TRUE(file.ok());
  auto archive = read_archive(file->bytes(), {.verify_weights = true});
  EXPECT_TRUE(archive.ok()) << (archive.ok() ? "" : archive.error().text);
  if (!archive.ok()) std::abort();
  return {std::move(*file), std::move(*archive)};
}

const Node& node_with_target(const Graph& graph, std::string_view target) {
  for (const Node& node : graph.nodes)
    if (node.target == target) return node;
  ADD_FAILURE() << "no node " << target;
  static const Node none;
  return none;
}

float element(const Weight& weight, size_t index) {
  float value;
  std::memcpy(&value, weight.bytes.data() + 4 * index, 4);
  return value;
}

TEST(Pt2, reads_parameters_in_place) {
  Sample sample = read_sample("parameters");
  const Program& program = sample.program();
  EXPECT_EQ(program.name, "model");
  EXPECT_EQ(program.schema_major, 8);
  EXPECT_EQ(program.torch_version.substr(0, 4), "2.13");
  ASSERT_EQ(program.inputs.size(), 3u);
  EXPECT_EQ(program.inputs[0].kind, InputSpec::Kind::parameter);
  EXPECT_EQ(program.inputs[0].target, "linear.weight");
  EXPECT_EQ(program.inputs[2].kind, InputSpec::Kind::user_input);
  EXPECT_EQ(program.inputs[2].arg.name, "x");
  const Weight* weight = find_data(program, program.inputs[0]);
  ASSERT_TRUE(weight);
  EXPECT_TRUE(weight->is_parameter);
  EXPECT_TRUE(is_contiguous(*weight));
  EXPECT_EQ(weight->bytes.size(), 2u * 3 * 4);
  EXPECT_GE(weight->bytes.data(), sample.file.bytes().data());
  EXPECT_LT(weight->bytes.data(), sample.file.bytes().data() + sample.file.bytes().size());
  EXPECT_EQ(find_data(program, program.inputs[2]), nullptr);
  const Node& linear = sample.graph().nodes[0];
  EXPECT_EQ(linear.target, "torch.ops.aten.linear.default");
  ASSERT_EQ(linear.inputs.size(), 3u);
  EXPECT_EQ(linear.inputs[1].name, "weight");
  EXPECT_EQ(linear.inputs[1].value.name, "p_linear_weight");
  EXPECT_NE(linear.nn_module_stack.find("Linear"), std::string_view::npos);
  const TensorMeta* meta = find_tensor(sample.graph(), linear.outputs[0].name);
  ASSERT_TRUE(meta);
  EXPECT_EQ(meta->dtype, DType::f32);
  EXPECT_EQ(*meta->sizes[1].hint, 2);
  EXPECT_EQ(meta->device.type, "cpu");
}

TEST(Pt2, names_of_tied_weights_share_storage) {
  Sample sample = read_sample("tied");
  const Program& program = sample.program();
  const Weight* embedding = find_weight(program, "embedding.weight");
  const Weight* head = find_weight(program, "head.weight");
  const Weight* rows = find_weight(program, "rows");
  const Weight* columns = find_weight(program, "columns");
  ASSERT_TRUE(embedding && head && rows && columns);
  EXPECT_EQ(embedding->storage.data(), head->storage.data());
  EXPECT_EQ(embedding->bytes.data(), head->bytes.data());
  EXPECT_EQ(rows->storage.data(), embedding->storage.data());
  EXPECT_EQ(rows->storage_offset, 8);
  EXPECT_EQ(rows->bytes.data(), embedding->bytes.data() + 32);
  EXPECT_EQ(rows->bytes.size(), 48u);
  EXPECT_FALSE(is_contiguous(*columns));
  EXPECT_EQ(columns->bytes.size(), 96u);
  EXPECT_EQ(columns->strides[0], 1);
}

TEST(Pt2, finds_lifted_constants_and_buffers_that_are_not_saved) {
  Sample sample = read_sample("constants");
  const Program& program = sample.program();
  size_t constants = 0, unsaved = 0;
  for (const InputSpec& spec : program.inputs) {
    constants += spec.kind == InputSpec::Kind::tensor_constant;
    unsaved += spec.kind == InputSpec::Kind::buffer && !spec.persistent;
    EXPECT_EQ(find_data(program, spec) == nullptr, spec.kind == InputSpec::Kind::user_input);
  }
  EXPECT_EQ(constants, 2u);
  EXPECT_EQ(unsaved, 1u);
  const Weight* mask = find_constant(program, "mask");
  ASSERT_TRUE(mask);
  EXPECT_EQ(mask->dtype, DType::b8);
  EXPECT_EQ(mask->bytes[1], 0);
  EXPECT_EQ(find_weight(program, "scale")->dtype, DType::f16);
  EXPECT_EQ(find_constant(program, "table")->dtype, DType::i64);
}

TEST(Pt2, keeps_mutations_as_nodes_before_decomposition) {
  Sample buffer = read_sample("mutated_buffer"), input = read_sample("mutated_input");
  EXPECT_EQ(buffer.graph().nodes[0].target, "torch.ops.aten.add_.Tensor");
  EXPECT_EQ(buffer.program().outputs.size(), 1u);
  node_with_target(input.graph(), "torch.ops.aten.copy_.default");
}

TEST(Pt2, tells_mutations_of_a_functional_program_from_results) {
  Sample sample = read_sample("functional");
  Span<const OutputSpec> outputs = sample.program().outputs;
  ASSERT_EQ(outputs.size(), 3u);
  EXPECT_EQ(outputs[0].kind, OutputSpec::Kind::buffer_mutation);
  EXPECT_EQ(outputs[0].target, "count");
  EXPECT_EQ(outputs[1].kind, OutputSpec::Kind::user_input_mutation);
  EXPECT_EQ(outputs[1].target, "cache");
  EXPECT_EQ(outputs[2].kind, OutputSpec::Kind::user_output);
}

TEST(Pt2, keeps_expressions_and_bounds_of_symbolic_sizes) {
  Sample sample = read_sample("symbolic");
  const TensorMeta* x = find_tensor(sample.graph(), "x");
  ASSERT_TRUE(x);
  EXPECT_FALSE(x->sizes[0].is_constant());
  EXPECT_EQ(x->sizes[0].hint, 2);
  EXPECT_TRUE(x->sizes[1].is_constant());
  ASSERT_EQ(sample.program().range_constraints.size(), 2u);
  size_t unbounded = 0;
  for (const Named<Range>& range : sample.program().range_constraints) {
    if (!range.value.max)
      unbounded++;
    else
      EXPECT_EQ(*range.value.max, 16);
  }
  EXPECT_EQ(unbounded, 1u);
  const Node& zeros = node_with_target(sample.graph(), "torch.ops.aten.new_zeros.default");
  const Argument& size = zeros.inputs[1].value;
  ASSERT_EQ(size.kind, Kind::sym_ints);
  EXPECT_EQ(size.items[0].kind, Kind::sym_int);
  EXPECT_EQ(size.items[1].kind, Kind::integer);
  EXPECT_EQ(size.items[1].integer, 2);
  const SymInt* sum = find_sym_int(sample.graph(), size.items[0].name);
  ASSERT_TRUE(sum);
  EXPECT_EQ(sum->expr.substr(0, 4), "Add(");
  EXPECT_EQ(sum->hint, 6);
  EXPECT_EQ(sample.program().outputs[1].arg.kind, Kind::sym_int);
}

TEST(Pt2, reads_graphs_inside_graphs) {
  Sample sample = read_sample("nested_cond");
  const Node& cond = node_with_target(sample.graph(), "torch.ops.higher_order.cond");
  ASSERT_EQ(cond.inputs.size(), 4u);
  ASSERT_EQ(cond.inputs[1].value.kind, Kind::graph);
  EXPECT_EQ(cond.inputs[3].value.kind, Kind::tensors);
  const Graph& branch = *cond.inputs[1].value.graph;
  const Node& inner = node_with_target(branch, "torch.ops.higher_order.cond");
  EXPECT_EQ(inner.inputs[2].value.graph->nodes[0].inputs[1].value.integer, 3);

  Sample loop = read_sample("while_loop");
  const Node& while_loop = loop.graph().nodes[0];
  EXPECT_EQ(while_loop.target, "torch.ops.higher_order.while_loop");
  EXPECT_TRUE(while_loop.inputs[0].value.graph->is_single_tensor_return);
  EXPECT_EQ(while_loop.outputs.size(), 2u);
  EXPECT_EQ(read_sample("map").graph().nodes[0].target, "torch.ops.higher_order.map_impl");
  EXPECT_EQ(read_sample("scan").graph().nodes[0].target, "torch.ops.higher_order.scan");
}

TEST(Pt2, keeps_the_kind_of_lists) {
  Sample sample = read_sample("lists");
  const Node& split = node_with_target(sample.graph(), "torch.ops.aten.split_with_sizes.default");
  ASSERT_EQ(split.inputs[1].value.kind, Kind::integers);
  EXPECT_EQ(split.inputs[1].value.items[1].integer, 2);
  ASSERT_EQ(split.outputs.size(), 1u);
  EXPECT_EQ(split.outputs[0].kind, Kind::tensors);
  EXPECT_EQ(split.outputs[0].items.size(), 3u);
  const Node& index = node_with_target(sample.graph(), "torch.ops.aten.index.Tensor");
  ASSERT_EQ(index.inputs[1].value.kind, Kind::optional_tensors);
  EXPECT_EQ(index.inputs[1].value.items[0].kind, Kind::none);
  EXPECT_EQ(index.inputs[1].value.items[1].name, "index");
  const Node& resize = node_with_target(sample.graph(), "torch.ops.aten.upsample_nearest2d.vec");
  EXPECT_EQ(resize.inputs[1].value.kind, Kind::none);
  EXPECT_EQ(resize.inputs[2].value.items[1].floating, 0.5);
}

TEST(Pt2, reads_types_devices_layouts_and_infinity) {
  Sample sample = read_sample("options");
  bool infinity = false, memory_format = false, device = false, dtype = false;
  for (const Node& node : sample.graph().nodes) {
    for (const NamedArgument& input : node.inputs) {
      const Argument& value = input.value;
      infinity |= value.kind == Kind::floating && value.floating == -INFINITY;
      memory_format |=
          value.kind == Kind::memory_format && value.memory_format == MemoryFormat::channels_last;
      device |= value.kind == Kind::device && value.text == "cpu" && input.is_keyword;
      dtype |= value.kind == Kind::dtype && value.dtype == DType::bf16;
    }
  }
  EXPECT_TRUE(infinity && memory_format && device && dtype);
}

TEST(Pt2, keeps_inputs_that_are_no_tensors) {
  Sample sample = read_sample("numbers");
  Span<const InputSpec> inputs = sample.program().inputs;
  ASSERT_EQ(inputs.size(), 6u);
  EXPECT_EQ(inputs[1].kind, InputSpec::Kind::constant_input);
  EXPECT_EQ(inputs[1].target, "count");
  EXPECT_EQ(inputs[1].arg.integer, 3);
  EXPECT_EQ(inputs[2].arg.floating, 0.5);
  EXPECT_EQ(inputs[3].arg.kind, Kind::boolean);
  EXPECT_TRUE(inputs[3].arg.boolean);
  EXPECT_EQ(inputs[4].arg.text, "name");
  const ModuleCall& root = sample.program().module_calls[0];
  EXPECT_TRUE(root.has_signature);
  EXPECT_NE(root.in_spec.find("bias"), std::string_view::npos);
  EXPECT_EQ(root.argument_names[0], "x");
}

TEST(Pt2, reads_weights_of_every_element_type) {
  Sample sample = read_sample("types");
  const Program& program = sample.program();
  EXPECT_EQ(find_weight(program, "w_bfloat16")->dtype, DType::bf16);
  EXPECT_EQ(find_weight(program, "w_float8_e4m3fn")->dtype, DType::f8e4m3fn);
  EXPECT_EQ(find_weight(program, "w_complex64")->bytes.size(), 24u);
  EXPECT_EQ(find_weight(program, "empty")->bytes.size(), 0u);
  EXPECT_EQ(element(*find_weight(program, "scalar"), 0), 2.5f);
}

TEST(Pt2, keeps_nested_and_repeated_results) {
  Sample sample = read_sample("outputs");
  Span<const Argument> outputs = sample.graph().outputs;
  ASSERT_EQ(outputs.size(), 6u);
  EXPECT_EQ(outputs[2].name, "x");
  EXPECT_EQ(outputs[0].name, outputs[3].name);
  EXPECT_EQ(outputs[4].kind, Kind::none);
  EXPECT_EQ(outputs[5].integer, 3);
}

TEST(Pt2, reads_several_programs_and_extra_files) {
  Sample sample = read_sample("two_programs");
  ASSERT_EQ(sample.archive.programs.size(), 2u);
  EXPECT_EQ(sample.archive.programs[0].name, "first");
  EXPECT_TRUE(find_weight(sample.archive.programs[1], "count"));
  ASSERT_EQ(sample.archive.extra_files.size(), 1u);
  EXPECT_EQ(sample.archive.extra_files[0].name, "note.txt");
}

TEST(Pt2, copies_payloads_that_are_not_aligned) {
  Sample sample = read_sample("parameters");
  Bytes file = sample.file.bytes();
  std::vector<uint8_t> shifted(file.size() + 64);
  size_t start = 16 - reinterpret_cast<uintptr_t>(shifted.data()) % 16 + 1;
  std::memcpy(shifted.data() + start, file.data(), file.size());
  auto archive = read_archive({shifted.data() + start, file.size()});
  ASSERT_TRUE(archive.ok());
  const Weight* copy = find_weight(archive->programs[0], "linear.weight");
  const Weight* original = find_weight(sample.program(), "linear.weight");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(copy->bytes.data()) % 16, 0u);
  EXPECT_EQ(std::memcmp(copy->bytes.data(), original->bytes.data(), copy->bytes.size()), 0);
}

}  // namespace
}  // namespace sconce::pt2
