#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/file.h"
#include "formats/pte/pte.h"
#include "runtime/stock_cases.h"
#include "sconce/runtime.h"

namespace sconce {
namespace {

std::string test_path(const std::string& name) {
  return std::string(SCONCE_SOURCE_DIR "/src/runtime/testdata/") + name + ".pte";
}

// --- files of stock ExecuTorch: same answers ----------------------------------------------------

TEST(Runtime, runs_files_of_stock_with_the_same_answers) {
  int compared = 0;
  for (const auto& [key, calls] : read_cases(SCONCE_SOURCE_DIR "/src/runtime/testdata/cases.txt")) {
    auto [name, method] = key;
    SCOPED_TRACE(name + " " + method);
    compared += expect_answers(test_path(name), method, calls, 1e-5);
  }
  EXPECT_GE(compared, 30);
}

TEST(Runtime, lists_every_missing_operator_and_delegate_in_one_error) {
  DelegateType other = {"Other"};
  auto module = Module::load(test_path("delegate"), {.delegates = {&other}});
  ASSERT_TRUE(module.ok()) << module.error().text;
  auto loaded = module->load_method("forward");
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, Code::not_found);
  EXPECT_NE(loaded.error().text.find("delegate XnnpackBackend"), std::string::npos)
      << loaded.error().text;

