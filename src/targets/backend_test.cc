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
  // Two calls: what comes before and beside the arctangent, and what needs it.
  run_and_compare(R"(
    method forward(%x: f32[4, 6] as x) {
      %a: f32[4, 6] = aten::relu(%x)
      %c: f32[4, 6] = aten::atan(%a)
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
      %c: f32[4, 6] = aten::atan(%a)
      %b: f32[4, 6] = aten::sub.Tensor(%a, %c)
      %e: f32[4, 6] = aten::asinh(%b)
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

// A method of one input, loaded as embedders do.
struct Embedded {
  CompiledForTest made;
  Program program;
  Diagnostic diagnostic;
  std::vector<uint64_t> arena, memory;
  PlannedMemory planned;
  Method method;  // last: it lies in the arena until its end

  explicit Embedded(const std::string& text) : made(compile_for_cpu(text)) {
    EXPECT_TRUE(Program::load(Bytes(made.file), &program, &diagnostic).ok()) << diagnostic.text;
    MethodMeta meta;
    EXPECT_TRUE(program.find_method("forward", &meta, &diagnostic).ok());
    uint64_t arena_bytes = 0;
    EXPECT_TRUE(
        Method::arena_bytes(program, "forward", all_delegates(), &arena_bytes, &diagnostic).ok());
    arena.resize(arena_bytes / 8 + 2);
    memory.resize(meta.memory_bytes(0) / 8 + 2);
    planned = {{reinterpret_cast<uint8_t*>(memory.data()), size_t(meta.memory_bytes(0))}};
    EXPECT_TRUE(method
                    .load(program, "forward",
                          {.arena = {reinterpret_cast<uint8_t*>(arena.data()), arena_bytes},
                           .planned = {&planned, 1},
                           .kernels = all_kernels(),
                           .delegates = all_delegates()},
                          &diagnostic)
                    .ok())
        << diagnostic.text;
  }

  // How often running allocates.
  long run(std::vector<int32_t> sizes) {
    size_t count = 1;
    for (int32_t size : sizes) count *= size_t(size);
    std::vector<float> x(count, 0.5f);
    Tensor tensor = Argument::of(x.data(), DType::f32, sizes).tensor;
    tensor.sizes = sizes.data();
    tensor.rank = uint8_t(sizes.size());
    Value value = Value::of(&tensor);
    EXPECT_TRUE(method.set_input(0, value, &diagnostic).ok()) << diagnostic.text;
    long before = g_allocations;
    Status status = method.execute({}, &diagnostic);
    long after = g_allocations;
    EXPECT_TRUE(status.ok()) << diagnostic.text;
    return after - before;
  }
};

TEST(CpuBackend, running_allocates_nothing) { EXPECT_EQ(Embedded(kNetwork).run({2, 9, 16}), 0); }

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

// Runs a method of an input [b, 4], with each b one after the other, by payloads of which one bit
// each is another.
void expect_flipped_bits_refused_or_sound(CompiledForTest& made, std::vector<int32_t> batches) {
  std::vector<float> x(24, 0.5f);
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
    for (int32_t b : batches) {
      std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {b, 4})};
      Result<std::vector<Argument>> results = module->execute("forward", inputs);
      EXPECT_TRUE(results.ok() || !results.error().text.empty());
    }
  }
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
  expect_flipped_bits_refused_or_sound(made, {2});
}

// An encoder's layer and more on it, of batch `b` and length `s`: letters are sizes that a call
// tells, numbers are fixed.
std::string encoder(const std::string& b, const std::string& s) {
  bool varies = b == "b";
  std::string text = varies ? R"(
    symbol b in [1, 4]
    symbol s in [2, 300])"
                            : "";
  text += R"(
    constant @w: f32[16, 16] = omitted 0000000000000001
    constant @g: f32[16] = omitted 0000000000000002
    method forward(%x: f32[B, S, 16] as x) {
      %w = constant @w
      %g = constant @g
)";
  if (varies)
    text += R"(
      %b: int(b) = aten::sym_size.int(%x, 0)
      %s: int(s) = aten::sym_size.int(%x, 1)
)";
  text += R"(
      %q: f32[B, S, 16] = aten::linear(%x, %w, %g)
      %h: f32[B, S, 2, 8] = aten::view(%q, [$B, $S, 2, 8])
      %t: f32[B, 2, S, 8] = aten::permute(%h, [0, 2, 1, 3])
      %a: f32[B, 2, S, 8] = aten::scaled_dot_product_attention(%t, %t, %t, none, 0.0, true, none, false)
      %u: f32[B, S, 2, 8] = aten::permute(%a, [0, 2, 1, 3])
      %v: f32[B, S, 16] = aten::view(%u, [$B, $S, 16])
      %r: f32[B, S, 16] = aten::add.Tensor(%v, %x)
      %n: f32[B, S, 16] = aten::layer_norm(%r, [16], %g, none, 1e-05, true)
      %y: f32[B, S, 16] = aten::gelu(%n)
      %m: f32[B, 16] = aten::mean.dim(%y, [1], false)
      %z: f32[B, 16, 1] = aten::unsqueeze(%m, 2)
      %e: f32[B, 16, S] = aten::expand(%z, [$B, 16, $S])
      %c: f32[B, S, 16] = aten::permute(%y, [0, 2, 1])
      %l: f32[B, 16] = aten::select.int(%y, 1, -1)
      %f: f32[B, 16] = aten::_softmax(%l, 1, false)
      return %y, %e, %f
    })";
  auto put = [&](const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  put("$B", varies ? "%b" : b);
  put("$S", varies ? "%s" : s);
  put("[B", "[" + b);
  put(" S", " " + s);
  return text;
}

