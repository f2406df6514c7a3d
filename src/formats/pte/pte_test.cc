#include "formats/pte/pte.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "base/file.h"
#include "formats/pte/tables.h"

namespace sconce {
namespace {

// Bytes at an address aligned to 16, as verify_pte() wants them. Exactly as long as the file, so
// that the sanitizer sees a read past the end.
struct AlignedBytes {
  explicit AlignedBytes(Bytes from)
      : size(from.size()), data(static_cast<uint8_t*>(aligned_alloc(64, size + 64 - size % 64))) {
    uint8_t* end = data + (size + 64 - size % 64);
    memset(data, 0xcd, size_t(end - data));
    memcpy(data, from.data(), size);
  }
  ~AlignedBytes() { free(data); }
  Bytes bytes() const { return {data, size}; }
  size_t size;
  uint8_t* data;
};

PteTensor tensor_of(std::vector<int32_t> sizes, uint32_t data_index, int64_t offset) {
  PteTensor tensor{.scalar_type = 6, .sizes = std::move(sizes), .data_index = data_index};
  if (offset >= 0) tensor.placement = PtePlacement{1, uint64_t(offset)};
  return tensor;
}

struct Sample {
  std::vector<float> weights = {1, 2, 3, 4, 5, 6};
  std::vector<float> same = weights;
  std::vector<float> start = {7, 8};
  std::vector<uint8_t> payload = {1, 2, 3, 4, 5};
  PteProgram program;

