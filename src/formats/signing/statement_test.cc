#include "formats/signing/statement.h"

#include <gtest/gtest.h>

#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

Result<Statement> decode(std::string_view json, bool allow_deprecated = false) {
  return decode_statement(as_bytes(json), allow_deprecated);
}

TEST(digest, is_that_of_the_standards) {
  EXPECT_EQ(hash(as_bytes("abc")).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash(as_bytes("abc"), HashAlgorithm::blake2b).hex(),
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
            "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923");
}

TEST(digest, is_read_in_both_cases_and_only_whole) {
  Digest digest = hash(as_bytes("x"));
  std::string upper = digest.hex();
  for (char& c : upper) c = char(toupper(c));
  EXPECT_EQ(find_digest(HashAlgorithm::sha256, upper), digest);
  EXPECT_FALSE(find_digest(HashAlgorithm::sha256, upper.substr(1)));
  EXPECT_FALSE(find_digest(HashAlgorithm::sha256, "g" + upper.substr(1)));
}

TEST(base64, round_trips_every_length) {
  for (size_t size = 0; size < 40; size++) {
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < size; i++) bytes.push_back(uint8_t(i * 37 + size));
    EXPECT_EQ(decode_base64(encode_base64(bytes)), bytes);
  }
  EXPECT_EQ(encode_base64(as_bytes("fooba")), "Zm9vYmE=");
}

TEST(base64, takes_both_alphabets_and_nothing_else) {
  EXPECT_EQ(decode_base64("-_8="), decode_base64("+/8"));
  for (const char* wrong : {"A", "AA=A", "A===", "AB==", "AA =", "AAA\n", "=", "AA=", "A\xc3\xa9="})
    EXPECT_FALSE(decode_base64(wrong)) << wrong;
}

TEST(plain_path, is_normal_and_inside_the_model) {
  EXPECT_EQ(*plain_path("./a//b/./c"), "a/b/c");
  using std::literals::operator""sv;
  for (std::string_view wrong :
       {""sv, "."sv, "./"sv, "/a"sv, ".."sv, "a/../b"sv, "a/.."sv, "a\0b"sv})
    EXPECT_FALSE(plain_path(wrong).ok()) << wrong;
}

Statement two_files() {
  FileRecorder recorder;
  recorder.begin_index();
  recorder.write(as_bytes("header"));
  recorder.end_index();
  uint64_t sizes[] = {2, 1};
  recorder.begin_tensor("w", "U8", sizes);
  recorder.write(as_bytes("ab"));
  recorder.end_tensor();
  StatementBuilder builder("model");
  EXPECT_TRUE(builder.add_file("z/weights.safetensors", *recorder.finish()).ok());
  recorder.write(as_bytes("{}"));
  EXPECT_TRUE(builder.add_file("config.json", *recorder.finish()).ok());
  EXPECT_TRUE(builder.ignore_path("model.sig").ok());
  return *builder.finish();
}

TEST(statement, reads_what_it_writes) {
  Statement statement = two_files();
  auto again = decode(*encode_statement(statement));
  ASSERT_TRUE(again.ok()) << again.error().text;
  EXPECT_EQ(again->model_name, "model");
  EXPECT_EQ(again->serialization.ignore_paths, std::vector<std::string>{"model.sig"});
  ASSERT_EQ(again->resources.size(), 2u);
  EXPECT_EQ(again->resources[0].path, "config.json");
  EXPECT_EQ(again->resources[0].digest, hash(as_bytes("{}")));
  ASSERT_TRUE(again->resources[1].tensors);
  EXPECT_EQ(again->resources[1].digest, hash(as_bytes("headerab")));
  EXPECT_EQ(again->resources[1].tensors->index_end, 6u);
  EXPECT_EQ(again->resources[1].tensors->index, hash(as_bytes("header")));
  EXPECT_EQ(again->resources[1].tensors->tensors.at("w"),
            hash(as_bytes("sconce tensor 1\nU8\n2,1\nab")));
}

TEST(statement, holds_resources_in_code_point_order) {
  StatementBuilder builder("model");
  FileRecorder recorder;
  for (const char* path : {"a/b.txt", "a-b.txt", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"})
    ASSERT_TRUE(builder.add_file(path, *recorder.finish()).ok());
  std::string json = *encode_statement(*builder.finish());
  EXPECT_LT(json.find("a-b.txt"), json.find("a/b.txt"));
  EXPECT_LT(json.find("\xef\xbf\xbd"), json.find("\xf0\x9f\x98\x80"));
}

TEST(file_recorder, takes_the_plain_bytes_of_packed_tensors_apart) {
  FileRecorder recorder;
  uint64_t sizes[] = {3};
  recorder.begin_tensor("w", "U8", sizes, false);
  recorder.tensor_bytes(as_bytes("aaa"));
  recorder.write(as_bytes("3a"));
  recorder.end_tensor();
  recorder.begin_index();
  recorder.write(as_bytes("index"));
  recorder.end_index();
  auto file = recorder.finish();
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->digest, hash(as_bytes("3aindex")));
  EXPECT_EQ(file->tensors->index_begin, 2u);
  EXPECT_EQ(file->tensors->tensors.at("w"), hash(as_bytes("sconce tensor 1\nU8\n3\naaa")));
}

TEST(file_recorder, refuses_a_tensor_twice_and_tensors_without_index) {
  FileRecorder recorder;
  recorder.add_tensor("w", hash({}));
  EXPECT_FALSE(recorder.finish().ok());
  recorder.begin_index();
  recorder.end_index();
  recorder.add_tensor("w", hash({}));
  recorder.add_tensor("w", hash({}));
  EXPECT_FALSE(recorder.finish().ok());
}

}  // namespace
}  // namespace sconce::signing
