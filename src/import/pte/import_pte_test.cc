// Small programs of instructions, and the IR that is read back from them.
#include "import/pte/import_pte.h"

#include <gtest/gtest.h>

#include "import/pte/payload.h"

namespace sconce {
namespace {

struct Made {
  PteProgram file;
  PteMethod& method;

  Made() : method(file.methods.emplace_back()) {
    method.chains.emplace_back();
    method.memories = {4096};
  }
  int32_t add(PteValue value) {
    method.values.push_back(std::move(value));
    return int32_t(method.values.size()) - 1;
  }
  int32_t tensor(std::vector<int32_t> sizes, std::optional<uint64_t> offset,
                 DType dtype = DType::f32) {
    PteTensor made;
    made.scalar_type = int8_t(dtype);
    made.sizes = std::move(sizes);
    if (offset) made.placement = PtePlacement{1, *offset};
    return add(made);
  }
  PteTensor& tensor_at(int32_t value) { return std::get<PteTensor>(method.values[size_t(value)]); }
  void call(const std::string& name, const std::string& overload, std::vector<int32_t> args) {
    method.chains[0].instructions.push_back(
        PteKernelCall{int32_t(method.operators.size()), std::move(args)});
    method.operators.push_back({name, overload});
  }
  void relu(int32_t from, int32_t to) { call("aten::relu", "out", {from, to, to}); }

