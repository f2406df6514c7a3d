#include "formats/safetensors/header.h"

#include <gtest/gtest.h>

namespace sconce {
namespace {

std::vector<uint8_t> file_of(std::string json, size_t data_bytes) {
  std::vector<uint8_t> file(8);
  for (int i = 0; i < 8; i++) file[size_t(i)] = uint8_t(json.size() >> (8 * i));
  file.insert(file.end(), json.begin(), json.end());
  file.resize(file.size() + data_bytes, 7);
  return file;
}

// What a header says, or why it is none.
std::string text_of(const Result<Header>& header) {
  if (!header.ok()) return header.error().text;
  std::string text;
  for (const auto& [key, value] : header->metadata()) text += fmt::format("{}={}\n", key, value);
  for (const TensorInfo& info : header->tensors()) {
    text += fmt::format("{} {} {} {} {}\n", info.name, element_name(info.type),
                        shape_text(info.shape), info.begin, info.end);
    EXPECT_EQ(header->find(info.name), &info);
  }
  for (const TensorInfo* info : header->by_name()) (text += info->name) += '\n';
  return text;
}

Result<Header> read_in_windows(const std::vector<uint8_t>& file, AcceptMode mode,
                               uint64_t window_bytes) {
  auto read = [&](uint64_t offset, uint8_t* out, uint64_t bytes) -> Result<void> {
    if (offset + bytes > file.size()) return error(Code::io, "read past the end");
    std::copy_n(file.begin() + ptrdiff_t(offset), bytes, out);
    return {};
  };
  return read_header(file.size(), read, mode, window_bytes);
}

// The same is found when the header is read in windows of any size.
std::string error_of(const std::string& json, size_t data_bytes,
                     AcceptMode mode = AcceptMode::standard) {
  auto file = file_of(json, data_bytes);
  auto read = parse_header(file, file.size(), mode);
  for (uint64_t bytes : {16, 60, 100})
    EXPECT_EQ(text_of(read_in_windows(file, mode, bytes)), text_of(read)) << bytes << ": " << json;
  return read.ok() ? "accepted" : read.error().text;
}

constexpr const char* kOne = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

TEST(Header, rejects_lies_in_the_header) {
  struct Case {
    const char* json;
    size_t data_bytes;
    const char* message;
  };
  const Case cases[] = {
      {"", 0, "InvalidHeaderDeserialization: byte"},
      {"[]", 0, "wanted '{'"},
      {"{}{}", 0, "InvalidHeaderDeserialization: byte"},
      {"{} \x01", 0, "InvalidHeaderDeserialization: byte"},
      {R"({"a":1})", 0, "wanted '{' of a tensor"},
      {R"({"a":["F32",[1],[0,4]]})", 4, "wanted '{' of a tensor"},
      {R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "\"dtype\" is missing"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "\"shape\" is missing"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "\"data_offsets\" is missing"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "twice"},
      {R"({"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}})", 4, "dtype \"f32\""},
      {R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", 4,
       "MisalignedSlice: tensor \"a\""},
      {R"({"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}})", 4, "as a string"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "wanted '[' of shape"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "a number in shape is "},
      {R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, "a number in shape is "},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "a number in shape is "},
      {R"({"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}})", 4, "a number in shape is 01,"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4,
       "data_offsets as [begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4,
       "data_offsets as [begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "InvalidOffset"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "TensorInvalidInfo: tensor \"a\": F32 [2] takes 8 bytes, data_offsets hold 4"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
       "InvalidOffset: tensor \"a\" has data_offsets [4, 8], the data before it ends at 0"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5,
       "MetadataIncompleteBuffer: the tensors end at byte 4 of the data, the file has 5"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3,
       "MetadataIncompleteBuffer: the tensors end at byte 4 of the data, the file has 3"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
       "ValidationOverflow"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,0]}})", 0,
       "ValidationOverflow"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
       "ValidationOverflow"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
       4, "DuplicateName"},
      {R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0074":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0, "DuplicateName"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
       6, "InvalidOffset"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "InvalidOffset"},
      {R"({"__metadata__":{"a":1}})", 0, "is not a string"},
      {R"({"__metadata__":[]})", 0, "wanted '{' of __metadata__"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "twice"},
      {R"({"__metadata__":{"a":"","a":""}})", 0, "twice"},
      {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "InvalidHeader: "},
  };
  for (const Case& c : cases)
    EXPECT_NE(error_of(c.json, c.data_bytes).find(c.message), std::string::npos)
        << c.json << "\n  " << error_of(c.json, c.data_bytes);
}

