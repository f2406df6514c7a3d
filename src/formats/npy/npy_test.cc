#include "formats/npy/npy.h"

#include <cstdio>
#include <cstring>

#include <gtest/gtest.h>

#include "base/file.h"

namespace sconce {
namespace {

std::vector<uint8_t> file_of(const std::string& header, std::vector<uint8_t> data,
                             uint8_t version = 1) {
  std::vector<uint8_t> file = {0x93, 'N', 'U', 'M', 'P', 'Y', version, 0};
  for (int i = 0; i < (version == 1 ? 2 : 4); i++)
    file.push_back(uint8_t(header.size() >> (8 * i)));
  file.insert(file.end(), header.begin(), header.end());
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

std::string header_of(const std::string& descr, const std::string& shape,
                      const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

TEST(Npy, reads_in_place) {
  auto file = file_of(header_of("<i2", "(2, 1)"), {1, 0, 2, 0}, 2);
  auto array = read_npy(file);
  ASSERT_TRUE(array.ok()) << array.error().text;
  EXPECT_EQ(array->dtype, DType::i16);
  EXPECT_EQ(array->sizes, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(array->bytes.data(), file.data() + file.size() - 4);
  EXPECT_TRUE(read_npy(file_of(header_of("|b1", "()"), {1}, 3)).ok());
  EXPECT_TRUE(read_npy(file_of(header_of("<f8", "(0, 3)"), {})).ok());
  EXPECT_TRUE(
      read_npy(file_of("{\"shape\":(1L,),\"descr\":\"|u1\",\"fortran_order\":False}", {1})).ok());
}

TEST(Npy, turns_fortran_order_into_rows) {
  auto array = read_npy(file_of(header_of("|u1", "(2, 3)", "True"), {1, 4, 2, 5, 3, 6}));
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(std::vector<uint8_t>(array->bytes.begin(), array->bytes.end()),
            (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
  NpyArray moved = std::move(*array);
  EXPECT_EQ(moved.bytes[1], 2);
  auto cube = read_npy(file_of(header_of("|u1", "(2, 1, 2)", "True"), {1, 3, 2, 4}));
  EXPECT_EQ(cube->bytes[1], 2);
}

TEST(Npy, swaps_big_endian_numbers) {
  auto array = read_npy(file_of(header_of(">i4", "(1,)"), {0, 0, 1, 2}));
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(array->bytes[0], 2);
  EXPECT_EQ(array->bytes[1], 1);
  auto complex = read_npy(file_of(header_of(">c8", "()"), {1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(complex->bytes[0], 4);
  EXPECT_EQ(complex->bytes[4], 8);
}

TEST(Npy, writes_what_numpy_writes) {
  float values[] = {1, 2, 3, 4, 5, 6};
  Bytes bytes(reinterpret_cast<const uint8_t*>(values), sizeof(values));
  int64_t sizes[] = {2, 3};
  auto file = encode_npy(DType::f32, sizes, bytes);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 128u + 24);
  EXPECT_EQ(std::string(file->begin() + 10, file->begin() + 70),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } ");
  EXPECT_EQ((*file)[127], '\n');
}

TEST(Npy, round_trips_every_dtype_and_rank_through_a_file) {
  std::vector<uint8_t> data(16 * 24, 9);
  std::string path = testing::TempDir() + "sconce_round_trip.npy";
  for (DType dtype :
       {DType::b8, DType::u8, DType::i8, DType::i16, DType::u16, DType::i32, DType::u32, DType::i64,
        DType::u64, DType::f16, DType::f32, DType::f64, DType::c64, DType::c128}) {
    for (std::vector<int64_t> sizes :
         {std::vector<int64_t>{}, {24}, {2, 3, 4}, {0}, {1, 1, 1, 1}}) {
      size_t count = 1;
      for (int64_t size : sizes) count *= size_t(size);
      Bytes bytes(data.data(), count * dtype_bytes(dtype));
      ASSERT_TRUE(write_npy(path, dtype, sizes, bytes).ok());
      auto file = map_file(path);
      ASSERT_TRUE(file.ok());
      auto array = read_npy(file->bytes());
      ASSERT_TRUE(array.ok()) << array.error().text;
      EXPECT_EQ(array->dtype, dtype);
      EXPECT_EQ(array->sizes, sizes);
      EXPECT_EQ(array->bytes.size(), bytes.size());
      EXPECT_EQ(reinterpret_cast<uintptr_t>(array->bytes.data()) % 64, 0u);
    }
  }
  std::remove(path.c_str());
  EXPECT_FALSE(encode_npy(DType::bf16, {}, Bytes(data.data(), 2)).ok());
  EXPECT_FALSE(encode_npy(DType::f32, {}, Bytes(data.data(), 2)).ok());
}

TEST(Npy, rejects_every_truncation_and_a_tail) {
  auto file = file_of(header_of("<f4", "(1,)"), {1, 2, 3, 4});
  ASSERT_TRUE(read_npy(file).ok());
  for (size_t size = 0; size < file.size(); size++)
    EXPECT_FALSE(read_npy(Bytes(file.data(), size)).ok()) << size;
  file.push_back(0);
  EXPECT_FALSE(read_npy(file).ok());
}

TEST(Npy, rejects_lies_in_the_header) {
  struct Case {
    std::string header;
    const char* message;
  };
  const Case cases[] = {
      {"", "wanted '{'"},
      {"{}", "\"descr\" is missing"},
      {"{'descr': '<f4', 'fortran_order': False}", "\"shape\" is missing"},
      {"{'descr': '<f4', 'descr': '<f4'}", "unexpected key"},
      {"{'descr': '<f4' 'x': 1}", "wanted ','"},
      {"{'descr': '<f4", "quoted string"},
      {"{'extra': '<f4'}", "unexpected key"},
      {header_of("|O", "(1,)"), "not supported"},
      {header_of("<U4", "(1,)"), "not supported"},
      {header_of("<M8[s]", "(1,)"), "not supported"},
      {header_of("<V2", "(2,)"), "not supported"},
      {header_of("f4", "(1,)"), "not supported"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "records"},
      {header_of("<f4", "(1)"), "tuple"},
      {header_of("<f4", "(1 1)"), "',' or ')'"},
      {header_of("<f4", "(,)"), "a size"},
      {header_of("<f4", "(-1,)"), "a size"},
      {header_of("<f4", "[1]"), "'('"},
      {header_of("<f4", "(1,"), "a size"},
      {header_of("<f4", "(99999999999999999999,)"), "2^63"},
      {header_of("<f4", "(9223372036854775807, 9223372036854775807)"), "2^64"},
      {header_of("<f4", "(2,)"), "takes 8 bytes"},
      {header_of("<f4", "(1,)", "false"), "True or False"},
      {header_of("<f4", "(1,)") + "x", "the end"},
  };
  for (const Case& c : cases) {
    auto array = read_npy(file_of(c.header, {1, 2, 3, 4}));
    ASSERT_FALSE(array.ok()) << c.header;
    EXPECT_NE(array.error().text.find(c.message), std::string::npos)
        << c.header << "\n  " << array.error().text;
  }
  EXPECT_FALSE(read_npy(file_of(header_of("<f4", "(1,)"), {1, 2, 3, 4}, 4)).ok());
}

}  // namespace
}  // namespace sconce
