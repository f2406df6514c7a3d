// Programs as bytes: what is written reads back, and what others wrote is sound or refused.
#include <gtest/gtest.h>

#include <cstring>

#include "tile/interpret.h"
#include "tile/program_bytes.h"

namespace sconce::tile {
namespace {

Kernel parsed(const char* text) {
  Result<Kernel> kernel = parse_kernel(text);
  EXPECT_TRUE(kernel.ok()) << kernel.error().text;
  return kernel.ok() ? std::move(*kernel) : Kernel{};
}

// y = relu(x . w + b) by way of a temporary, then its sum over rows.
Program small_program() {
  Program program;
  program.kernels.push_back(parsed(R"(kernel k0() {
  in x f32[3, 4]
  in w f32[4, 5] panels 0
  in b f32[5]
  out y f32[3, 5]
  parallel i : 3
  parallel n : 5
  span c : 4
  %0 = load b[n]
  %1 = load x[i, c]
  %2 = load w[c, n]
  %3 = dot %0, %1, %2 over c
  %4 = relu %3
  store y[i, n], %4
}
)"));
  program.kernels.push_back(parsed(R"(kernel k1() {
  in x f32[3, 5]
  out y f32[3]
  parallel i : 3
  span n : 5
  %0 = load x[i, n] else -1
  %1 = reduce sum %0 over n lanes
  store y[i], %1
}
)"));
  using Kind = Storage::Kind;
  program.storages = {{Kind::input, 48, 0, 0, ""},
                      {Kind::constant, 256, 0, 0, "w"},
                      {Kind::constant, 20, 0, 0, "b"},
                      {Kind::temporary, 60, 0, 64, ""},
                      {Kind::output, 12, 0, 0, ""}};
  program.steps = {
      {0,
       {{0, 0, {3, 4}, {4, 1}}, {1, 0, {4, 5}, {5, 1}}, {2, 0, {5}, {1}}, {3, 0, {3, 5}, {5, 1}}},
       "model.py:3 in forward: y = linear(x)"},
      {1, {{3, 0, {3, 5}, {5, 1}}, {4, 0, {3}, {1}}}, ""}};
  program.inputs = {{DType::f32, {3, 4}, {}}};
  program.outputs = {{DType::f32, {3}, {0}}};
  program.arena_bytes = 128;
  EXPECT_TRUE(verify(program).ok());
  return program;
}

// Interprets with buffers of the exact sizes, so that a sanitizer sees every step outside.
Result<void> run(const Program& program) {
  std::vector<std::vector<uint8_t>> memory;
  auto take = [&](const Argument& argument) -> std::optional<uint8_t*> {
    uint64_t bytes = dtype_bytes(argument.dtype);
    for (int64_t size : argument.sizes) bytes *= uint64_t(std::max<int64_t>(size, 0));
    if (bytes > 1 << 20) return std::nullopt;
    memory.emplace_back(size_t(bytes), 1);
    memory.back().shrink_to_fit();
    return memory.back().data();
  };
  memory.reserve(program.inputs.size() + program.outputs.size());
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (const Argument& argument : program.inputs) {
    auto at = take(argument);
    if (!at) return {};
    inputs.push_back(*at);
  }
  for (const Argument& argument : program.outputs) {
    auto at = take(argument);
    if (!at) return {};
    outputs.push_back(*at);
  }
  if (program.arena_bytes > 1 << 20) return {};
  std::vector<uint8_t> w(256, 1), b(20, 1);
  return interpret(program, inputs, outputs,
                   [&](const std::string& name) {
                     return name == "w" ? Bytes(w) : name == "b" ? Bytes(b) : Bytes();
                   },
                   {.steps_max = 100000, .bytes_max = 1 << 20});
}

std::string refusal(const Program& program) {
  Result<Program> read = read_program(write_program(program));
  return read.ok() ? "accepted" : read.error().text;
}

TEST(TileProgram, what_is_written_reads_back) {
  Program program = small_program();
  std::vector<uint8_t> bytes = write_program(program);
  EXPECT_EQ(bytes, write_program(program));
  Result<Program> again = read_program(bytes);
  ASSERT_TRUE(again.ok()) << again.error().text;
  EXPECT_EQ(*again, program);
  // Wherever the bytes lie.
  std::vector<uint8_t> shifted(bytes.size() + 1);
  memcpy(shifted.data() + 1, bytes.data(), bytes.size());
  Result<Program> moved = read_program({shifted.data() + 1, bytes.size()});
  ASSERT_TRUE(moved.ok()) << moved.error().text;
  EXPECT_EQ(*moved, program);
}

// Loops backward and renamed axes are version 5, and refused in what says that it is older.
TEST(TileProgram, says_which_version_a_recurrence_needs) {
  for (bool backward : {false, true}) {
    std::string text = R"(kernel k0() {
  in x f32[3, 4]
  out y f32[3, 4]
  serial t : 3 each FORTH
  span n : 4
  span k : 4
  %0 = constant f32 0 over n
  %1 = serial t (%0) {
    %2 = load x[t, n]
    NEXT
    store y[t, n], %4
  %5 = yield t (%4) }
}
)";
    auto put = [&](const char* from, const char* to) {
      text.replace(text.find(from), strlen(from), to);
    };
    put("FORTH", backward ? "backward" : "");
    put("NEXT", backward ? "%3 = neg %1\n %4 = add %2, %3"
                         : "%3 = rename %2 n to k\n %4 = rename %3 k to n");
    Program program;
    program.kernels.push_back(parsed(text.c_str()));
    using Kind = Storage::Kind;
    program.storages = {{Kind::input, 48, 0, 0, ""}, {Kind::output, 48, 0, 0, ""}};
    program.steps = {{0, {{0, 0, {3, 4}, {4, 1}}, {1, 0, {3, 4}, {4, 1}}}, ""}};
    program.inputs = program.outputs = {{DType::f32, {3, 4}, {}}};
    std::vector<uint8_t> bytes = write_program(program);
    Result<Program> again = read_program(bytes);
    ASSERT_TRUE(again.ok()) << again.error().text;
    EXPECT_EQ(*again, program);
    bool refused = false;
    for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
      uint32_t version = 0;
      memcpy(&version, &bytes[at], 4);
      if (version != 5) continue;
      std::vector<uint8_t> older = bytes;
      older[at] = 4;
      Result<Program> read = read_program(older);
      refused |=
          !read.ok() && read.error().text.find("what only version 5 has") != std::string::npos;
    }
    EXPECT_TRUE(refused);
  }
}