TEST(Header, names_the_lies_in_the_length) {
  auto file = file_of(kOne, 4);
  auto text_of = [](Bytes bytes) {
    auto read = header_bytes(bytes, bytes.size());
    return read.ok() ? "accepted" : read.error().text;
  };
  EXPECT_NE(text_of(Bytes(file).first(7)).find("HeaderTooSmall: 7 bytes"), std::string::npos);
  file[5] = 1;
  EXPECT_NE(text_of(file).find("HeaderTooLarge"), std::string::npos);
  file[5] = 0, file[2] = 1;
  EXPECT_NE(text_of(file).find("InvalidHeaderLength"), std::string::npos);
}

struct ModeCase {
  const char* what;
  std::string json;
  size_t data_bytes;
  bool strict, standard, reference;
};

// Section "accepted although surprising": what each mode makes of it.
TEST(Header, accepts_by_mode) {
  auto nested = [](int lists) {  // in a tensor, which is the second object
    return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":)" +
           std::string(size_t(lists), '[') + std::string(size_t(lists), ']') + "}}";
  };
  auto extra = [](std::string value) {
    return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":)" + value + "}}";
  };
  const std::string kOneText = kOne;
  const ModeCase cases[] = {
      {"plain", kOneText, 4, false, true, true},  // 8 + 54 is no multiple of 4
      {"aligned", kOneText + "  ", 4, true, true, true},
      {"tab after", kOneText + "\t\t", 4, false, true, true},
      {"space before", "  " + kOneText, 4, false, true, true},
      {"NUL after", kOneText + std::string(2, '\0'), 4, false, false, false},
      {"unknown field", extra("[{\"y\":[1.5e3,null]}]"), 4, false, true, true},
      {"nested 125 in 2", nested(125), 4, false, true, true},
      {"nested 126 in 2", nested(126), 4, false, false, false},
      {"number past double", extra("1e309"), 4, false, false, false},
      {"zero with huge exponent", extra("0e99999999999"), 4, false, true, true},
      {"lone surrogate", extra(R"("\ud800")"), 4, false, false, false},
      {"name given twice",
       R"({"t":{"dtype":"F32","shape":[9],"data_offsets":[7,0]},"\u0074":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )",
       4, false, false, true},
      {"metadata key twice", R"({"__metadata__":{"a":"1","a":"2"}}  )", 0, false, false, true},
      {"metadata null", R"({"__metadata__":null}   )", 0, false, true, true},
      {"tensor as list", R"({"a":["F32",[1],[0,4]]})", 4, false, false, true},
      {"list of 4", R"({"a":["F32",[1],[0,4],1]})", 4, false, false, false},
      {"dtype as map", R"({"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}})", 4, false,
       false, true},
      {"zero first",
       R"({"a":{"dtype":"U8","shape":[0,18446744073709551615,2],"data_offsets":[0,0]}})", 0, true,
       true, true},
      {"overflow first",
       R"({"a":{"dtype":"U8","shape":[18446744073709551615,2,0],"data_offsets":[0,0]}})", 0, false,
       false, false},
      {"half a byte", R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, false, false,
       false},
      {"two halves", R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1, true, true,
       true},
      {"6-bit floats", R"({"a":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]}})", 3, true,
       true, true},
      {"empty name", R"({"":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )", 4, false, true,
       true},
  };
  for (const ModeCase& c : cases) {
    EXPECT_EQ(error_of(c.json, c.data_bytes, AcceptMode::strict) == "accepted", c.strict)
        << c.what << ": " << error_of(c.json, c.data_bytes, AcceptMode::strict);
    EXPECT_EQ(error_of(c.json, c.data_bytes) == "accepted", c.standard)
        << c.what << ": " << error_of(c.json, c.data_bytes);
    EXPECT_EQ(error_of(c.json, c.data_bytes, AcceptMode::reference) == "accepted", c.reference)
        << c.what << ": " << error_of(c.json, c.data_bytes, AcceptMode::reference);
  }
}

TEST(Header, takes_the_last_of_equal_names_as_the_reference_does) {
  auto file = file_of(
      R"({"__metadata__":{"k":"1","k":"2"},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})",
      4);
  auto read = parse_header(file, file.size(), AcceptMode::reference);
  ASSERT_TRUE(read.ok()) << read.error().text;
  ASSERT_EQ(read->tensors().size(), 1u);
  EXPECT_EQ(read->find("a")->type, ElementType::i8);
  EXPECT_EQ(read->metadata(), (Metadata{{"k", "2"}}));
}

