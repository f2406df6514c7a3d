#include "formats/safetensors/safetensors.h"

#include <cstdio>

#include <gtest/gtest.h>

#include "base/file.h"

namespace sconce {
namespace {

std::vector<uint8_t> file_of(std::string json, size_t data_bytes) {
  std::vector<uint8_t> file(8);
  for (int i = 0; i < 8; i++) file[i] = uint8_t(json.size() >> (8 * i));
  file.insert(file.end(), json.begin(), json.end());
  file.resize(file.size() + data_bytes, 7);
  return file;
}

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

constexpr const char* kOne = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

TEST(Safetensors, reads_in_place) {
  auto file = file_of(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[],"data_offsets":[12,20]},
          "a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12],"more":[]}}  )",
      20);
  auto read = read_safetensors(file);
  ASSERT_TRUE(read.ok()) << read.error().text;
  ASSERT_EQ(read->tensors.size(), 2u);
  const TensorEntry* a = find_tensor(*read, "a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->dtype, DType::bf16);
  EXPECT_EQ(a->sizes, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(a->bytes.data(), file.data() + file.size() - 20);
  EXPECT_EQ(find_tensor(*read, "b")->sizes.size(), 0u);
  EXPECT_EQ(find_tensor(*read, "c"), nullptr);
  EXPECT_EQ(read->metadata[0].second, "pt");
}

TEST(Safetensors, writes_the_canonical_form_whatever_the_order) {
  std::string eight(8, 1), four(4, 2), one(1, 3);
  std::vector<TensorEntry> tensors = {{"flag", DType::b8, {1}, bytes_of(one)},
                                      {"x\"\n", DType::f32, {1, 1}, bytes_of(four)},
                                      {"b", DType::i64, {}, bytes_of(eight)},
                                      {"a", DType::f32, {1}, bytes_of(four)}};
  std::vector<std::pair<std::string, std::string>> metadata = {{"z", "1"}, {"k", "2"}};
  auto first = encode_safetensors(tensors, metadata);
  std::swap(tensors[0], tensors[3]);
  std::swap(metadata[0], metadata[1]);
  auto second = encode_safetensors(tensors, metadata);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
  std::string text(first->begin() + 8, first->end());
  EXPECT_EQ(text.substr(0, text.find("}} ") + 2),
            R"({"__metadata__":{"k":"2","z":"1"},)"
            R"("b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
            R"("a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
            R"("x\"\n":{"dtype":"F32","shape":[1,1],"data_offsets":[12,16]},)"
            R"("flag":{"dtype":"BOOL","shape":[1],"data_offsets":[16,17]}})");
  EXPECT_EQ((*first)[0] % 8, 0);
  auto read = read_safetensors(*first);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(find_tensor(*read, "x\"\n")->bytes[0], 2);
}

TEST(Safetensors, round_trips_every_dtype_and_empty_tensors_through_a_file) {
  std::string data(64, 'x');
  std::vector<TensorEntry> tensors;
#define SCONCE_ROW(name, code, bytes, category) \
  if (std::string_view(#name) != "c128")        \
    tensors.push_back(                          \
        {#name, DType::name, {2, 3}, bytes_of(std::string_view(data).substr(0, 6 * bytes))});
  SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
  tensors.push_back({"empty", DType::f16, {0, 5}, {}});
  std::string path = testing::TempDir() + "sconce_round_trip.safetensors";
  ASSERT_TRUE(write_safetensors(path, tensors).ok());
  auto file = map_file(path);
  ASSERT_TRUE(file.ok());
  auto read = read_safetensors(file->bytes());
  ASSERT_TRUE(read.ok()) << read.error().text;
  EXPECT_EQ(read->tensors.size(), tensors.size());
  for (const TensorEntry& tensor : tensors) {
    const TensorEntry* found = find_tensor(*read, tensor.name);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->dtype, tensor.dtype);
    EXPECT_EQ(found->sizes, tensor.sizes);
  }
  std::remove(path.c_str());
}

TEST(Safetensors, refuses_to_write_what_it_would_not_read) {
  std::string four(4, 0);
  auto code_of = [](std::vector<TensorEntry> tensors) {
    auto done = encode_safetensors(tensors);
    return done.ok() ? Code::ok : done.error().code;
  };
  EXPECT_EQ(code_of({{"a", DType::f32, {2}, bytes_of(four)}}), Code::invalid_argument);
  EXPECT_EQ(code_of({{"a", DType::f32, {-1}, bytes_of(four)}}), Code::invalid_argument);
  EXPECT_EQ(code_of({{"__metadata__", DType::f32, {1}, bytes_of(four)}}), Code::invalid_argument);
  EXPECT_EQ(code_of({{"\xff", DType::f32, {1}, bytes_of(four)}}), Code::invalid_argument);
  EXPECT_EQ(code_of({{"a", DType::c128, {0}, {}}}), Code::unsupported);
  EXPECT_EQ(code_of({{"a", DType::u8, {0}, {}}, {"a", DType::u8, {0}, {}}}),
            Code::invalid_argument);
}

TEST(Safetensors, rejects_every_truncation) {
  auto file = file_of(kOne, 4);
  ASSERT_TRUE(read_safetensors(file).ok());
  for (size_t size = 0; size < file.size(); size++)
    EXPECT_FALSE(read_safetensors(Bytes(file.data(), size)).ok()) << size;
  file.push_back(0);
  EXPECT_FALSE(read_safetensors(file).ok());
}

}  // namespace
}  // namespace sconce