// What counts is the work of each instruction, not the product of all axes of a kernel.
TEST(TileProgram, bounds_the_work_of_instructions) {
  auto with = [](const char* sums) {
    Program program;
    std::string text = std::string(R"(kernel k0() {
  in x f32[4096, 4096]
  out y f32[1]
  span a : 4096
  span b : 4096
  span c : 4096
  span d : 4096
  %0 = load x[a, b]
  %1 = load x[c, d]
)") + sums + "\n  store y[0], %4\n}\n";
    program.kernels.push_back(parsed(text.c_str()));
    using Kind = Storage::Kind;
    program.storages = {{Kind::input, 4096 * 4096 * 4, 0, 0, ""}, {Kind::output, 4, 0, 0, ""}};
    program.steps = {{0, {{0, 0, {4096, 4096}, {4096, 1}}, {1, 0, {1}, {1}}}, ""}};
    program.inputs = {{DType::f32, {4096, 4096}, {}}};
    program.outputs = {{DType::f32, {1}, {}}};
    return refusal(program);
  };
  EXPECT_EQ(with("%2 = reduce sum %0 over a, b\n %3 = reduce sum %1 over c, d\n %4 = add %2, %3"),
            "accepted");
  EXPECT_NE(
      with("%2 = add %0, %1\n %3 = neg %2\n %4 = reduce sum %3 over a, b, c, d").find("iterations"),
      std::string::npos);
}