  static Bytes view(const std::vector<float>& v) {
    return {reinterpret_cast<const uint8_t*>(v.data()), v.size() * 4};
  }
  Sample() {
    program.constants = {{}, view(weights), view(start), view(same)};
    program.initial_values = {{}, view(start)};
    program.named_data = {{"note", payload, 64}, {"again", payload, 1}};
    PteMethod& method = program.methods.emplace_back();
    method.memories = {256};
    method.values = {tensor_of({2, 3}, 0, 0),
                     tensor_of({2, 3}, 1, -1),
                     int64_t(1),
                     tensor_of({2, 3}, 0, 32),
                     tensor_of({2}, 1, 64),
                     true,
                     tensor_of({2, 3}, 3, -1),
                     std::string("text"),
                     PteIntList{{2, 2}},
                     PteDoubleList{{0.5, 2}},
                     PteBoolList{{1, 0}},
                     PteTensorList{{0, 1}},
                     PteOptionalTensorList{{-1, 1}},
                     2.5,
                     std::monostate()};
    method.inputs = {0};
    method.outputs = {3};
    method.operators = {{"aten::add", "out"}};
    method.delegates = {{"Some", payload, false, {{"key", {1, 2}}}}, {"Inline", payload, true, {}}};
    PteChain& chain = method.chains.emplace_back();
    chain.instructions = {PteKernelCall{0, {0, 1, 2, 3, 3}}, PteJumpFalse{5, 0}, PteMove{0, 3},
                          PteFree{3}, PteDelegateCall{0, {0, 3}}};
    chain.stacks.resize(5);
    chain.stacks[0] = {{"model.py", 12, "forward", "x + w"}};
  }
};

Result<PteProgram> reread(const PteProgram& program, std::unique_ptr<AlignedBytes>* keep) {
  TRY(PteFile file, write_pte(program));
  *keep = std::make_unique<AlignedBytes>(file.joined());
  return read_pte((*keep)->bytes());
}

TEST(Pte, reads_back_what_was_written) {
  Sample sample;
  std::unique_ptr<AlignedBytes> keep;
  auto back = reread(sample.program, &keep);
  ASSERT_TRUE(back.ok()) << back.error().text;
  const PteMethod &a = sample.program.methods[0], &b = back->methods[0];
  ASSERT_EQ(b.values.size(), a.values.size());
  for (size_t i = 0; i < a.values.size(); i++) EXPECT_EQ(b.values[i].index(), a.values[i].index());
  EXPECT_EQ(std::get<int64_t>(b.values[2]), 1);
  EXPECT_EQ(std::get<std::string>(b.values[7]), "text");
  EXPECT_EQ(std::get<PteOptionalTensorList>(b.values[12]).items, (std::vector<int32_t>{-1, 1}));
  const PteTensor& tensor = std::get<PteTensor>(b.values[4]);
  EXPECT_EQ(tensor.placement->offset, 64u);
  EXPECT_EQ(tensor.sizes, std::vector<int32_t>{2});
  EXPECT_EQ(tensor.dim_order, std::vector<uint8_t>{0});
  EXPECT_EQ(b.memories, a.memories);
  EXPECT_EQ(b.operators[0].overload, "out");
  EXPECT_EQ(b.delegates[0].specs[0].key, "key");
  EXPECT_TRUE(b.delegates[1].stored_inline);
  EXPECT_EQ(b.delegates[1].data.size(), 5u);
  ASSERT_EQ(b.chains[0].instructions.size(), 5u);
  EXPECT_EQ(std::get<PteKernelCall>(b.chains[0].instructions[0]).args,
            (std::vector<int32_t>{0, 1, 2, 3, 3}));
  EXPECT_EQ(b.chains[0].stacks[0][0].line, 12);
  EXPECT_EQ(memcmp(back->constants[1].data(), sample.weights.data(), 24), 0);
  EXPECT_EQ(memcmp(back->initial_values[1].data(), sample.start.data(), 8), 0);
  EXPECT_EQ(back->named_data[0].data.size(), 5u);
}

TEST(Pte, writes_equal_constants_and_blobs_once) {
  Sample sample;
  std::unique_ptr<AlignedBytes> keep;
  auto back = reread(sample.program, &keep);
  ASSERT_TRUE(back.ok()) << back.error().text;
  EXPECT_EQ(back->constants[1].data(), back->constants[3].data());
  EXPECT_EQ(back->named_data[0].data.data(), back->named_data[1].data.data());
}

TEST(Pte, keeps_alignment_of_constants_and_named_data) {
  Sample sample;
  auto file = write_pte(sample.program, {.constant_alignment = 64});
  ASSERT_TRUE(file.ok()) << file.error().text;
  AlignedBytes aligned(file->joined());
  auto back = read_pte(aligned.bytes());
  ASSERT_TRUE(back.ok()) << back.error().text;
  EXPECT_EQ((back->constants[2].data() - aligned.data) % 64, 0);
  EXPECT_EQ((back->named_data[0].data.data() - aligned.data) % 64, 0);
}

TEST(Pte, writes_the_same_bytes_twice) {
  Sample one, two;
  EXPECT_EQ(write_pte(one.program)->joined(), write_pte(two.program)->joined());
}

TEST(Pte, reads_every_stock_file) {
  int count = 0;
  for (const char* name :
       {"add", "addmul", "buffer_start", "buffer_zero", "channels_last", "cond", "delegate",
        "dynamic", "item", "linear", "map", "methods", "mixed", "unplanned", "view"}) {
    std::string path = std::string(SCONCE_SOURCE_DIR "/src/runtime/testdata/") + name + ".pte";
    auto file = map_file(path);
    ASSERT_TRUE(file.ok()) << file.error().text;
    auto program = read_pte(file->bytes());
    ASSERT_TRUE(program.ok()) << name << ": " << program.error().text;
    // What was read can be written and read again with the same content.
    std::unique_ptr<AlignedBytes> keep;
    auto again = reread(*program, &keep);
    ASSERT_TRUE(again.ok()) << name << ": " << again.error().text;
    ASSERT_EQ(again->methods.size(), program->methods.size());
    for (size_t m = 0; m < program->methods.size(); m++)
      EXPECT_EQ(again->methods[m].values.size(), program->methods[m].values.size());
    count++;
  }
  EXPECT_EQ(count, 15);
}

TEST(Pte, rejects_every_truncation) {
  Sample sample;
  std::vector<uint8_t> whole = write_pte(sample.program)->joined();
  for (size_t size = 0; size < whole.size(); size++) {
    AlignedBytes cut(Bytes(whole).first(size));
    auto program = read_pte(cut.bytes());
    ASSERT_FALSE(program.ok()) << "cut to " << size;
    EXPECT_FALSE(program.error().text.empty());
  }
}

TEST(Pte, survives_every_single_bit_flip) {
  Sample sample;
  std::vector<uint8_t> whole = write_pte(sample.program)->joined();
  AlignedBytes bytes(whole);
  for (size_t bit = 0; bit < whole.size() * 8; bit++) {
    bytes.data[bit / 8] ^= uint8_t(1 << bit % 8);
    (void)read_pte(bytes.bytes());
    bytes.data[bit / 8] ^= uint8_t(1 << bit % 8);
  }
}

TEST(Pte, refuses_to_write_an_index_out_of_range) {
  auto refused = [](auto change, const char* want) {
    Sample sample;
    change(sample.program.methods[0]);
    auto file = write_pte(sample.program);
    ASSERT_FALSE(file.ok()) << want;
    EXPECT_NE(file.error().text.find(want), std::string::npos) << file.error().text;
  };
  refused([](PteMethod& m) { m.inputs = {99}; }, "an input is value 99");
  refused([](PteMethod& m) { std::get<PteTensor>(m.values[1]).data_index = 9; }, "constant 9");
  refused([](PteMethod& m) { std::get<PteTensor>(m.values[1]).sizes = {100}; }, "has 24 bytes");
  refused([](PteMethod& m) { std::get<PteTensor>(m.values[0]).placement->offset = 240; },
          "exceed planned memory");
  refused([](PteMethod& m) { m.chains[0].instructions[1] = PteJumpFalse{5, 6}; }, "jumps to 6");
  refused([](PteMethod& m) { m.chains[0].instructions[0] = PteKernelCall{1, {}}; }, "operator 1");
}

TEST(Pte, constraints_read_back) {
  PteMethodConstraints method{"forward", {"tokens", ""}, {}};
  method.rules.push_back({.input = 0, .dim = 1, .min = 2, .max = 512, .divisor = 8});
  method.rules.push_back({.input = 1,
                          .dim = kIntegerInput,
                          .min = -3,
                          .max = 3,
                          .related = true,
                          .other_input = 0,
                          .other_dim = 1,
                          .own_scale = 1,
                          .other_scale = 2,
                          .offset = -1});
  std::vector<uint8_t> bytes = write_constraints(Span<const PteMethodConstraints>(&method, 1));
  auto back = read_constraints(bytes);
  ASSERT_TRUE(back.ok()) << back.error().text;
  ASSERT_EQ(back->size(), 1u);
  EXPECT_EQ(back->front().input_names, method.input_names);
  ASSERT_EQ(back->front().rules.size(), 2u);
  EXPECT_EQ(back->front().rules[0].divisor, 8);
  EXPECT_FALSE(back->front().rules[0].related);
  EXPECT_TRUE(back->front().rules[1].related);
  EXPECT_EQ(back->front().rules[1].offset, -1);
  for (size_t size = 0; size < bytes.size(); size++)
    EXPECT_FALSE(read_constraints(Bytes(bytes).first(size)).ok()) << size;
}

}  // namespace
}  // namespace sconce