  // The method's text between its braces, or the error.
  std::string imported() {
    auto program = import_pte_method(file, method, {});
    if (!program.ok()) return program.error().text;
    std::string text = print(**program), lines;
    size_t at = 0;
    while (at < text.size()) {
      size_t end = text.find('\n', at);
      std::string line = text.substr(at, end - at);
      at = end + 1;
      if (!line.empty() && line.back() != '{' && line != "}")
        lines += line.substr(line.find_first_not_of(' ')) + "\n";
    }
    return lines;
  }
};

TEST(ImportPte, tensors_at_one_place_are_views_and_what_was_written_last_is_read) {
  Made m;
  int32_t x = m.tensor({2, 6}, 0), y = m.tensor({2, 6}, 64), flat = m.tensor({12}, 64),
          z = m.tensor({12}, 0), out = m.tensor({12}, 128);
  m.method.inputs = {x};
  m.method.outputs = {out};
  m.relu(x, y);
  m.relu(flat, z);  // the input's memory is used again
  m.relu(z, out);
  EXPECT_EQ(m.imported(),
            "%1: f32[2, 6] = aten::relu(%input_0)\n"
            "%2: f32[12] = aten::view(%1, [12])\n"
            "%3: f32[12] = aten::relu(%2)\n"
            "%4: f32[12] = aten::relu(%3)\n"
            "return %4\n");
}

TEST(ImportPte, a_place_inside_another_is_a_slice_and_places_side_by_side_are_one) {
  Made m;
  int32_t x = m.tensor({4, 4}, 0), rows = m.tensor({2, 4}, 32), a = m.tensor({2, 4}, 64),
          b = m.tensor({1, 4}, 96), whole = m.tensor({3, 4}, 64), out = m.tensor({3, 4}, 128);
  m.method.inputs = {x};
  m.method.outputs = {out};
  m.relu(rows, a);
  int32_t last = m.tensor({1, 4}, 48);
  m.relu(last, b);
  m.relu(whole, out);
  EXPECT_EQ(m.imported(),
            "%1: f32[16] = aten::view(%input_0, [-1])\n"
            "%2: f32[8] = aten::slice.Tensor(%1, 0, 8, 16, 1)\n"
            "%3: f32[2, 4] = aten::view(%2, [2, 4])\n"
            "%4: f32[2, 4] = aten::relu(%3)\n"
            "%5: f32[16] = aten::view(%input_0, [-1])\n"
            "%6: f32[4] = aten::slice.Tensor(%5, 0, 12, 16, 1)\n"
            "%7: f32[1, 4] = aten::view(%6, [1, 4])\n"
            "%8: f32[1, 4] = aten::relu(%7)\n"
            "%9: f32[8] = aten::view(%4, [-1])\n"
            "%10: f32[8] = aten::slice.Tensor(%9, 0, 0, 8, 1)\n"
            "%11: f32[4] = aten::view(%8, [-1])\n"
            "%12: f32[4] = aten::slice.Tensor(%11, 0, 0, 4, 1)\n"
            "%13: f32[12] = aten::cat({%10, %12}, 0)\n"
            "%14: f32[3, 4] = aten::view(%13, [3, 4])\n"
            "%15: f32[3, 4] = aten::relu(%14)\n"
            "return %15\n");
}

TEST(ImportPte, state_is_a_buffer_with_its_start_and_a_write_back) {
  Made m;
  float start[2] = {1, 2};
  m.file.initial_values.push_back({reinterpret_cast<const uint8_t*>(start), 8});
  int32_t x = m.tensor({2}, 0), state = m.tensor({2}, 64), sum = m.tensor({2}, 32),
          one = m.add(int64_t{1}), no = m.add(false);
  m.tensor_at(state).data_index = 1;
  m.tensor_at(state).name = "cache";
  m.method.inputs = {x};
  m.method.outputs = {sum};
  m.call("aten::add", "out", {x, state, one, sum, sum});
  m.call("aten::copy_", "", {state, sum, no, state});
  EXPECT_EQ(m.imported(),
            "buffer @cache: f32[2] = {1, 2}\n"
            "%cache = buffer @cache\n"
            "%2: f32[2] = aten::add.Tensor(%input_0, %cache, 1)\n"
            "%3: f32[2] = aten::copy(%cache, %2, false)\n"
            "write buffer @cache = %3\n"
            "return %2\n");
}

TEST(ImportPte, memory_that_nothing_wrote_is_state_too) {
  Made m;
  int32_t x = m.tensor({2}, 0), before = m.tensor({2}, 64), out = m.tensor({2}, 32),
          one = m.add(int64_t{1});
  m.method.inputs = {x};
  m.method.outputs = {out};
  m.call("aten::add", "out", {x, before, one, out, out});
  m.relu(out, before);
  EXPECT_EQ(m.imported(),
            "buffer @state.0: f32[2]\n"
            "%state.0 = buffer @state.0\n"
            "%2: f32[2] = aten::add.Tensor(%input_0, %state.0, 1)\n"
            "%3: f32[2] = aten::relu(%2)\n"
            "write buffer @state.0 = %3\n"
            "return %2\n");
}

TEST(ImportPte, an_input_that_the_caller_keeps_is_written_back) {
  Made m;
  int32_t x = m.tensor({2}, std::nullopt), y = m.tensor({2}, 0), no = m.add(false);
  m.method.inputs = {x};
  m.method.outputs = {y};
  m.relu(x, y);
  m.call("aten::copy_", "", {x, y, no, x});
  EXPECT_EQ(m.imported(),
            "%1: f32[2] = aten::relu(%input_0)\n"
            "%2: f32[2] = aten::copy(%input_0, %1, false)\n"
            "write input %input_0 = %2\n"
            "return %1\n");
}

TEST(ImportPte, numbers_are_computed_and_moves_give_other_handles) {
  Made m;
  int32_t x = m.tensor({3, 2}, 0), y = m.tensor({3, 2}, 32), other = m.tensor({3, 2}, 64),
          zero = m.add(int64_t{0}), rows = m.add(int64_t{7}), twice = m.add(int64_t{0}),
          two = m.add(int64_t{2});
  m.method.inputs = {x};
  m.method.outputs = {other, twice};
  m.relu(x, y);
  m.method.chains[0].instructions.push_back(PteMove{y, other});
  m.call("aten::sym_size", "int", {x, zero, rows});
  m.call("executorch_prim::mul", "Scalar", {rows, two, twice});
  EXPECT_EQ(m.imported(),
            "%1: f32[3, 2] = aten::relu(%input_0)\n"
            "%2: int(6) = sconce_prim::constant(6)\n"
            "return %1, %2\n");
}

TEST(ImportPte, a_copy_into_another_order_of_dimensions_is_the_same_value) {
  Made m;
  int32_t x = m.tensor({1, 2, 3, 4}, 0), y = m.tensor({1, 2, 3, 4}, 128),
          out = m.tensor({1, 2, 3, 4}, 256), no = m.add(false), none = m.add(std::monostate());
  m.tensor_at(y).dim_order = {0, 2, 3, 1};
  m.method.inputs = {x};
  m.method.outputs = {out};
  m.call("dim_order_ops::_to_dim_order_copy", "out", {x, no, none, y, y});
  m.relu(y, out);
  EXPECT_EQ(m.imported(),
            "%1: f32[1, 3, 4, 2] = aten::permute(%input_0, [0, 2, 3, 1])\n"
            "%2: f32[1, 2, 3, 4] = aten::permute(%1, [0, 3, 1, 2])\n"
            "%3: f32[1, 2, 3, 4] = aten::relu(%2)\n"
            "return %3\n");
}

// x and y go in; one of two ways is taken as the first says.
struct TwoWays : Made {
  int32_t test = tensor({}, 128, DType::b8), x = tensor({2}, 0), a = tensor({2}, 32),
          b = tensor({2}, 64), out = tensor({2}, 96), never = add(false);
  TwoWays() {
    method.inputs = {test, x};
    method.outputs = {out};
  }
  void jump(int32_t condition, int32_t to) {
    method.chains[0].instructions.push_back(PteJumpFalse{condition, to});
  }
  void move(int32_t from, int32_t to) {
    method.chains[0].instructions.push_back(PteMove{from, to});
  }
};

TEST(ImportPte, a_jump_that_data_decide_and_one_over_the_other_way_are_a_cond) {
  TwoWays m;
  m.jump(m.test, 4);
  m.relu(m.x, m.a);
  m.move(m.a, m.out);
  m.jump(m.never, 6);
  m.relu(m.x, m.b);
  m.move(m.x, m.out);
  EXPECT_EQ(m.imported(),
            "%1: f32[2] = aten::relu(%input_1)\n"
            "return %1\n"
            "}\n"
            "%1: f32[2] = aten::relu(%input_1)\n"
            "return %input_1\n"
            "}\n"
            "%4: f32[2] = cond(%input_0, graph 0, graph 1, {%input_1})\n"
            "return %4\n");
}

TEST(ImportPte, a_loop_of_known_rounds_is_written_out) {
  TwoWays m;
  int32_t round = m.add(int64_t{0}), one = m.add(int64_t{1}), rounds = m.add(int64_t{3}),
          done = m.add(false), rows = m.tensor({3, 2}, 160);
  m.method.outputs = {rows};
  m.relu(m.x, m.a);
  m.call("executorch_prim::et_copy_index", "tensor", {rows, m.a, round});
  m.call("executorch_prim::add", "Scalar", {round, one, round});
  m.call("executorch_prim::eq", "Scalar", {round, rounds, done});
  m.jump(done, 0);
  m.call("executorch_prim::sub", "Scalar", {round, rounds, round});
  std::string text = m.imported();
  EXPECT_EQ(text.find("graph"), std::string::npos);
  for (const char* line : {"%2: f32[2] = aten::relu", "%3: f32[2] = aten::relu",
                           "%4: f32[2] = aten::relu", "f32[3, 2] = aten::view"})
    EXPECT_NE(text.find(line), std::string::npos) << text;
}

TEST(ImportPte, says_which_jumps_it_cannot_take) {
  auto refused = [](auto build) {
    TwoWays m;
    build(m);
    return m.imported();
  };
  EXPECT_EQ(refused([](TwoWays& m) { m.jump(m.never, 0); }),
            "instruction 0: a loop of more than 65536 instructions");
  EXPECT_EQ(refused([](TwoWays& m) {
              m.relu(m.x, m.out);
              m.jump(m.test, 0);
            }),
            "instruction 1: a loop that only data end");
  EXPECT_EQ(refused([](TwoWays& m) {
              m.jump(m.test, 2);
              m.jump(m.test, 3);
              m.relu(m.x, m.out);
            }),
            "instruction 0: instruction 1: a jump out of a branch");
  EXPECT_EQ(refused([](TwoWays& m) {
              m.jump(m.test, 2);
              m.relu(m.x, m.out);
            }),
            "output 0: memory is read that only a branch has written");
  EXPECT_EQ(refused([](TwoWays& m) {
              m.jump(m.test, 2);
              m.move(m.x, m.out);
            }),
            "output 0: tensor 4 is read, which only a branch has made");
  EXPECT_EQ(refused([](TwoWays& m) {
              for (int i = 1; i <= 257; i++) m.jump(m.test, i);
            }),
            "instruction 256: more than 256 branches");
  EXPECT_EQ(refused([](TwoWays& m) {  // what lies there before is state
              m.relu(m.b, m.a);
              m.jump(m.test, 3);
              m.relu(m.x, m.b);
              m.relu(m.x, m.out);
            }),
            "instruction 1: a branch that changes state");
  EXPECT_EQ(refused([](TwoWays& m) {
              int32_t count = m.add(int64_t{0}), one = m.add(int64_t{1});
              m.call("executorch_prim::add", "Scalar", {count, one, count});
              m.relu(m.x, m.out);
            }),
            "number 6 goes from one call to the next");
  EXPECT_EQ(refused([](TwoWays& m) {
              int32_t a = m.add(int64_t{7}), b = m.add(int64_t{1}), sum = m.add(int64_t{0}),
                      twice = m.add(int64_t{0});
              m.jump(m.test, 2);
              m.call("executorch_prim::add", "Scalar", {a, b, sum});
              m.call("executorch_prim::add", "Scalar", {sum, b, twice});
            }),
            "instruction 2: executorch_prim::add.Scalar: number 8 is read that only a branch has "
            "computed");
}

TEST(ImportPte, says_what_it_cannot_take) {
  {
    Made m;
    int32_t x = m.tensor({2}, 0);
    m.method.inputs = {x};
    m.tensor_at(x).dynamism = PteDynamism::bounded;
    m.tensor_at(x).name = "x";
    EXPECT_EQ(m.imported(), "tensor 0 \"x\": a tensor of dynamic shape");
  }
  {
    Made m;
    int32_t x = m.tensor({2}, 0), as_int = m.tensor({2}, 0, DType::i32),
            out = m.tensor({2}, 32, DType::i32);
    m.method.inputs = {x};
    m.method.outputs = {out};
    m.relu(as_int, out);
    EXPECT_EQ(m.imported(),
              "instruction 0: aten::relu.out: argument \"self\": memory that holds f32 is read as "
              "i32");
  }
  {
    Made m;
    int32_t x = m.tensor({2}, 0), out = m.tensor({2}, 32);
    m.method.inputs = {x};
    m.method.outputs = {out};
    m.call("my_ops::own", "out", {x, out, out});
    EXPECT_EQ(m.imported(), "instruction 0: my_ops::own.out: not an operator of the compiler");
  }
  {
    Made m;
    int32_t x = m.tensor({2}, 0), out = m.tensor({3}, 32);
    m.method.inputs = {x};
    m.method.outputs = {out};
    m.relu(x, out);
    EXPECT_EQ(m.imported(), "instruction 0: aten::relu.out: the result is [2], its tensor [3]");
  }
  {
    Made m;
    int32_t out = m.tensor({2}, std::nullopt);
    m.method.outputs = {out};
    EXPECT_EQ(m.imported(), "output 0: memory is read that nothing has written");
  }
}

// A linear of 4-bit weights with a scale for each of two outputs.
XnnGraph linear_of_nibbles(const std::vector<uint8_t>& weights, const std::vector<uint32_t>& dims) {
  XnnGraph graph;
  graph.constants = {{}, {"weights", false, weights}};
  XnnValue x{0, XnnDType::f32, {3, 3}}, w{1, XnnDType::qcint4, dims}, y{2, XnnDType::f32, {3, 2}};
  x.external_id = 0, x.flags = kXnnExternalInput;
  y.external_id = 1, y.flags = kXnnExternalOutput;
  w.constant = 1;
  w.quantization.kind = XnnQuantization::Kind::per_channel;
  w.quantization.scales = {0.5f, 2};
  w.quantization.scale_count = 2;
  graph.values = {x, w, y};
  XnnNode node;
  node.kind = XnnNodeKind::fully_connected;
  node.inputs = {0, 1, kXnnNoValue};
  node.outputs = {2};
  graph.nodes = {node};
  return graph;
}

std::string imported_payload(const XnnGraph& graph) {
  Program program;
  program.methods.resize(1);
  Graph& to = program.methods[0].graph;
  Build build(program, to);
  std::vector<ValueId> values{to.add_input(Type::of(TensorType{DType::f32, {3, 3}, {}}), "x"),
                              kNoValue};
  ConstantValues constants;
  PayloadData data{[](const std::string&) { return Bytes(); }, &constants};
  auto done = import_payload(build, graph, data, &values);
  if (!done.ok()) return done.error().text;
  to.outputs = {values[1]};
  return print(program);
}

TEST(ImportPayload, weights_of_4_bits_get_bytes_of_their_own) {
  // Rows of three numbers fill two bytes; each number is stored plus 8, the even column low.
  std::vector<uint8_t> weights = {0x98, 0x07, 0xf0, 0x08};
  std::string text = imported_payload(linear_of_nibbles(weights, {2, 3}));
  EXPECT_NE(text.find("constant @weight: i8[2, 3] = {0, 1, -1, -8, 7, 0}"), std::string::npos)
      << text;
  EXPECT_NE(
      text.find("quantized_decomposed::dequantize_per_channel(%weight, %scales, none, 0, -8, 7"),
      std::string::npos)
      << text;
}

// The linear gives integers, which a clamp reads that gives others, and numbers are made of those.
XnnGraph limited_linear() {
  static const std::vector<uint8_t> weights = {0x98, 0x07, 0xf0, 0x08};
  XnnGraph graph = linear_of_nibbles(weights, {2, 3});
  auto integers = [](uint32_t id, float scale) {
    XnnValue value{id, XnnDType::qint8, {3, 2}};
    value.quantization.kind = XnnQuantization::Kind::per_tensor;
    value.quantization.scale = scale;
    return value;
  };
  graph.values.push_back(integers(3, 0.75f));
  graph.values.push_back(integers(4, 0.25f));
  graph.nodes[0].outputs = {3};
  graph.nodes[0].limited = true;
  graph.nodes[0].min = -2;
  graph.nodes[0].max = 5;
  XnnNode clamp, convert;
  clamp.kind = XnnNodeKind::clamp;
  clamp.inputs = {3};
  clamp.outputs = {4};
  clamp.limited = true;
  clamp.min = 0;
  clamp.max = 6;
  convert.kind = XnnNodeKind::convert;
  convert.inputs = {4};
  convert.outputs = {2};
  graph.nodes.insert(graph.nodes.end(), {clamp, convert});
  return graph;
}

TEST(ImportPayload, a_clamp_that_alone_reads_a_product_is_a_limit_of_it) {
  std::string text = imported_payload(limited_linear());
  EXPECT_NE(text.find("aten::clamp"), std::string::npos) << text;
  EXPECT_NE(text.find(", 0.0, 5.0)"), std::string::npos) << text;
  EXPECT_NE(text.find(", 0.25, 0, -128, 127, 1)"), std::string::npos) << text;
  EXPECT_EQ(text.find("0.75"), std::string::npos) << text;
  // Read by something else they are made.
  XnnGraph graph = limited_linear();
  XnnNode other = graph.nodes[2];
  other.inputs = {3};
  other.outputs = {5};
  graph.values.push_back({5, XnnDType::f32, {3, 2}});
  graph.nodes.push_back(other);
  text = imported_payload(graph);
  EXPECT_NE(text.find(", 0.75, 0, -128, 127, 1)"), std::string::npos) << text;
}

TEST(ImportPayload, refuses_weights_that_are_not_there) {
  std::vector<uint8_t> weights(3);
  EXPECT_EQ(imported_payload(linear_of_nibbles(weights, {2, 3})),
            "value %1: constant \"weights\" has 3 bytes, 4 are wanted");
  // Rows without number would be walked all the same.
  EXPECT_EQ(imported_payload(linear_of_nibbles(weights, {60000, 1000000, 0})),
            "value %1: weights of 4 bits without columns");
}

}  // namespace
}  // namespace sconce
