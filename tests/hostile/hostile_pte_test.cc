#include <gtest/gtest.h>

#include <functional>

#include "base/file.h"
#include "formats/pte/pte.h"
#include "run_untrusted.h"

namespace sconce {
namespace {

const char* const kFiles[] = {"add",  "addmul",   "buffer_start", "buffer_zero", "channels_last",
                              "cond", "delegate", "dynamic",      "item",        "linear",
                              "map",  "methods",  "mixed",        "unplanned",   "view"};

std::vector<uint8_t> read_file(const std::string& name) {
  auto file = map_file(SCONCE_SOURCE_DIR "/src/runtime/testdata/" + name + ".pte");
  EXPECT_TRUE(file.ok());
  return {file->bytes().begin(), file->bytes().end()};
}

TEST(HostilePte, every_truncation_of_every_file_is_refused_or_sound) {
  for (const char* name : kFiles) {
    std::vector<uint8_t> whole = read_file(name);
    for (size_t size = 0; size < whole.size(); size++) {
      UntrustedResult result = run_untrusted(Bytes(whole).first(size), all_kernels());
      // Only padding behind the last segment may go.
      if (size < 256) {
        ASSERT_FALSE(result.loaded) << name << " cut to " << size;
      }
    }
  }
}

TEST(HostilePte, every_bit_flip_of_every_file_is_refused_or_sound) {
  int refused = 0, ran = 0;
  for (const char* name : kFiles) {
    std::vector<uint8_t> bytes = read_file(name);
    for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
      UntrustedResult result = run_untrusted(bytes, all_kernels());
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
      (result.first_error.empty() ? ran : refused)++;
    }
  }
  printf("%d flips refused, %d ran\n", refused, ran);
}

// --- every index, offset, size and kind out of range --------------------------------------------

PteTensor planned(std::vector<int32_t> sizes, uint64_t offset) {
  PteTensor tensor{.scalar_type = 6, .sizes = std::move(sizes)};
  tensor.placement = PtePlacement{1, offset};
  return tensor;
}

// out = (a + w) twice in a loop that ends by its condition; state; lists.
PteProgram sound_program(const std::vector<float>& weights) {
  PteProgram program;
  Bytes bytes(reinterpret_cast<const uint8_t*>(weights.data()), weights.size() * 4);
  program.constants = {{}, bytes};
  program.initial_values = {{}, bytes};
  program.named_data = {{"note", bytes, 16}};
  PteMethod& m = program.methods.emplace_back();
  m.memories = {256};
  PteTensor weight{.scalar_type = 6, .sizes = {2, 2}, .data_index = 1};
  PteTensor state = planned({2, 2}, 128);
  state.data_index = 1;
  m.values = {planned({2, 2}, 0),
              weight,
              planned({2, 2}, 64),
              int64_t(1),
              false,
              state,
              PteIntList{{3, 3}},
              PteTensorList{{0, 1}},
              PteOptionalTensorList{{-1, 2}},
              planned({4, 2}, 192),
              int64_t(0),
              int64_t(0)};
  m.inputs = {0};
  m.outputs = {2, 3};
  m.operators = {{"aten::add", "out"}, {"aten::cat", "out"}, {"executorch_prim::add", "Scalar"}};
  PteChain& chain = m.chains.emplace_back();
  chain.instructions = {PteKernelCall{0, {0, 1, 3, 2, 2}},
                        PteKernelCall{1, {7, 10, 9, 9}},
                        PteKernelCall{2, {3, 3, 11, 11}},
                        PteJumpFalse{4, 5},
                        PteMove{2, 0},
                        PteFree{2}};
  return program;
}

struct Lie {
  const char* what;
  const char* want;  // part of the text
  std::function<void(PteMethod&)> tell;
};

TEST(HostilePte, every_lie_of_a_program_gets_a_clear_error) {
  auto tensor = [](PteMethod& m, size_t i) -> PteTensor& {
    return std::get<PteTensor>(m.values[i]);
  };
  auto instruction = [](PteMethod& m, size_t i) -> PteInstruction& {
    return m.chains[0].instructions[i];
  };
  const Lie lies[] = {
      {"input past the end", "input is value 99", [](PteMethod& m) { m.inputs = {99}; }},
      {"negative input", "input is value -1", [](PteMethod& m) { m.inputs = {-1}; }},
      {"output past the end", "output is value 12", [](PteMethod& m) { m.outputs = {12}; }},
      {"operator index", "operator 3, the method has 3",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 0)).operator_index = 3; }},
      {"negative operator", "operator -5",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 0)).operator_index = -5; }},
      {"argument index", "argument is value 77",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 0)).args[1] = 77; }},
      {"too few arguments", "2 arguments",
       [&](PteMethod& m) {
         std::get<PteKernelCall>(instruction(m, 0)).args = {0, 1};
       }},
      {"too many arguments", "arguments",
       [&](PteMethod& m) {
         std::get<PteKernelCall>(instruction(m, 0)).args = {0, 1, 3, 2, 2, 2, 2};
       }},
      {"argument of another kind", "argument 0 has kind",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 0)).args[0] = 3; }},
      {"number where a list is wanted", "argument 0 has kind",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 1)).args[0] = 3; }},
      {"out is a constant", "writes to a constant",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 0)).args[3] = 1; }},
      {"out of a prim is a tensor", "wrong kind",
       [&](PteMethod& m) { std::get<PteKernelCall>(instruction(m, 2)).args[2] = 0; }},
      {"unknown operator", "missing here: aten::teleport.out",
       [](PteMethod& m) {
         m.operators[0] = {"aten::teleport", "out"};
       }},
      {"very long operator name", "exceeds 127",
       [](PteMethod& m) { m.operators[0].name = std::string(300, 'x'); }},
      {"delegate index", "delegate 0, the method has 0",
       [&](PteMethod& m) {
         instruction(m, 5) = PteDelegateCall{0, {0}};
       }},
      {"unknown delegate", "delegate Nobody",
       [&](PteMethod& m) {
         m.delegates = {{"Nobody", {}, true, {}}};
       }},
      {"move from past the end", "moved value 50",
       [&](PteMethod& m) {
         instruction(m, 4) = PteMove{50, 0};
       }},
      {"move to past the end", "moved value -2",
       [&](PteMethod& m) {
         instruction(m, 4) = PteMove{0, -2};
       }},
      {"move of a number over a tensor", "moves value 3",
       [&](PteMethod& m) {
         instruction(m, 4) = PteMove{3, 0};
       }},
      {"condition index", "condition is value 40",
       [&](PteMethod& m) {
         instruction(m, 3) = PteJumpFalse{40, 5};
       }},
      {"condition of another kind", "condition is value 6",
       [&](PteMethod& m) {
         instruction(m, 3) = PteJumpFalse{6, 5};
       }},
      {"jump past the end", "jumps to 7",
       [&](PteMethod& m) {
         instruction(m, 3) = PteJumpFalse{4, 7};
       }},
      {"jump before the start", "jumps to -1",
       [&](PteMethod& m) {
         instruction(m, 3) = PteJumpFalse{4, -1};
       }},
      {"endless loop", "endless loop",
       [&](PteMethod& m) {
         instruction(m, 3) = PteJumpFalse{4, 3};
       }},
      {"free of a number", "frees value 3", [&](PteMethod& m) { instruction(m, 5) = PteFree{3}; }},
      {"free past the end", "freed value 90",
       [&](PteMethod& m) { instruction(m, 5) = PteFree{90}; }},
      {"integer list of a tensor", "no integer",
       [](PteMethod& m) { std::get<PteIntList>(m.values[6]).items = {0}; }},
      {"integer list past the end", "value 1099511627776",
       [](PteMethod& m) { std::get<PteIntList>(m.values[6]).items = {int64_t(1) << 40}; }},
      {"tensor list of a number", "no tensor",
       [](PteMethod& m) { std::get<PteTensorList>(m.values[7]).items = {3}; }},
      {"tensor list with -1", "value -1",
       [](PteMethod& m) { std::get<PteTensorList>(m.values[7]).items = {-1}; }},
      {"optional list with -2", "value -2",
       [](PteMethod& m) { std::get<PteOptionalTensorList>(m.values[8]).items = {-2}; }},
      {"element type", "element type code 99",
       [&](PteMethod& m) { tensor(m, 0).scalar_type = 99; }},
      {"negative size", "negative",
       [&](PteMethod& m) {
         tensor(m, 0).sizes = {-2, 2};
       }},
      {"sizes overflow", "overflow",
       [&](PteMethod& m) {
         tensor(m, 0).sizes = {INT32_MAX, INT32_MAX, INT32_MAX};
       }},
      {"rank", "rank 17 exceeds 16",
       [&](PteMethod& m) { tensor(m, 0).sizes = std::vector<int32_t>(17, 1); }},
      {"dim order with a repeat", "dim order",
       [&](PteMethod& m) {
         tensor(m, 0).dim_order = {1, 1};
       }},
      {"dim order past the rank", "dim order",
       [&](PteMethod& m) {
         tensor(m, 0).dim_order = {0, 2};
       }},
      {"short dim order", "dim order", [&](PteMethod& m) { tensor(m, 0).dim_order = {0}; }},
      {"shape dynamism", "shape dynamism 3",
       [&](PteMethod& m) { tensor(m, 0).dynamism = PteDynamism(3); }},
      {"planned and unbounded", "without upper bound",
       [&](PteMethod& m) { tensor(m, 0).dynamism = PteDynamism::unbounded; }},
      {"memory 0", "planned memory 0",
       [&](PteMethod& m) { tensor(m, 0).placement->memory_id = 0; }},
      {"memory past the end", "planned memory 2",
       [&](PteMethod& m) { tensor(m, 0).placement->memory_id = 2; }},
      {"offset past the memory", "exceed planned memory",
       [&](PteMethod& m) { tensor(m, 0).placement->offset = 248; }},
      {"offset overflows", "exceed planned memory",
       [&](PteMethod& m) { tensor(m, 0).placement->offset = ~uint64_t(0) - 7; }},
      {"misaligned offset", "no multiple of 4",
       [&](PteMethod& m) { tensor(m, 0).placement->offset = 2; }},
      {"negative memory", "planned memory 1 has -1",
       [](PteMethod& m) { m.memories[0] = ~uint64_t(0); }},
      {"constant index", "constant 9 of 2", [&](PteMethod& m) { tensor(m, 1).data_index = 9; }},
      {"constant larger than its segment", "exceed its segment",
       [&](PteMethod& m) {
         tensor(m, 1).sizes = {2, 3};
       }},
      {"initial value index", "initial value 9",
       [&](PteMethod& m) { tensor(m, 5).data_index = 9; }},
      {"initial value larger than its segment", "exceed its segment",
       [&](PteMethod& m) {
         tensor(m, 5).sizes = {2, 4};
       }},
      {"external without a name", "without a name",
       [&](PteMethod& m) { tensor(m, 1).external = true; }},
      {"external that is nowhere", "external data \"w\": 0 bytes",
       [&](PteMethod& m) { tensor(m, 1).external = true, tensor(m, 1).name = "w"; }},
      {"tensor of another device", "device type 1",
       [&](PteMethod& m) { tensor(m, 0).device_type = 1; }},
      {"method without a name", "no name", [](PteMethod& m) { m.name.clear(); }},
  };
  std::vector<float> weights = {1, 2, 3, 4};
  for (const Lie& lie : lies) {
    SCOPED_TRACE(lie.what);
    PteProgram program = sound_program(weights);
    lie.tell(program.methods[0]);
    auto file = write_pte(program, {.unchecked = true});
    if (!file.ok()) {  // only what no option lets through
      EXPECT_NE(file.error().text.find(lie.want), std::string::npos) << file.error().text;
      continue;
    }
    UntrustedResult result = run_untrusted(file->joined(), all_kernels());
    EXPECT_EQ(result.methods_run, 0);
    EXPECT_NE(result.first_error.find(lie.want), std::string::npos) << result.first_error;
  }
}