TEST(TileProgram, every_truncation_is_refused) {
  std::vector<uint8_t> bytes = write_program(small_program());
  for (size_t size = 0; size < bytes.size(); size++) {
    std::vector<uint8_t> part(bytes.begin(), bytes.begin() + std::ptrdiff_t(size));
    part.shrink_to_fit();
    Result<Program> read = read_program(part);
    // The last bytes may be padding that nothing needs.
    if (read.ok()) {
      EXPECT_GE(size + 16, bytes.size());
      EXPECT_EQ(*read, small_program());
    } else {
      EXPECT_FALSE(read.error().text.empty());
    }
  }
}

TEST(TileProgram, every_flipped_bit_is_refused_or_sound) {
  std::vector<uint8_t> bytes = write_program(small_program());
  size_t refused = 0, ran = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
    std::vector<uint8_t> changed = bytes;
    changed[bit / 8] ^= uint8_t(1 << bit % 8);
    Result<Program> read = read_program(changed);
    if (!read.ok()) {
      EXPECT_FALSE(read.error().text.empty());
      refused++;
      continue;
    }
    Result<void> done = run(*read);
    EXPECT_TRUE(done.ok() || !done.error().text.empty());
    ran += done.ok();
  }
  EXPECT_GT(refused, 1000u);
  EXPECT_GT(ran, 100u);
}

TEST(TileProgram, says_what_does_not_fit) {
  Program program = small_program();
  program.steps[0].operands[1].storage = 9;
  EXPECT_EQ(refusal(program), "tile program: step 0: storage 9 of 5");
  program = small_program();
  program.steps[1].kernel = 2;
  EXPECT_EQ(refusal(program), "tile program: step 1: kernel 2 of 2");
  program = small_program();
  program.storages[3].offset = 128;
  EXPECT_EQ(refusal(program), "tile program: storage 3: 60 bytes at 128 of an arena of 128");
  program = small_program();
  program.storages[1].name.clear();
  EXPECT_EQ(refusal(program), "tile program: storage 1: a constant without a name");
  program = small_program();
  program.inputs[0].dim_order = {0, 0};
  EXPECT_EQ(refusal(program), "tile program: argument of rank 2 with a dim order of 2");
  program = small_program();
  program.steps[0].operands[0].strides = {5, 1};
  EXPECT_EQ(refusal(program),
            "tile program: step 0: kernel k0: buffer x: 48 bytes are there; its sizes and strides "
            "reach 56");
  program = small_program();
  program.steps[0].operands[3].storage = 1;
  EXPECT_EQ(refusal(program), "tile program: step 0: writes to an input or a constant");
  EXPECT_EQ(refusal({}), "accepted");
}

// y = x reversed by columns, for 2 * n + 1 rows of 4: the sizes, strides and offset of what is
// written into a temporary vary, and the sizes of the rest.
Program varying_program() {
  Program program;
  program.kernels.push_back(parsed(R"(kernel k0(M) {
  in x f32[M, 4]
  out y f32[M, 4]
  parallel m : M
  parallel c : 4
  %0 = load x[m, -1*c + 3]
  store y[m, c], %0
}
)"));
  program.kernels.push_back(parsed(R"(kernel k1(M) {
  in x f32[4, M]
  out y f32[M, 4]
  parallel m : M
  parallel c : 4
  %0 = load x[c, m]
  store y[m, c], %0
}
)"));
  using Kind = Storage::Kind;
  using What = Varying::What;
  using Op = Formula::Op;
  // Of 7 rows, which is the most. The temporary has 4 rows of M numbers, behind M others.
  program.storages = {{Kind::input, 112, 0, 0, ""},
                      {Kind::temporary, 140, 0, 0, ""},
                      {Kind::output, 112, 0, 0, ""}};
  program.steps = {{0, {{0, 0, {7, 4}, {4, 1}}, {1, 28, {7, 4}, {1, 7}}}, ""},
                   {1, {{1, 28, {4, 7}, {7, 1}}, {2, 0, {7, 4}, {4, 1}}}, ""}};
  program.inputs = {{DType::f32, {7, 4}, {}}};
  program.outputs = {{DType::f32, {7, 4}, {}}};
  program.arena_bytes = 192;
  program.symbols = {{0, 0, 2, 1, 0, 3}};
  Formula rows{
      {{Op::number, 2}, {Op::symbol, 0}, {Op::multiply, 0}, {Op::number, 1}, {Op::add, 0}}};
  Formula bytes = rows;
  bytes.steps.insert(bytes.steps.end(), {{Op::number, 4}, {Op::multiply, 0}});
  program.formulas = {rows, bytes};
  program.varying = {{What::input_size, 0, 0, 0, 0},     {What::output_size, 0, 0, 0, 0},
                     {What::operand_size, 0, 0, 0, 0},   {What::operand_size, 0, 1, 0, 0},
                     {What::operand_stride, 0, 1, 1, 0}, {What::operand_offset, 0, 1, 0, 1},
                     {What::operand_size, 1, 0, 1, 0},   {What::operand_stride, 1, 0, 0, 0},
                     {What::operand_offset, 1, 0, 0, 1}, {What::operand_size, 1, 1, 0, 0}};
  EXPECT_TRUE(verify(program).ok());
  return program;
}