std::string fixed_encoder(int b, int s) { return encoder(std::to_string(b), std::to_string(s)); }
std::string varying_encoder() { return encoder("b", "s"); }

std::vector<std::vector<uint8_t>> bytes_of(const std::vector<Argument>& results) {
  std::vector<std::vector<uint8_t>> bytes;
  for (const Argument& result : results) {
    Bytes all = result.bytes();
    bytes.emplace_back(all.begin(), all.end());
  }
  return bytes;
}

std::vector<std::vector<uint8_t>> run_of_size(Module& module, int b, int s) {
  std::vector<float> x(size_t(b * s) * 16);
  for (size_t i = 0; i < x.size(); i++) x[i] = float(int(i * 7 % 23) - 9) / 8;
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {b, s, 16})};
  Result<std::vector<Argument>> results = module.execute("forward", inputs);
  EXPECT_TRUE(results.ok()) << results.error().text;
  if (!results.ok()) return {};
  EXPECT_EQ((*results)[0].sizes, (std::vector<int32_t>{b, s, 16}));
  EXPECT_EQ((*results)[1].sizes, (std::vector<int32_t>{b, 16, s}));
  return bytes_of(*results);
}

TEST(CpuBackendOfVaryingSizes, fixed_ones_are_right) { run_and_compare(fixed_encoder(2, 9), 1); }

TEST(CpuBackendOfVaryingSizes, gives_the_bits_of_fixed_ones_while_sizes_grow_and_shrink) {
  CompiledForTest made = compile_for_cpu(varying_encoder());
  EXPECT_EQ(made.calls, 1u);
  EXPECT_EQ(made.program.methods[0].chains[0].instructions.size(), 1u);
  for (int threads : {1, 3}) {
    Result<Module> module = Module::load(Bytes(made.file), {.threads = threads});
    ASSERT_TRUE(module.ok()) << module.error().text;
    // Both bounds; more sizes than are remembered; again what was forgotten; steps of attention
    // that are whole, and that are not.
    for (auto [b, s] : std::initializer_list<std::pair<int, int>>{{1, 2},
                                                                  {4, 300},
                                                                  {1, 2},
                                                                  {2, 9},
                                                                  {3, 256},
                                                                  {1, 257},
                                                                  {4, 2},
                                                                  {1, 300},
                                                                  {2, 17},
                                                                  {1, 33},
                                                                  {2, 9},
                                                                  {4, 300},
                                                                  {1, 2}}) {
      CompiledForTest fixed = compile_for_cpu(fixed_encoder(b, s));
      Result<Module> same = Module::load(Bytes(fixed.file));
      ASSERT_TRUE(same.ok()) << same.error().text;
      EXPECT_EQ(run_of_size(*module, b, s), run_of_size(*same, b, s)) << b << " of " << s;
    }
  }
}

TEST(CpuBackendOfVaryingSizes, sizes_seen_before_allocate_nothing) {
  Embedded embedded(varying_encoder());
  EXPECT_GT(embedded.run({2, 9, 16}), 0);
  EXPECT_EQ(embedded.run({2, 9, 16}), 0);
  EXPECT_GT(embedded.run({1, 30, 16}), 0);
  EXPECT_EQ(embedded.run({2, 9, 16}), 0);
  EXPECT_EQ(embedded.run({1, 30, 16}), 0);
}