TEST(HostilePte, the_program_without_lies_runs) {
  std::vector<float> weights = {1, 2, 3, 4};
  auto file = write_pte(sound_program(weights));
  ASSERT_TRUE(file.ok()) << file.error().text;
  UntrustedResult result = run_untrusted(file->joined(), all_kernels());
  EXPECT_EQ(result.methods_run, 1) << result.first_error;
}

TEST(HostilePte, lies_of_the_header_get_a_clear_error) {
  std::vector<float> weights = {1, 2, 3, 4};
  std::vector<uint8_t> sound = write_pte(sound_program(weights))->joined();
  auto refused = [&](size_t at, uint64_t value, size_t size, const char* want) {
    std::vector<uint8_t> bytes = sound;
    memcpy(bytes.data() + at, &value, size);
    UntrustedResult result = run_untrusted(bytes, all_kernels());
    EXPECT_FALSE(result.loaded);
    EXPECT_NE(result.first_error.find(want), std::string::npos) << result.first_error;
  };
  uint64_t end = sound.size();
  refused(0, 0xffffffff, 4, "root table");
  refused(0, 1, 4, "misaligned");
  refused(4, '?', 1, "not a .pte");
  refused(6, '1' | '3' << 8, 2, "ET13");
  refused(12, 8, 4, "extended header of 8 bytes");
  refused(12, 0xfffffff0, 4, "extended header");
  refused(16, end + 1, 8, "header says the program has");
  refused(16, ~uint64_t(0), 8, "header says the program has");
  refused(16, 8, 8, "header says the program has");
  refused(24, end + 1, 8, "header puts segments");
  refused(24, 32, 8, "header puts segments");
  refused(24, ~uint64_t(0), 8, "header puts segments");
  refused(24, 0, 8, "exceed the 0 bytes of segments");
  refused(32, end, 8, "file is cut");
  refused(32, ~uint64_t(0), 8, "file is cut");
  refused(32, 1, 8, "exceed the 1 bytes of segments");
}

}  // namespace
}  // namespace sconce