  Kernel none{"test::nothing", "t>t", nullptr, nullptr};
  KernelRow row{&none, "none"};
  auto linear = Module::load(test_path("linear"), {.kernels = Span<const KernelRow>(&row, 1)});
  ASSERT_TRUE(linear.ok());
  auto missing = linear->load_method("forward");
  ASSERT_FALSE(missing.ok());
  for (const char* name : {"aten::permute_copy.out", "aten::addmm.out", "aten::relu.out"})
    EXPECT_NE(missing.error().text.find(name), std::string::npos) << missing.error().text;
}

// --- programs of our own writer -----------------------------------------------------------------

PteTensor planned(std::vector<int32_t> sizes, uint64_t offset) {
  PteTensor tensor{.scalar_type = 6, .sizes = std::move(sizes)};
  tensor.placement = PtePlacement{1, offset};
  return tensor;
}

PteMethod& add_method(PteProgram& program, const char* name, uint64_t memory_bytes) {
  PteMethod& method = program.methods.emplace_back();
  method.name = name;
  method.memories = {memory_bytes};
  method.chains.emplace_back();
  return method;
}

Result<Module> load(const PteProgram& program, const ModuleOptions& options = {}) {
  TRY(PteFile file, write_pte(program));
  // The module keeps a copy only of bytes that are not aligned, so these must live: leak them.
  auto* bytes = new std::vector<uint8_t>(file.joined());
  static std::vector<std::unique_ptr<std::vector<uint8_t>>> kept;
  kept.emplace_back(bytes);
  return Module::load(Bytes(*bytes), options);
}

// out = x + y over float tensors with sizes up to `bounds`.
PteProgram sum_program(std::vector<int32_t> bounds, PteDynamism dynamism) {
  PteProgram program;
  PteMethod& m = add_method(program, "forward", 3 * 4096);
  for (uint64_t i = 0; i < 3; i++) {
    PteTensor tensor = planned(bounds, i * 4096);
    tensor.dynamism = dynamism;
    m.values.push_back(tensor);
  }
  m.values.push_back(int64_t(1));
  m.inputs = {0, 1};
  m.outputs = {2};
  m.operators = {{"aten::add", "out"}};
  m.chains[0].instructions = {PteKernelCall{0, {0, 1, 3, 2, 2}}};
  return program;
}

std::string refusal(Module& module, std::vector<Argument> inputs) {
  auto outputs = module.execute("forward", inputs);
  return outputs.ok() ? "accepted" : outputs.error().text;
}

TEST(Runtime, names_input_found_and_wanted_when_an_input_does_not_fit) {
  auto module = load(sum_program({2, 3}, PteDynamism::fixed));
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> data(64, 1.0f);
  Argument good = Argument::of(data.data(), DType::f32, {2, 3});
  EXPECT_EQ(refusal(*module, {good, good}), "accepted");
  auto with = [&](Argument bad) { return refusal(*module, {good, bad}); };
  EXPECT_EQ(with(Argument::of(data.data(), DType::f64, {2, 3})),
            "method forward: input 1: dtype is f64, want f32");
  EXPECT_EQ(with(Argument::of(data.data(), DType::f32, {6})),
            "method forward: input 1: rank is 1, want 2");
  EXPECT_EQ(with(Argument::of(data.data(), DType::f32, {2, 4})),
            "method forward: input 1: dimension 1 is 4, want 3");
  EXPECT_EQ(with(Argument(int64_t(3))), "method forward: input 1: kind is int, want tensor");
  EXPECT_NE(with(Argument::of(data.data(), DType::f32, {2, 3}, {1, 0})).find("order in memory"),
            std::string::npos);
  EXPECT_NE(with(Argument::of(nullptr, DType::f32, {2, 3})).find("has 0 bytes"), std::string::npos);
  EXPECT_NE(refusal(*module, {good}).find("input 1: was not set"), std::string::npos);
  EXPECT_NE(refusal(*module, {good, good, good}).find("3 inputs given, it has 2"),
            std::string::npos);
}

TEST(Runtime, resizes_dynamic_shapes_each_call_up_to_the_bound) {
  auto module = load(sum_program({8, 3}, PteDynamism::bounded));
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> data(64);
  for (size_t i = 0; i < data.size(); i++) data[i] = float(i);
  for (int rows : {8, 1, 0, 5}) {
    Argument x = Argument::of(data.data(), DType::f32, {rows, 3});
    std::vector<Argument> inputs = {x, x};
    auto outputs = module->execute("forward", inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.error().text;
    EXPECT_EQ((*outputs)[0].sizes, (std::vector<int32_t>{rows, 3}));
    for (size_t i = 0; i < size_t(rows) * 3; i++)
      EXPECT_EQ(reinterpret_cast<const float*>((*outputs)[0].bytes().data())[i], 2 * data[i]);
  }
  Argument nine = Argument::of(data.data(), DType::f32, {9, 3});
  EXPECT_NE(refusal(*module, {nine, nine}).find("dimension 0 is 9, want at most 8"),
            std::string::npos);
  Argument two = Argument::of(data.data(), DType::f32, {2, 3});
  Argument four = Argument::of(data.data(), DType::f32, {4, 3});
  EXPECT_NE(refusal(*module, {two, four}).find("do not broadcast"), std::string::npos);
}

TEST(Runtime, checks_constraints_that_stock_drops) {
  PteProgram program = sum_program({64, 3}, PteDynamism::bounded);
  PteMethodConstraints constraints{"forward", {"tokens", "mask"}, {}};
  constraints.rules.push_back({.input = 0, .dim = 0, .min = 8, .max = 48, .divisor = 4});
  constraints.rules.push_back(
      {.input = 1, .dim = 0, .related = true, .other_input = 0, .other_dim = 0});
  std::vector<uint8_t> bytes = write_constraints(Span<const PteMethodConstraints>(&constraints, 1));
  program.named_data = {{kConstraintsKey, bytes, 16}};
  auto module = load(program);
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> data(64 * 3, 1.0f);
  auto rows = [&](int x, int y) {
    return refusal(*module, {Argument::of(data.data(), DType::f32, {x, 3}),
                             Argument::of(data.data(), DType::f32, {y, 3})});
  };
  EXPECT_EQ(rows(8, 8), "accepted");
  EXPECT_EQ(rows(4, 4), "method forward: input 0 \"tokens\": dimension 0 is 4, want 8 to 48");
  EXPECT_EQ(rows(52, 52), "method forward: input 0 \"tokens\": dimension 0 is 52, want 8 to 48");
  EXPECT_EQ(rows(10, 10),
            "method forward: input 0 \"tokens\": dimension 0 is 10, want a multiple of 4");
  EXPECT_NE(rows(8, 12).find("input 1 \"mask\": dimension 0 is 12, want it as input 0 dimension 0"),
            std::string::npos);
  EXPECT_EQ(rows(12, 12), "accepted");
}

TEST(Runtime, checks_linear_relations_and_remainders) {
  PteProgram program = sum_program({64, 3}, PteDynamism::bounded);
  // 2 * y = 3 * x + 1, x odd. The kernel never sees sizes that break the rule.
  PteMethodConstraints constraints{"forward", {}, {}};
  constraints.rules.push_back({.input = 0, .dim = 0, .divisor = 2, .remainder = 1});
  constraints.rules.push_back({.input = 1,
                               .dim = 0,
                               .related = true,
                               .other_input = 0,
                               .other_dim = 0,
                               .own_scale = 2,
                               .other_scale = 3,
                               .offset = 1});
  std::vector<uint8_t> bytes = write_constraints(Span<const PteMethodConstraints>(&constraints, 1));
  program.named_data = {{kConstraintsKey, bytes, 16}};
  auto module = load(program);
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> data(64 * 3, 1.0f);
  auto rows = [&](int x, int y) {
    return refusal(*module, {Argument::of(data.data(), DType::f32, {x, 3}),
                             Argument::of(data.data(), DType::f32, {y, 3})});
  };
  EXPECT_NE(rows(2, 4).find("want a multiple of 2 plus 1"), std::string::npos);
  EXPECT_NE(rows(5, 8).find("do not broadcast"), std::string::npos);  // the rule holds
  EXPECT_NE(rows(5, 5).find("* 3 / 2 + 1 / 2, which is 5"), std::string::npos) << rows(5, 5);
}

TEST(Runtime, refuses_constraints_about_inputs_that_are_not_there) {
  for (PteDimRule rule : {PteDimRule{.input = 2}, PteDimRule{.input = 0, .dim = 2},
                          PteDimRule{.input = 0, .dim = kIntegerInput},
                          PteDimRule{.input = 0, .related = true, .other_input = 7}}) {
    PteProgram program = sum_program({64, 3}, PteDynamism::bounded);
    PteMethodConstraints constraints{"forward", {}, {rule}};
    std::vector<uint8_t> bytes =
        write_constraints(Span<const PteMethodConstraints>(&constraints, 1));
    program.named_data = {{kConstraintsKey, bytes, 16}};
    auto module = load(program);
    ASSERT_TRUE(module.ok());
    auto loaded = module->load_method("forward");
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.error().text.find("rule 0"), std::string::npos) << loaded.error().text;
  }
}

// while (i < n) { state = state + x; i = i + 1 }: what stock cannot emit.
PteProgram while_program() {
  PteProgram program;
  PteMethod& m = add_method(program, "forward", 256);
  m.values = {planned({2}, 0),     // 0 x
              planned({2}, 64),    // 1 accumulator
              int64_t(0),          // 2 i
              int64_t(3),          // 3 n, an input
              true,                // 4 i < n
              false,               // 5
              int64_t(1),          // 6 one
              int64_t(0),          // 7 zero
              planned({2}, 128)};  // 8 sum
  m.inputs = {0, 3};
  m.outputs = {8, 2};
  m.operators = {{"aten::add", "out"},
                 {"executorch_prim::add", "Scalar"},
                 {"executorch_prim::lt", "Scalar"},
                 {"executorch_prim::mul", "Scalar"},
                 {"aten::mul", "out"}};
  m.chains[0].instructions = {PteKernelCall{3, {2, 7, 2}},     // 0: i = i * 0
                              PteKernelCall{4, {1, 7, 1, 1}},  // 1: acc = acc * 0 (wrapped number)
                              PteKernelCall{2, {2, 3, 4}},     // 2: i < n
                              PteJumpFalse{4, 7},              // 3: end when not
                              PteKernelCall{0, {1, 0, 6, 1, 1}},  // 4: acc += x
                              PteKernelCall{1, {2, 6, 2}},        // 5: i += 1
                              PteJumpFalse{5, 2},                 // 6: again
                              PteMove{1, 8}};  // 7: the result is the accumulator
  return program;
}

TEST(Runtime, runs_loops_that_jump_back_and_integer_inputs) {
  auto module = load(while_program());
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> x = {1.5f, -2};
  for (int64_t n : {3, 0, 7}) {
    std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2}), Argument(n)};
    auto outputs = module->execute("forward", inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.error().text;
    auto values = reinterpret_cast<const float*>((*outputs)[0].bytes().data());
    EXPECT_EQ(values[0], 1.5f * float(n));
    EXPECT_EQ(values[1], -2 * float(n));
    EXPECT_EQ((*outputs)[1].value.integer, n);
  }
}