TEST(TileProgram, what_varies_reads_back) {
  Program program = varying_program();
  Result<Program> again = read_program(write_program(program));
  ASSERT_TRUE(again.ok()) << again.error().text;
  EXPECT_EQ(*again, program);
}

TEST(TileProgram, sizes_of_a_call_put_numbers_in_their_places) {
  Program program = varying_program();
  for (int64_t n : {3, 0, 2}) {
    int64_t rows = 2 * n + 1;
    Result<int64_t> symbol = value_of(program.symbols[0], rows);
    ASSERT_TRUE(symbol.ok()) << symbol.error().text;
    EXPECT_EQ(*symbol, n);
    Result<void> done = set_sizes(program, Span<const int64_t>(&n, 1));
    ASSERT_TRUE(done.ok()) << done.error().text;
    EXPECT_EQ(program.inputs[0].sizes, (std::vector<int64_t>{rows, 4}));
    EXPECT_EQ(program.storages[2].bytes, uint64_t(16 * rows));
    EXPECT_EQ(program.steps[0].operands[1].offset, uint64_t(4 * rows));
    EXPECT_EQ(program.steps[0].operands[1].strides, (std::vector<int64_t>{1, rows}));
    std::vector<float> x(size_t(4 * rows)), y(x.size());
    for (size_t i = 0; i < x.size(); i++) x[i] = float(i);
    const void* in = x.data();
    void* out = y.data();
    done = interpret(program, {&in, 1}, {&out, 1}, [](const std::string&) { return Bytes(); });
    ASSERT_TRUE(done.ok()) << done.error().text;
    for (size_t i = 0; i < x.size(); i++) EXPECT_EQ(y[i], x[i / 4 * 4 + 3 - i % 4]);
  }
  EXPECT_EQ(set_sizes(program, std::vector<int64_t>{3}).ok(), true);
  EXPECT_EQ(program, varying_program());
  EXPECT_EQ(value_of(program.symbols[0], 4).error().text,
            "input 0: dimension 0 has size 4; 2 * n + 1 with an n from 0 to 3 is wanted");
  EXPECT_EQ(value_of(program.symbols[0], 9).error().text,
            "input 0: dimension 0 has size 9; 2 * n + 1 with an n from 0 to 3 is wanted");
}

