// Compiled for the CPU and run: what the tile engine takes gives what the reference kernels give,
// in as few calls as there can be, and files that lie are refused.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include <gtest/gtest.h>

#include "sconce/runtime.h"
#include "targets/backend_test.h"

// Counts what is allocated, for the promise that running allocates nothing.
static std::atomic<long> g_allocations{0};
__attribute__((noinline)) void* operator new(size_t size) {
  g_allocations++;
  if (void* memory = malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void* operator new(size_t size, const std::nothrow_t&) noexcept {
  g_allocations++;
  return malloc(size ? size : 1);
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { free(memory); }

namespace sconce {
namespace {

std::vector<Argument> arguments_of(const std::vector<TestTensor>& tensors) {
  std::vector<Argument> arguments;
  for (const TestTensor& tensor : tensors)
    arguments.push_back(Argument::of(tensor.bytes.data(), tensor.dtype, tensor.sizes));
  return arguments;
}

// Runs on `threads` and compares with the evaluator; gives the outputs' bytes.
std::vector<std::vector<uint8_t>> run_and_compare(const std::string& text, size_t calls,
                                                  int threads = 1) {
  CompiledForTest made = compile_for_cpu(text);
  EXPECT_EQ(made.calls, calls);
  std::vector<TestTensor> inputs, wanted;
  evaluate_for_test(text, &inputs, &wanted);
  Result<Module> module = Module::load(Bytes(made.file), {.threads = threads});
  EXPECT_TRUE(module.ok()) << module.error().text;
  if (!module.ok()) return {};
  std::vector<Argument> arguments = arguments_of(inputs);
  std::vector<std::vector<uint8_t>> outputs;
  for (int run = 0; run < 2; run++) {  // again: nothing of the first run is left
    Result<std::vector<Argument>> results = module->execute("forward", arguments);
    EXPECT_TRUE(results.ok()) << results.error().text;
    if (!results.ok()) return {};
    outputs.clear();
    EXPECT_EQ(results->size(), wanted.size());
    for (size_t o = 0; o < results->size(); o++) {
      Bytes bytes = (*results)[o].bytes();
      outputs.emplace_back(bytes.begin(), bytes.end());
      EXPECT_EQ(wanted[o].dtype, DType::f32);
      EXPECT_EQ(bytes.size(), wanted[o].bytes.size());
      for (size_t i = 0; i < bytes.size() / 4; i++) {
        float x;
        memcpy(&x, &bytes[4 * i], 4);
        EXPECT_NEAR(x, wanted[o].elements[i], 1e-5) << "output " << o << ", element " << i;
      }
    }
  }
  return outputs;
}

constexpr const char* kNetwork = R"(
    constant @w: f32[16, 16] = omitted 0000000000000001
    method forward(%x: f32[2, 9, 16] as x) {
      %w = constant @w
      %q: f32[2, 9, 16] = aten::linear(%x, %w, none)
      %s: f32[2, 9, 16] = aten::_softmax(%q, -1, false)
      %y: f32[2, 9, 16] = aten::linear(%s, %w, none)
      %z: f32[2, 9, 16] = aten::add.Tensor(%y, %x)
      %g: f32[2, 9, 16] = aten::gelu(%z)
      return %g
    })";

TEST(CpuBackend, a_whole_graph_is_one_call) { run_and_compare(kNetwork, 1); }

TEST(CpuBackend, threads_do_not_change_a_bit) {
  auto once = run_and_compare(kNetwork, 1, 1);
  EXPECT_EQ(once, run_and_compare(kNetwork, 1, 3));
}

TEST(CpuBackend, nodes_that_it_lacks_run_between_its_calls) {
  // Two calls: what comes before and beside the sum, and what needs it.
  run_and_compare(R"(
    method forward(%x: f32[4, 6] as x) {
      %a: f32[4, 6] = aten::relu(%x)
      %c: f32[4, 6] = aten::cumsum(%a, 1)
      %b: f32[4, 6] = aten::exp(%x)
      %d: f32[4, 6] = aten::mul.Tensor(%c, %b)
      return %d, %a
    })",
                  2);
}

TEST(CpuBackend, no_path_leaves_a_region_and_comes_back) {
  run_and_compare(R"(
    method forward(%x: f32[4, 6] as x) {
      %a: f32[4, 6] = aten::sigmoid(%x)
      %c: f32[4, 6] = aten::cumsum(%a, 1)
      %b: f32[4, 6] = aten::sub.Tensor(%a, %c)
      %e: f32[4, 6] = aten::cumsum(%b, 0)
      %d: f32[4, 6] = aten::add.Tensor(%e, %a)
      return %d
    })",
                  3);
}

TEST(CpuBackend, a_table_that_is_also_a_weight_is_stored_once) {
  const char* text = R"(
    constant @w: f32[40, 16] = omitted 0000000000000001
    constant @i: i64[1, 3] = {2, 39, 17}
    method forward(%x: f32[1, 3, 16] as x) {
      %w = constant @w
      %i = constant @i
      %e: f32[1, 3, 16] = aten::embedding(%w, %i)
      %h: f32[1, 3, 16] = aten::add.Tensor(%e, %x)
      %y: f32[1, 3, 40] = aten::linear(%h, %w, none)
      return %y
    })";
  run_and_compare(text, 1);
  EXPECT_EQ(compile_for_cpu(text).program.named_data.size(), 2u);
}

TEST(CpuBackend, running_allocates_nothing) {
  CompiledForTest made = compile_for_cpu(kNetwork);
  Program program;
  Diagnostic diagnostic;
  ASSERT_TRUE(Program::load(Bytes(made.file), &program, &diagnostic).ok()) << diagnostic.text;
  MethodMeta meta;
  ASSERT_TRUE(program.find_method("forward", &meta, &diagnostic).ok());
  uint64_t arena_bytes = 0;
  ASSERT_TRUE(
      Method::arena_bytes(program, "forward", all_delegates(), &arena_bytes, &diagnostic).ok());
  std::vector<uint64_t> arena(arena_bytes / 8 + 2), memory(meta.memory_bytes(0) / 8 + 2);
  PlannedMemory planned{{reinterpret_cast<uint8_t*>(memory.data()), size_t(meta.memory_bytes(0))}};
  Method method;
  ASSERT_TRUE(method
                  .load(program, "forward",
                        {.arena = {reinterpret_cast<uint8_t*>(arena.data()), arena_bytes},
                         .planned = {&planned, 1},
                         .kernels = all_kernels(),
                         .delegates = all_delegates()},
                        &diagnostic)
                  .ok())
      << diagnostic.text;
  std::vector<float> x(2 * 9 * 16, 0.5f);
  Argument input = Argument::of(x.data(), DType::f32, {2, 9, 16});
  Tensor tensor = input.tensor;
  tensor.sizes = input.sizes.data();
  tensor.rank = 3;
  Value value = Value::of(&tensor);
  ASSERT_TRUE(method.set_input(0, value, &diagnostic).ok()) << diagnostic.text;
  long before = g_allocations;
  Status status = method.execute({}, &diagnostic);
  long after = g_allocations;
  ASSERT_TRUE(status.ok()) << diagnostic.text;
  EXPECT_EQ(after - before, 0);
}

TEST(CpuBackend, a_file_without_a_constant_says_which) {
  CompiledForTest made = compile_for_cpu(kNetwork);
  std::string key = made.program.named_data[0].key;
  made.program.named_data[0].key = "other";
  std::vector<uint8_t> file = write_pte(made.program)->joined();
  Result<Module> module = Module::load(Bytes(file));
  ASSERT_TRUE(module.ok());
  Result<void> loaded = module->load_method("forward");
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().text, "method forward: delegate 0 (SconceBackend): constant \"" + key +
                                     "\" is neither in the file nor beside it");
}