TEST(Runtime, stops_an_endless_loop_at_the_budget) {
  PteProgram program = while_program();
  program.methods[0].chains[0].instructions[3] = PteJumpFalse{5, 2};
  auto module = load(program, {.instruction_budget = 1000});
  ASSERT_TRUE(module.ok());
  std::vector<float> x = {1, 2};
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2})};
  auto outputs = module->execute("forward", inputs);
  ASSERT_FALSE(outputs.ok());
  EXPECT_EQ(outputs.error().code, Code::too_large);
  EXPECT_NE(outputs.error().text.find("1000 instructions"), std::string::npos);
}

TEST(Runtime, refuses_another_value_for_a_number_that_was_fixed_at_export) {
  auto module = Module::load(test_path("mixed"));
  ASSERT_TRUE(module.ok());
  std::vector<float> x = {1, 2};
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2}), Argument(int64_t(4)),
                                  Argument(true)};
  auto outputs = module->execute("forward", inputs);
  ASSERT_FALSE(outputs.ok());
  EXPECT_EQ(outputs.error().text, "method forward: input 1: is 4, was fixed to 3 at export");
  inputs[1] = Argument();  // none: the value seen at export
  EXPECT_TRUE(module->execute("forward", inputs).ok());
}

TEST(Runtime, reports_the_line_of_the_model_that_failed) {
  PteProgram program = sum_program({8, 3}, PteDynamism::bounded);
  program.methods[0].chains[0].stacks = {
      {{"outer.py", 3, "main", ""}, {"model.py", 17, "forward", ""}}};
  auto module = load(program);
  ASSERT_TRUE(module.ok());
  std::vector<float> x(24);
  std::string text = refusal(*module, {Argument::of(x.data(), DType::f32, {2, 3}),
                                       Argument::of(x.data(), DType::f32, {3, 3})});
  EXPECT_NE(text.find("method forward: instruction 0 (aten::add.out): model.py:17: "),
            std::string::npos)
      << text;
}

