#include "formats/bpte/bpte.h"

#include <cstring>
#include <functional>

#include <gtest/gtest.h>

#include "base/file.h"
#include "bundle_generated.h"

namespace sconce {
namespace {

std::string testdata(const char* name) {
  return std::string(SCONCE_SOURCE_DIR "/src/formats/bpte/testdata/") + name;
}

const std::vector<uint8_t> kProgram = {'p', 'r', 'o', 'g', 'r', 'a', 'm'};
const std::vector<float> kNumbers = {1, 2, 3, 4, 5, 6};

Bytes bytes_of(const std::vector<float>& numbers) {
  return {reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * 4};
}

TEST(Bpte, reads_what_stock_wrote) {
  auto file = map_file(testdata("methods.bpte"));
  ASSERT_TRUE(file.ok()) << file.error().text;
  auto bundle = read_bpte(file->bytes());
  ASSERT_TRUE(bundle.ok()) << bundle.error().text;
  ASSERT_EQ(bundle->suites.size(), 2u);
  const BpteSuite &forward = bundle->suites[0], &rows = bundle->suites[1];
  EXPECT_EQ(forward.method, "forward");
  ASSERT_EQ(forward.cases.size(), 1u);
  ASSERT_EQ(forward.cases[0].inputs.size(), 4u);
  const auto& x = std::get<BpteTensor>(forward.cases[0].inputs[0]);
  EXPECT_EQ(x.dtype, DType::f32);
  EXPECT_EQ(x.sizes, (std::vector<int32_t>{2, 2}));
  EXPECT_EQ(x.dim_order, (std::vector<uint8_t>{0, 1}));
  EXPECT_EQ(x.bytes.size(), 16u);
  EXPECT_EQ(std::get<int64_t>(forward.cases[0].inputs[1]), 3);
  EXPECT_EQ(std::get<bool>(forward.cases[0].inputs[2]), true);
  EXPECT_EQ(std::get<double>(forward.cases[0].inputs[3]), 0.5);
  ASSERT_EQ(forward.cases[0].outputs.size(), 2u);
  EXPECT_TRUE(std::get<BpteTensor>(forward.cases[0].outputs[1]).sizes.empty());
  EXPECT_EQ(rows.method, "rows");
  ASSERT_EQ(rows.cases.size(), 2u);
  EXPECT_EQ(std::get<BpteTensor>(rows.cases[0].inputs[0]).sizes, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(rows.cases[1].outputs.empty());
  EXPECT_EQ(memcmp(bundle->program.data() + 4, "ET12", 4), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(bundle->program.data()) % 16, 0u);
}

TEST(Bpte, gives_back_what_it_wrote) {
  BpteTensor tensor{DType::f32, {2, 3}, {1, 0}, bytes_of(kNumbers)};
  BpteTensor empty{DType::i64, {0, 4}, {0, 1}, {}};
  BpteTensor scalar{DType::f32, {}, {}, bytes_of(kNumbers).first(4)};
  BpteFile file;
  file.program = kProgram;
  file.suites = {{"second", {{{tensor, int64_t(-7), true, 0.25}, {scalar, empty}}, {{}, {}}}},
                 {"first", {}}};
  auto bytes = write_bpte(file);
  ASSERT_TRUE(bytes.ok()) << bytes.error().text;
  auto again = read_bpte(*bytes);
  ASSERT_TRUE(again.ok()) << again.error().text;
  ASSERT_EQ(again->suites.size(), 2u);
  EXPECT_EQ(again->suites[0].method, "first");
  const BpteSuite& suite = again->suites[1];
  EXPECT_EQ(suite.method, "second");
  ASSERT_EQ(suite.cases.size(), 2u);
  const auto& inputs = suite.cases[0].inputs;
  ASSERT_EQ(inputs.size(), 4u);
  const auto& x = std::get<BpteTensor>(inputs[0]);
  EXPECT_EQ(x.sizes, tensor.sizes);
  EXPECT_EQ(x.dim_order, tensor.dim_order);
  ASSERT_EQ(x.bytes.size(), 24u);
  EXPECT_EQ(memcmp(x.bytes.data(), kNumbers.data(), 24), 0);
  EXPECT_EQ((x.bytes.data() - bytes->data()) % 16, 0);
  EXPECT_EQ(std::get<int64_t>(inputs[1]), -7);
  EXPECT_EQ(std::get<bool>(inputs[2]), true);
  EXPECT_EQ(std::get<double>(inputs[3]), 0.25);
  EXPECT_EQ(std::get<BpteTensor>(suite.cases[0].outputs[0]).bytes.size(), 4u);
  EXPECT_EQ(std::get<BpteTensor>(suite.cases[0].outputs[1]).dtype, DType::i64);
  EXPECT_TRUE(suite.cases[1].inputs.empty());
  ASSERT_EQ(again->program.size(), kProgram.size());
  EXPECT_EQ(memcmp(again->program.data(), kProgram.data(), kProgram.size()), 0);
  EXPECT_EQ((again->program.data() - bytes->data()) % 32, 0);
}

TEST(Bpte, finds_the_program_in_a_bundle_and_leaves_other_files_alone) {
  auto bytes = write_bpte({{}, kProgram});
  ASSERT_TRUE(bytes.ok());
  auto inside = program_in(*bytes);
  ASSERT_TRUE(inside.ok());
  EXPECT_EQ(inside->size(), kProgram.size());
  auto other = program_in(kProgram);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->data(), kProgram.data());
}

TEST(Bpte, does_not_write_what_it_would_not_read) {
  struct Wrong {
    const char* said;
    std::function<void(BpteFile&, BpteTensor&)> make;
  };
  const Wrong wrongs[] = {
      {"needs a program", [](BpteFile& f, BpteTensor&) { f.program = {}; }},
      {"a method's name of 0 bytes", [](BpteFile& f, BpteTensor&) { f.suites[0].method = ""; }},
      {"method m: case 0: has 24 bytes, its sizes want 28",
       [](BpteFile&, BpteTensor& t) { t.sizes = {7}, t.dim_order = {0}; }},
      {"dim order is no order of 1", [](BpteFile&, BpteTensor& t) { t.sizes = {6}; }},
      {"a size is negative", [](BpteFile&, BpteTensor& t) { t.sizes = {-1}, t.dim_order = {0}; }},
  };
  for (const Wrong& wrong : wrongs) {
    BpteTensor tensor{DType::f32, {2, 3}, {0, 1}, bytes_of(kNumbers)};
    BpteFile file{{{"m", {{{}, {}}}}}, kProgram};
    wrong.make(file, tensor);
    file.suites[0].cases[0].inputs = {tensor};
    auto bytes = write_bpte(file);
    ASSERT_FALSE(bytes.ok()) << wrong.said;
    EXPECT_NE(bytes.error().text.find(wrong.said), std::string::npos) << bytes.error().text;
  }
}

// --- files that lie -----------------------------------------------------------------------------

struct Parts {
  uint32_t version = 0;
  std::string method = "forward", program = "program";
  int8_t dtype = int8_t(DType::f32);
  std::vector<int32_t> sizes = {2, 3};
  std::vector<uint8_t> dim_order = {0, 1}, data = std::vector<uint8_t>(24);
  bpte::fb::Content tag = bpte::fb::Content_Tensor;
  bool content = true, expected = false;
  const char* identifier = "BP08";
};

std::vector<uint8_t> file_of(const Parts& parts) {
  using namespace bpte::fb;
  flatbuffers::FlatBufferBuilder builder;
  auto tensor =
      CreateTensorDirect(builder, parts.dtype, &parts.sizes, &parts.data, &parts.dim_order);
  auto value = CreateValue(builder, parts.tag, parts.content ? tensor.Union() : 0);
  auto number = CreateValue(builder, Content_Int, CreateInt(builder, 1).Union());
  std::vector<flatbuffers::Offset<Value>> inputs = {number, value}, outputs = {number};
  if (parts.expected) std::swap(inputs, outputs);
  std::vector<flatbuffers::Offset<Case>> cases = {CreateCaseDirect(builder, &inputs, &outputs)};
  std::vector<flatbuffers::Offset<Suite>> suites = {
      CreateSuite(builder, builder.CreateString(parts.method), builder.CreateVector(cases))};
  std::vector<uint8_t> program(parts.program.begin(), parts.program.end());
  builder.Finish(CreateFileDirect(builder, parts.version, &suites, &program), parts.identifier);
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

TEST(Bpte, refuses_every_lie_and_names_it) {
  struct Lie {
    const char* said;
    std::function<void(Parts&)> tell;
  };
  const Lie lies[] = {
      {"BP08 is wanted", [](Parts& p) { p.identifier = "BP07"; }},
      {"version 3, we read 0 to 2", [](Parts& p) { p.version = 3; }},
      {"there is no program", [](Parts& p) { p.program = ""; }},
      {"suite 0 names no method", [](Parts& p) { p.method = ""; }},
      {"name of its method has 2000 bytes", [](Parts& p) { p.method = std::string(2000, 'm'); }},
      {"name of its method has a zero byte",
       [](Parts& p) { p.method = std::string("forw\0rd", 7); }},
      {"method forward: case 0: input 1: has no content", [](Parts& p) { p.content = false; }},
      {"input 1: its tag is 5", [](Parts& p) { p.tag = bpte::fb::Content(5); }},
      {"input 1: its tag is 0", [](Parts& p) { p.tag = bpte::fb::Content_NONE; }},
      {"expected output 1: dtype 120 is none",
       [](Parts& p) {
         p.dtype = 120;
         p.expected = true;
       }},
      {"dtype -3 is none", [](Parts& p) { p.dtype = -3; }},
      {"rank 17 exceeds 16", [](Parts& p) { p.sizes = std::vector<int32_t>(17, 1); }},
      {"rank 100000 exceeds 16", [](Parts& p) { p.dim_order = std::vector<uint8_t>(100000); }},
      {"dim order is no order of 2",
       [](Parts& p) {
         p.dim_order = {1, 1};
       }},
      {"dim order is no order of 2",
       [](Parts& p) {
         p.dim_order = {0, 2};
       }},
      {"dim order is no order of 2", [](Parts& p) { p.dim_order = {}; }},
      {"a size is negative",
       [](Parts& p) {
         p.sizes = {-2, -3};
       }},
      {"sizes overflow",
       [](Parts& p) {
         p.sizes = {INT32_MAX, INT32_MAX, INT32_MAX};
         p.dim_order = {0, 1, 2};
       }},
      {"has 24 bytes, its sizes want 36028797",
       [](Parts& p) {
         p.sizes = {1 << 30, 1 << 23};
       }},
      {"has 23 bytes, its sizes want 24", [](Parts& p) { p.data.resize(23); }},
      {"has 0 bytes, its sizes want 24", [](Parts& p) { p.data.clear(); }},
  };
  ASSERT_TRUE(read_bpte(file_of({})).ok());
  for (const Lie& lie : lies) {
    Parts parts;
    lie.tell(parts);
    auto read = read_bpte(file_of(parts));
    ASSERT_FALSE(read.ok()) << lie.said;
    EXPECT_NE(read.error().text.find(lie.said), std::string::npos) << read.error().text;
  }
}

TEST(Bpte, takes_more_bytes_than_the_sizes_want_and_shows_only_those) {
  Parts parts;
  parts.data.resize(40);
  auto read = read_bpte(file_of(parts));
  ASSERT_TRUE(read.ok()) << read.error().text;
  EXPECT_EQ(std::get<BpteTensor>(read->suites[0].cases[0].inputs[1]).bytes.size(), 24u);
}

}  // namespace
}  // namespace sconce