TEST(CpuBackend, arguments_are_compared_with_the_payload) {
  CompiledForTest made = compile_for_cpu(kNetwork);
  PteMethod& method = made.program.methods[0];
  for (PteInstruction& i : method.chains[0].instructions)
    if (auto* call = std::get_if<PteDelegateCall>(&i)) std::swap(call->args[1], call->args[2]);
  std::vector<uint8_t> file = write_pte(made.program)->joined();
  Result<Module> module = Module::load(Bytes(file));
  ASSERT_TRUE(module.ok());
  std::vector<float> x(2 * 9 * 16, 0.5f);
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2, 9, 16})};
  Result<std::vector<Argument>> results = module->execute("forward", inputs);
  ASSERT_FALSE(results.ok());
  EXPECT_NE(results.error().text.find("output 0 is u8; f32 is wanted"), std::string::npos)
      << results.error().text;
}

TEST(CpuBackend, every_flipped_bit_of_a_payload_is_refused_or_sound) {
  CompiledForTest made = compile_for_cpu(R"(
    constant @w: f32[3, 4] = omitted 0000000000000001
    method forward(%x: f32[2, 4] as x) {
      %w = constant @w
      %y: f32[2, 3] = aten::linear(%x, %w, none)
      %z: f32[2, 3] = aten::_softmax(%y, 1, false)
      return %z
    })");
  std::vector<float> x(8, 0.5f);
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {2, 4})};
  Bytes from = made.program.methods[0].delegates[0].data;
  std::vector<uint8_t> payload(from.begin(), from.end());
  for (size_t bit = 0; bit < 8 * payload.size(); bit++) {
    std::vector<uint8_t> changed = payload;
    changed[bit / 8] ^= uint8_t(1 << bit % 8);
    made.program.methods[0].delegates[0].data = changed;
    Result<PteFile> file = write_pte(made.program);
    ASSERT_TRUE(file.ok());
    std::vector<uint8_t> bytes = file->joined();
    Result<Module> module = Module::load(Bytes(bytes));
    ASSERT_TRUE(module.ok());
    Result<std::vector<Argument>> results = module->execute("forward", inputs);
    EXPECT_TRUE(results.ok() || !results.error().text.empty());
  }
}

}  // namespace
}  // namespace sconce