TEST(CpuBackendOfVaryingSizes, sizes_out_of_bounds_are_an_error_with_their_place) {
  CompiledForTest made = compile_for_cpu(varying_encoder());
  // Without the checks of the method's own inputs, which come first.
  std::erase_if(made.program.named_data,
                [](const PteNamedData& data) { return data.key == "sconce.constraints"; });
  std::vector<uint8_t> file = write_pte(made.program)->joined();
  Result<Module> module = Module::load(Bytes(file));
  ASSERT_TRUE(module.ok()) << module.error().text;
  std::vector<float> x(16, 0.5f);
  std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {1, 1, 16})};
  Result<std::vector<Argument>> results = module->execute("forward", inputs);
  ASSERT_FALSE(results.ok());
  EXPECT_NE(results.error().text.find("input 0: dimension 1 has size 1; from 2 to 300 is wanted"),
            std::string::npos)
      << results.error().text;
}

// A layer in both directions, of `steps` and a batch of `b`: letters are sizes that a call tells.
std::string recurrence(const std::string& steps, const std::string& b) {
  std::string text = steps == "t" ? R"(
    symbol t in [1, 500]
    symbol b in [1, 40])"
                                  : "";
  text += R"(
    constant @i: f32[32, 6] = omitted 0000000000000001
    constant @r: f32[32, 8] = omitted 0000000000000002
    constant @v: f32[32] = omitted 0000000000000003
    method forward(%x: f32[T, B, 6] as x, %h: f32[2, B, 8] as h, %c: f32[2, B, 8] as c) {
      %i = constant @i
      %r = constant @r
      %v = constant @v
      %y: f32[T, B, 16], %n: f32[2, B, 8], %d: f32[2, B, 8] = aten::lstm.input(%x, {%h, %c}, {%i, %r, %v, %v, %i, %r, %v, %v}, true, 1, 0.0, false, true, false)
      return %y, %n, %d
    })";
  auto put = [&](const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  put("[T", "[" + steps);
  put(" B,", " " + b + ",");
  return text;
}

TEST(CpuBackendOfVaryingSizes, steps_of_a_recurrent_layer_are_a_loop) {
  run_and_compare(recurrence("4", "3"), 1);
  CompiledForTest made = compile_for_cpu(recurrence("t", "b"));
  EXPECT_EQ(made.calls, 1u);
  EXPECT_EQ(made.program.methods[0].chains[0].instructions.size(), 1u);
  auto run = [](Module& module, int t, int b) {
    std::vector<float> x(size_t(t * b) * 6), state(size_t(b) * 16);
    for (size_t i = 0; i < x.size(); i++) x[i] = float(int(i * 7 % 23) - 9) / 8;
    for (size_t i = 0; i < state.size(); i++) state[i] = float(int(i * 5 % 11) - 4) / 8;
    std::vector<Argument> inputs = {Argument::of(x.data(), DType::f32, {t, b, 6}),
                                    Argument::of(state.data(), DType::f32, {2, b, 8}),
                                    Argument::of(state.data(), DType::f32, {2, b, 8})};
    Result<std::vector<Argument>> results = module.execute("forward", inputs);
    EXPECT_TRUE(results.ok()) << results.error().text;
    if (!results.ok()) return std::vector<std::vector<uint8_t>>();
    EXPECT_EQ((*results)[0].sizes, (std::vector<int32_t>{t, b, 16}));
    return bytes_of(*results);
  };
  for (int threads : {1, 3}) {
    Result<Module> module = Module::load(Bytes(made.file), {.threads = threads});
    ASSERT_TRUE(module.ok()) << module.error().text;
    for (auto [t, b] :
         std::initializer_list<std::pair<int, int>>{{1, 1}, {500, 40}, {2, 7}, {301, 1}, {5, 39}}) {
      CompiledForTest fixed = compile_for_cpu(recurrence(std::to_string(t), std::to_string(b)));
      Result<Module> alone = Module::load(Bytes(fixed.file));
      ASSERT_TRUE(alone.ok()) << alone.error().text;
      EXPECT_EQ(run(*module, t, b), run(*alone, t, b)) << t << " steps of " << b;
    }
  }
}

TEST(CpuBackendOfVaryingSizes, every_flipped_bit_of_a_payload_is_refused_or_sound) {
  CompiledForTest made = compile_for_cpu(R"(
    symbol b in [1, 6]
    constant @w: f32[3, 4] = omitted 0000000000000001
    method forward(%x: f32[b, 4] as x) {
      %w = constant @w
      %y: f32[b, 3] = aten::linear(%x, %w, none)
      %t: f32[3, b] = aten::permute(%y, [1, 0])
      %z: f32[3, b] = aten::_softmax(%t, 1, false)
      return %z
    })");
  expect_flipped_bits_refused_or_sound(made, {2, 6, 1});
}

}  // namespace
}  // namespace sconce