// state += x on a buffer that starts as {5, 6}, in a memory that methods may share.
PteProgram counter_program(const std::vector<float>& start) {
  PteProgram program;
  program.initial_values = {
      {}, Bytes(reinterpret_cast<const uint8_t*>(start.data()), start.size() * 4)};
  for (const char* name : {"one", "two"}) {
    PteMethod& m = add_method(program, name, 64);
    m.memories.push_back(32);
    PteTensor state = planned({2}, 16);
    state.placement->memory_id = 2;
    state.data_index = 1;
    state.name = "counter.state";
    m.values = {planned({2}, 0), state, int64_t(1)};
    m.inputs = {0};
    m.outputs = {1};
    m.operators = {{"aten::add", "out"}};
    m.chains[0].instructions = {PteKernelCall{0, {1, 0, 2, 1, 1}}};
  }
  return program;
}

float first_of(Module& module, const char* method) {
  std::vector<float> x = {1, 2};
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2})};
  auto outputs = module.execute(method, inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.error().text;
  return outputs.ok() ? *reinterpret_cast<const float*>((*outputs)[0].bytes().data()) : NAN;
}

TEST(Runtime, keeps_state_from_call_to_call_and_starts_from_initial_values) {
  std::vector<float> start = {5, 6};
  auto module = load(counter_program(start));
  ASSERT_TRUE(module.ok()) << module.error().text;
  EXPECT_EQ(first_of(*module, "one"), 6);
  EXPECT_EQ(first_of(*module, "one"), 7);
  EXPECT_EQ(first_of(*module, "two"), 6);  // methods have their own state
  ASSERT_TRUE(module->reset("one").ok());
  EXPECT_EQ(first_of(*module, "one"), 6);
  Tensor* state = module->find_buffer("one", "counter.state");
  ASSERT_NE(state, nullptr);
  EXPECT_EQ(state->as<float>()[0], 6);
  EXPECT_EQ(module->find_buffer("one", "nothing"), nullptr);
}