TEST(TileProgram, says_what_does_not_fit_of_what_varies) {
  using Op = Formula::Op;
  auto changed = [](auto change) {
    Program program = varying_program();
    change(program);
    return refusal(program);
  };
  EXPECT_EQ(changed([](Program& p) { p.symbols[0].input = 1; }),
            "tile program: symbol 0: dimension 0 of input 1, which is not there");
  EXPECT_EQ(changed([](Program& p) { p.symbols[0].factor = 0; }),
            "tile program: symbol 0: factor 0, bounds 0 to 3");
  EXPECT_EQ(changed([](Program& p) { p.formulas[0].steps.pop_back(); }),
            "tile program: formula 0: 2 results");
  EXPECT_EQ(changed([](Program& p) { p.formulas[0].steps[1].value = 1; }),
            "tile program: formula 0: symbol 1 of 1");
  EXPECT_EQ(changed([](Program& p) {
              p.formulas[0].steps.insert(p.formulas[0].steps.begin(), {Op::add, 0});
            }),
            "tile program: formula 0: an operation on 0 numbers");
  EXPECT_EQ(changed([](Program& p) { p.varying[2].operand = 2; }),
            "tile program: varying number 2: kind 2, dimension 0 of 2 of 0 by formula 0 of 2");
  EXPECT_EQ(changed([](Program& p) {
              p.formulas[1] = {{{Op::number, 1}, {Op::symbol, 1 << 20}}};
            }),
            "tile program: formula 1: symbol 1048576 of 1");
  // Sound at the largest sizes, and not at others.
  auto at_sizes = [](int64_t n, auto change) {
    Program program = varying_program();
    change(program);
    EXPECT_EQ(refusal(program), "accepted");
    Result<void> done = set_sizes(program, Span<const int64_t>(&n, 1));
    return done.ok() ? "accepted" : done.error().text;
  };
  EXPECT_EQ(at_sizes(2, [](Program&) {}), "accepted");
  EXPECT_EQ(at_sizes(1, [](Program& p) { p.varying.pop_back(); }),
            "step 1: kernel k1: buffer y: dimension 0 has size 7; 3 is wanted");
  EXPECT_EQ(at_sizes(2, [](Program& p) { p.formulas[1].steps[5].value = 40; }),
            "step 0: offset 200 into a storage of 140 bytes");
  EXPECT_EQ(at_sizes(2, [](Program& p) { p.formulas[1].steps[5].value = 1; }),
            "step 0: offset 5 into a storage of 140 bytes");
  EXPECT_EQ(at_sizes(2, [](Program& p) { p.formulas[1].steps[5].value = -4; }),
            "formula 1 gives -20 for a size or an offset");
  EXPECT_EQ(at_sizes(2, [](Program& p) { p.formulas[1].steps[5].value = INT64_MAX; }),
            "formula 1 has no value in 64 bits");
  EXPECT_EQ(at_sizes(2,
                     [](Program& p) {
                       p.formulas[0].steps[2].op = Op::minimum;  // min(2, n) + 1
                     }),
            "accepted");
  EXPECT_EQ(
      at_sizes(0,
               [](Program& p) {
                 p.formulas[1].steps = {{Op::number, 20}, {Op::symbol, 0}, {Op::floor_divide, 0}};
               }),
      "formula 1 has no value in 64 bits");
}

TEST(TileProgram, every_flipped_bit_of_what_varies_is_refused_or_sound) {
  std::vector<uint8_t> bytes = write_program(varying_program());
  size_t refused = 0, ran = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
    std::vector<uint8_t> changed = bytes;
    changed[bit / 8] ^= uint8_t(1 << bit % 8);
    Result<Program> read = read_program(changed);
    refused += !read.ok();
    for (int64_t n : {3, 1, 0}) {
      if (!read.ok()) break;
      std::vector<int64_t> symbols(read->symbols.size(), n);
      if (!set_sizes(*read, symbols).ok()) continue;
      Result<void> done = run(*read);
      EXPECT_TRUE(done.ok() || !done.error().text.empty());
      ran += done.ok();
    }
  }
  EXPECT_GT(refused, 1000u);
  EXPECT_GT(ran, 100u);
}