TEST(Header, decodes_escapes_and_finds_names) {
  auto file = file_of(
      R"({"\u00e9\ud83d\ude00\n\/":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b\u0000":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
      2);
  auto read = parse_header(file, file.size());
  ASSERT_TRUE(read.ok()) << read.error().text;
  Header moved = std::move(*read);
  ASSERT_TRUE(moved.find("\u00e9\U0001f600\n/"));
  EXPECT_EQ(moved.find("\u00e9\U0001f600\n/")->begin, 1u);
  ASSERT_TRUE(moved.find(std::string_view("b\0", 2)));
  EXPECT_EQ(moved.find("b"), nullptr);
  EXPECT_EQ(moved.by_name()[0]->name, std::string_view("b\0", 2));
  EXPECT_EQ(Header().find("b"), nullptr);
}

TEST(Header, sorts_names_whatever_the_order_of_the_data) {
  std::string json = "{";
  for (int i = 0; i < 1000; i++) {  // 7919 is prime: every number once, in no order
    int name = i * 7919 % 1000;
    json += fmt::format("{}\"{}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{},{}]}}",
                        i ? "," : "", name, i, i + 1);
  }
  auto file = file_of(json + "}", 1000);
  auto read = parse_header(file, file.size());
  ASSERT_TRUE(read.ok()) << read.error().text;
  EXPECT_EQ(text_of(read_in_windows(file, AcceptMode::standard, 1000)), text_of(read));
  auto sorted = read->by_name();
  for (size_t i = 1; i < sorted.size(); i++) EXPECT_LT(sorted[i - 1]->name, sorted[i]->name);
  for (int i = 0; i < 1000; i++)
    EXPECT_EQ(read->find(std::to_string(i * 7919 % 1000))->begin, uint64_t(i));
}

TEST(Header, reads_the_same_in_windows_of_any_size) {
  std::string json = R"( {"__metadata__":{"a":"b","c":"\u00e9"}, "\u0074":{"dtype":"F32","shape":)"
                     R"([],"data_offsets":[0,4]})";
  uint64_t at = 4;
  for (int i = 0; i < 40; i++) {  // two runs of names, shapes that change, one field unknown
    std::string name = fmt::format("{}.layer.{:02}.caf\u00e9", i % 2 ? "model" : "decoder", i);
    uint64_t bytes = uint64_t(i % 3) * 2;
    json +=
        fmt::format(",{}\"{}\":{{\"dtype\":\"{}\",\"shape\":[1,{}],{}\"data_offsets\":[{},{}]}}",
                    i % 7 ? "" : " \n", name, i % 5 ? "BF16" : "F16", i % 3,
                    i % 11 ? "" : R"("x":[1,{"y":"z"}],)", at, at + bytes);
    at += bytes;
  }
  auto file = file_of(json + "}   \n", at);
  auto whole = parse_header(file, file.size());
  ASSERT_TRUE(whole.ok()) << whole.error().text;
  for (uint64_t bytes = 8; bytes < file.size(); bytes++)
    ASSERT_EQ(text_of(read_in_windows(file, AcceptMode::standard, bytes)), text_of(whole)) << bytes;
}

TEST(Header, says_what_is_wrong_behind_the_first_window) {
  std::string json = "{";
  for (int i = 0; i < 100; i++)
    json += fmt::format("\"{}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{},{}]}},", i, i,
                        i + 1);
  for (const char* end :
       {R"("x":1})", R"("7":{"dtype":"U8","shape":[1],"data_offsets":[100,101]}})", "\"\xff\":1}",
        "",
        R"("x":{"dtype":"U8","shape":[2],"data_offsets":)"
        R"([100,101]}})"}) {
    auto file = file_of(json + end, 101);
    std::string wanted = text_of(parse_header(file, file.size()));
    EXPECT_EQ(text_of(read_in_windows(file, AcceptMode::standard, 200)), wanted);
    EXPECT_NE(wanted.find(":"), std::string::npos);
  }
}

TEST(Header, rejects_every_truncation) {
  auto file = file_of(kOne, 4);
  for (size_t size = 0; size < file.size(); size++) {
    auto bytes = header_bytes(Bytes(file).first(size), size);
    if (!bytes.ok()) continue;
    EXPECT_FALSE(parse_header(Bytes(file).first(size), size, AcceptMode::reference).ok()) << size;
  }
}

TEST(Header, rejects_a_head_that_ends_before_the_header_does) {
  auto file = file_of(kOne, 4);
  for (size_t size = 8; size < file.size() - 4; size++) {
    auto header = parse_header(Bytes(file).first(size), file.size());
    ASSERT_FALSE(header.ok()) << size;
    EXPECT_NE(header.error().text.find("InvalidHeaderLength"), std::string::npos) << size;
  }
  EXPECT_TRUE(parse_header(Bytes(file).first(file.size() - 4), file.size()).ok());
}

}  // namespace
}  // namespace sconce