TEST(Runtime, methods_share_state_when_asked_to) {
  std::vector<float> start = {5, 6};
  auto module = load(counter_program(start), {.share_memories = true});
  ASSERT_TRUE(module.ok()) << module.error().text;
  EXPECT_EQ(first_of(*module, "one"), 6);
  EXPECT_EQ(first_of(*module, "two"), 7);
  EXPECT_EQ(first_of(*module, "one"), 8);
}

TEST(Runtime, reads_external_tensors_from_named_data) {
  PteProgram program = sum_program({2, 3}, PteDynamism::fixed);
  std::vector<float> weights = {1, 2, 3, 4, 5, 6};
  program.named_data = {
      {"layer.weight", Bytes(reinterpret_cast<const uint8_t*>(weights.data()), 24), 64}};
  PteTensor weight{.scalar_type = 6, .sizes = {2, 3}};
  weight.external = true;
  weight.name = "layer.weight";
  program.methods[0].values[1] = weight;
  program.methods[0].inputs = {0};
  auto module = load(program);
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> x(6, 10.0f);
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2, 3})};
  auto outputs = module->execute("forward", inputs);
  ASSERT_TRUE(outputs.ok()) << outputs.error().text;
  EXPECT_EQ(reinterpret_cast<const float*>((*outputs)[0].bytes().data())[5], 16);
}

TEST(Runtime, names_the_methods_when_one_is_unknown) {
  auto module = Module::load(test_path("methods"));
  ASSERT_TRUE(module.ok());
  auto outputs = module->execute("backward", {});
  ASSERT_FALSE(outputs.ok());
  EXPECT_EQ(outputs.error().code, Code::not_found);
  EXPECT_NE(outputs.error().text.find("no method \"backward\""), std::string::npos);
}

TEST(Runtime, arena_is_exactly_as_large_as_it_says) {
  for (const char* name : {"linear", "map", "view", "item"}) {
    auto file = map_file(test_path(name));
    Program program;
    Diagnostic diagnostic;
    ASSERT_TRUE(Program::load(file->bytes(), &program, &diagnostic).ok());
    uint64_t bytes = 0;
    ASSERT_TRUE(Method::arena_bytes(program, "forward", {}, &bytes, &diagnostic).ok());
    MethodMeta meta;
    ASSERT_TRUE(program.find_method("forward", &meta, &diagnostic).ok());
    auto* arena = static_cast<uint8_t*>(aligned_alloc(16, bytes));
    auto* memory = static_cast<uint8_t*>(aligned_alloc(16, (meta.memory_bytes(0) + 15) / 16 * 16));
    PlannedMemory planned_memory{{memory, size_t(meta.memory_bytes(0))}};
    Method method;
    MethodOptions options;
    options.planned = {&planned_memory, 1};
    options.kernels = all_kernels();
    options.arena = {arena, size_t(bytes - 16)};
    EXPECT_EQ(method.load(program, "forward", options, &diagnostic).code, Code::too_large);
    options.arena = {arena, size_t(bytes)};
    EXPECT_TRUE(method.load(program, "forward", options, &diagnostic).ok()) << diagnostic.text;
    method.unload();
    free(arena);
    free(memory);
  }
}