TEST(TileProgram, packed_bytes_end_with_the_sums_of_their_columns) {
  Result<Kernel> kernel = parse_kernel(R"(kernel k(M) {
    in x i8[M, 5]
    in w i8[5, 17] panels 0
    out y i32[M, 17]
    parallel m : M
    parallel n : 17
    span k : 5
    %0 = constant i32 0
    %1 = load x[m, k]
    %2 = load w[k, n]
    %3 = dot %0, %1, %2 over k
    store y[m, n], %3
  })");
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  Program bytes;
  bytes.kernels = {*kernel};
  bytes.inputs = {{DType::i8, {2, 5}, {}}};
  bytes.outputs = {{DType::i32, {2, 17}, {}}};
  bytes.storages = {{Storage::Kind::input, 10, 0, 0, ""},
                    {Storage::Kind::constant, 2 * (2 * 64 + 64), 0, 0, "w"},
                    {Storage::Kind::output, 136, 0, 0, ""}};
  bytes.steps = {
      {0, {{0, 0, {2, 5}, {5, 1}}, {1, 0, {5, 17}, {17, 1}}, {2, 0, {2, 17}, {17, 1}}}, ""}};
  std::vector<uint8_t> written = write_program(bytes);
  Result<Program> again = read_program(written);
  ASSERT_TRUE(again.ok()) << again.error().text;
  EXPECT_EQ(again->steps, bytes.steps);
  bytes.storages[1].bytes -= 4;
  EXPECT_EQ(refusal(bytes),
            "tile program: step 0: kernel k: buffer w: 380 bytes are there; its sizes and strides "
            "reach 384");
}

// y is x with the row that `at` tells from r.
Program updating_program() {
  Program program;
  program.kernels.push_back(parsed(R"(kernel k0() {
  in at i64[]
  in r f32[4]
  out y f32[3, 4]
  parallel c : 4
  %0 = load at[]
  %1 = load r[c]
  store y[%0, c], %1 strict
}
)"));
  using Kind = Storage::Kind;
  program.storages = {
      {Kind::input, 8, 1, 0, ""}, {Kind::input, 16, 2, 0, ""}, {Kind::output, 48, 0, 0, ""}};
  program.steps = {{0, {{0, 0, {}, {}}, {1, 0, {4}, {1}}, {2, 0, {3, 4}, {4, 1}}}, ""}};
  program.inputs = {{DType::f32, {3, 4}, {}}, {DType::i64, {}, {}}, {DType::f32, {4}, {}}};
  program.outputs = {{DType::f32, {3, 4}, {}, 0}};
  EXPECT_TRUE(verify(program).ok());
  return program;
}

TEST(TileProgram, an_output_begins_as_the_input_that_it_updates) {
  Program program = updating_program();
  Result<Program> again = read_program(write_program(program));
  ASSERT_TRUE(again.ok()) << again.error().text;
  EXPECT_EQ(*again, program);
  std::vector<float> x(12, 1), r(4, 2), y(12, 3), wanted(12, 1);
  std::fill(wanted.begin() + 4, wanted.begin() + 8, 2.0f);
  int64_t at = 1;
  auto none = [](const std::string&) { return Bytes(); };
  std::vector<const void*> in = {x.data(), &at, r.data()};
  std::vector<void*> out = {y.data()}, same = {x.data()};
  ASSERT_TRUE(interpret(program, in, out, none).ok());
  EXPECT_EQ(y, wanted);
  ASSERT_TRUE(interpret(program, in, same, none).ok());
  EXPECT_EQ(x, wanted);
}

TEST(TileProgram, says_which_input_cannot_be_updated) {
  auto text = [](auto change) {
    Program program = updating_program();
    change(program);
    Result<Program> read = read_program(write_program(program));
    return read.ok() ? std::string("sound") : read.error().text;
  };
  EXPECT_EQ(text([](Program& p) { p.outputs[0].updates = 3; }),
            "tile program: an output updates input 3 of 3");
  EXPECT_EQ(text([](Program& p) { p.outputs[0].updates = -2; }),
            "tile program: an output updates input -2 of 3");
  EXPECT_EQ(text([](Program& p) { p.outputs[0].updates = 2; }),
            "tile program: an output updates input 2, which has another type");
  EXPECT_EQ(text([](Program& p) { p.inputs[1].updates = 0; }),
            "tile program: an input updates input 0 of 3");
}

}  // namespace
}  // namespace sconce::tile