// --- delegates
// ------------------------------------------------------------------------------------

// Adds the payload's first byte to every element.
const DelegateType kAdder = {
    .id = "Adder",
    .arena_bytes =
        [](const DelegateSource&, uint64_t* bytes, Diagnostic*) {
          *bytes = 40;
          return kOk;
        },
    .load = [](const DelegateSource& source, Span<uint8_t> arena, void** state,
               Diagnostic* diagnostic) -> Status {
      if (source.data.empty()) return SCONCE_FAIL(Code::invalid_file, diagnostic, "empty payload");
      EXPECT_EQ(arena.size(), 40u);
      arena[0] = source.data[0];
      arena[39] = 1;
      *state = arena.data();
      return kOk;
    },
    .execute = [](void* state, Span<const Value* const> args, KernelContext&) -> Status {
      const Tensor& in = *args[0]->tensor;
      Tensor& out = *args[1]->tensor;
      SCONCE_TRY_STATUS(resize(out, in.sizes, nullptr));
      for (int64_t i = 0; i < element_count(in); i++)
        out.as<float>()[i] = in.as<float>()[i] + float(*static_cast<uint8_t*>(state));
      return kOk;
    },
    .unload = [](void* state) { *static_cast<uint8_t*>(state) = 0; },
};

TEST(Runtime, runs_delegates_that_the_caller_lists) {
  for (bool stored_inline : {true, false}) {
    PteProgram program = sum_program({2, 3}, PteDynamism::fixed);
    std::vector<uint8_t> payload = {7, 1, 2};
    program.methods[0].delegates = {{"Adder", payload, stored_inline, {}}};
    program.methods[0].chains[0].instructions.push_back(PteDelegateCall{0, {2, 2}});
    auto module = load(program, {.delegates = {&kAdder}});
    ASSERT_TRUE(module.ok()) << module.error().text;
    std::vector<float> x(6, 1.0f);
    Argument argument = Argument::of(x.data(), DType::f32, {2, 3});
    std::vector<Argument> inputs = {argument, argument};
    auto outputs = module->execute("forward", inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.error().text;
    EXPECT_EQ(reinterpret_cast<const float*>((*outputs)[0].bytes().data())[0], 9);
  }
}

TEST(Runtime, tells_which_delegate_refused_its_payload) {
  PteProgram program = sum_program({2, 3}, PteDynamism::fixed);
  program.methods[0].delegates = {{"Adder", {}, true, {}}};
  auto module = load(program, {.delegates = {&kAdder}});
  ASSERT_TRUE(module.ok());
  auto loaded = module->load_method("forward");
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().text, "method forward: delegate 0 (Adder): empty payload");
}

TEST(Runtime, calls_the_hooks_around_every_instruction) {
  auto module = load(sum_program({2, 3}, PteDynamism::fixed));
  ASSERT_TRUE(module.ok());
  std::vector<std::string> seen;
  module->set_observer(
      [](void* context, const Step& step) {
        static_cast<std::vector<std::string>*>(context)->push_back(
            std::string("before ") + step.name + "." + step.overload + " " +
            std::to_string(step.args.size()));
      },
      [](void* context, const Step&) {
        static_cast<std::vector<std::string>*>(context)->push_back("after");
      },
      &seen);
  std::vector<float> x(6, 1.0f);
  Argument argument = Argument::of(x.data(), DType::f32, {2, 3});
  std::vector<Argument> inputs = {argument, argument};
  ASSERT_TRUE(module->execute("forward", inputs).ok());
  EXPECT_EQ(seen, (std::vector<std::string>{"before aten::add.out 5", "after"}));
}

}  // namespace
}  // namespace sconce
