// Signing and verifying of whole models and of single tensors, in folders made for each test.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/safetensors/safetensors.h"
#include "formats/signing/bundle.h"
#include "formats/signing/sign.h"
#include "formats/signing/signed_tensors.h"
#include "formats/signing/text.h"
#include "formats/signing/verify.h"

namespace sconce::signing {
namespace {

namespace fs = std::filesystem;

class ModelTest : public testing::Test {
 protected:
  ModelTest() {
    std::string pattern = (fs::temp_directory_path() / "sconce_signing_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    model_ = folder_ + "/model";
    signature_ = folder_ + "/model.sig";
    fs::create_directories(model_ + "/sub");
    put("config.json", "{}");
    put("sub/empty", "");
    put_tensors("model.safetensors", 1);
    trust_.key = key_.public_key();
  }
  ~ModelTest() override { fs::remove_all(folder_); }

  void put(const std::string& path, std::string_view content) {
    std::ofstream(model_ + "/" + path, std::ios::binary) << content;
  }
  std::string get(const std::string& path) {
    std::ifstream file(model_ + "/" + path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  // Tensors "a" and "b" of equal dtype and shape, "big" of 6 MB, "none" without elements.
  void put_tensors(const std::string& path, uint8_t seed,
                   std::vector<std::pair<std::string, std::string>> metadata = {}) {
    std::vector<uint8_t> big(6 << 20);
    for (size_t i = 0; i < big.size(); i++) big[i] = uint8_t(i * 2654435761u >> 13) ^ seed;
    Bytes all(big);
    std::vector<TensorEntry> tensors = {{"a", DType::f32, {2, 4}, all.first(32)},
                                        {"b", DType::f32, {2, 4}, all.subspan(32, 32)},
                                        {"big", DType::u8, {int64_t(big.size())}, all},
                                        {"none", DType::f32, {0, 3}, {}}};
    ASSERT_TRUE(write_safetensors(model_ + "/" + path, tensors, metadata).ok());
  }
  SignReport sign(SignOptions options = {}) {
    auto report = sign_model(model_, signature_, *make_signer(key_), options);
    EXPECT_TRUE(report.ok()) << report.error().text;
    return *report;
  }
  // The error's text, or empty.
  std::string verify(VerifyOptions options = {}) {
    report_ = {};
    auto result = verify_model(model_, signature_, trust_, options, &report_);
    EXPECT_EQ(result.ok(), report_.verdict == Verdict::verified);
    return result.ok() ? "" : result.error().text;
  }
  std::string verify_one(std::string_view name, std::string_view path = {}) {
    auto tensors = SignedTensors::open(signature_, trust_);
    if (!tensors.ok()) return tensors.error().text;
    auto tensor = verify_tensor(model_, *tensors, name, path);
    return tensor.ok() ? "" : tensor.error().text;
  }

  std::string folder_, model_, signature_;
  PrivateKey key_ = *generate_key(Curve::p256);
  Trust trust_;
  VerifyReport report_;
};

#define EXPECT_SAYS(text, words) EXPECT_NE((text).find(words), std::string::npos) << (text)

TEST_F(ModelTest, verifies_when_unchanged) {
  SignReport report = sign();
  EXPECT_EQ(report.file_count, 3u);
  EXPECT_EQ(report.tensor_count, 4u);
  EXPECT_EQ(verify(), "");
  EXPECT_EQ(report_.file_count, 3u);
  EXPECT_EQ(report_.bytes, report.bytes);
}

TEST_F(ModelTest, gives_equal_statements_for_every_count_of_threads) {
  put_tensors("sub/other.safetensors", 9);
  std::string first;
  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    SignOptions options;
    options.threads = threads;
    SignReport report;
    auto statement = make_statement(model_, signature_, options, &report);
    ASSERT_TRUE(statement.ok());
    std::string json = *encode_statement(*statement);
    if (first.empty()) first = json;
    EXPECT_EQ(json, first) << threads;
  }
}

TEST_F(ModelTest, lists_all_that_was_changed) {
  sign();
  put("config.json", "{ }");
  fs::remove(model_ + "/sub/empty");
  put("sub/new.py", "import os");
  std::string text = verify();
  EXPECT_SAYS(text, "\"config.json\" was changed: signed " + hash(as_bytes("{}")).hex() +
                        ", found " + hash(as_bytes("{ }")).hex());
  EXPECT_SAYS(text, "\"sub/empty\" is missing");
  EXPECT_SAYS(text, "\"sub/new.py\" is not signed");
  EXPECT_EQ(report_.verdict, Verdict::refused);
  EXPECT_EQ(report_.differences.size(), 3u);
}

TEST_F(ModelTest, warns_of_unsigned_files_when_told_to_go_on) {
  sign();
  put("new.py", "");
  VerifyOptions options;
  options.ignore_unsigned = true;
  EXPECT_EQ(verify(options), "");
  ASSERT_EQ(report_.warnings.size(), 1u);
  EXPECT_SAYS(report_.warnings[0], "\"new.py\" is not signed");
  put("config.json", "x");
  EXPECT_SAYS(verify(options), "was changed");
}

TEST_F(ModelTest, warns_of_what_the_signer_left_out) {
  put("code.py", "");
  SignOptions options;
  options.ignore_paths = {"code.py"};
  sign(options);
  put("code.py", "changed");
  EXPECT_EQ(verify(), "");
  ASSERT_EQ(report_.warnings.size(), 1u);
  EXPECT_SAYS(report_.warnings[0], "\"code.py\"");
  EXPECT_EQ(report_.ignored, std::vector<std::string>{"code.py"});
}

TEST_F(ModelTest, leaves_out_its_own_signature_and_git_at_the_top_only) {
  signature_ = model_ + "/model.sig";
  fs::create_directories(model_ + "/.git");
  put(".git/HEAD", "x");
  fs::create_directories(model_ + "/sub/.git");
  put("sub/.git/HEAD", "x");
  EXPECT_EQ(sign().file_count, 4u);
  sign();  // again, with the old signature there
  EXPECT_EQ(verify(), "");
  EXPECT_TRUE(report_.warnings.empty());
  put(".git/HEAD", "y");
  EXPECT_EQ(verify(), "");
  put("sub/.git/HEAD", "y");
  EXPECT_SAYS(verify(), "\"sub/.git/HEAD\" was changed");
}

TEST_F(ModelTest, refuses_symbolic_links_unless_allowed) {
  fs::create_symlink("config.json", model_ + "/link");
  auto refused = sign_model(model_, signature_, *make_signer(key_));
  ASSERT_FALSE(refused.ok());
  EXPECT_SAYS(refused.error().text, "\"link\" is a symbolic link");
  EXPECT_FALSE(fs::exists(signature_));
  SignOptions options;
  options.allow_symlinks = true;
  EXPECT_EQ(sign(options).file_count, 4u);
  EXPECT_EQ(verify(), "");
}

TEST_F(ModelTest, refuses_links_put_in_the_place_of_signed_files_and_folders) {
  sign();
  fs::rename(model_ + "/config.json", folder_ + "/elsewhere");
  fs::create_symlink(folder_ + "/elsewhere", model_ + "/config.json");
  EXPECT_SAYS(verify(), "symbolic link");
  fs::remove(model_ + "/config.json");
  fs::rename(folder_ + "/elsewhere", model_ + "/config.json");
  EXPECT_EQ(verify(), "");
  fs::rename(model_ + "/sub", folder_ + "/sub");
  fs::create_symlink(folder_ + "/sub", model_ + "/sub");
  EXPECT_SAYS(verify(), "symbolic link");
}

TEST_F(ModelTest, does_not_follow_links_in_a_circle) {
  fs::create_directory_symlink("..", model_ + "/sub/up");
  SignOptions options;
  options.allow_symlinks = true;
  auto report = sign_model(model_, signature_, *make_signer(key_), options);
  ASSERT_FALSE(report.ok());
  EXPECT_SAYS(report.error().text, "folder around it");
}

TEST_F(ModelTest, refuses_what_is_no_file_and_a_folder_without_files) {
  ASSERT_EQ(mkfifo((model_ + "/pipe").c_str(), 0600), 0);
  auto report = sign_model(model_, signature_, *make_signer(key_));
  ASSERT_FALSE(report.ok());
  EXPECT_SAYS(report.error().text, "\"pipe\" is neither a file nor a folder");
  fs::remove_all(model_);
  fs::create_directories(model_ + "/a/b");
  report = sign_model(model_, signature_, *make_signer(key_));
  ASSERT_FALSE(report.ok());
  EXPECT_SAYS(report.error().text, "holds no file");
}

TEST_F(ModelTest, signs_a_name_that_looks_like_a_terminal_command_and_shows_it_escaped) {
  put("a\x1b[2J\n\"b", "x");
  sign();
  EXPECT_EQ(verify(), "");
  put("a\x1b[2J\n\"b", "y");
  EXPECT_SAYS(verify(), "\"a\\u001b[2J\\n\\\"b\" was changed");
}

TEST_F(ModelTest, refuses_to_sign_a_name_that_is_not_utf8) {
  put("\xff\xfe", "x");
  auto report = sign_model(model_, signature_, *make_signer(key_));
  ASSERT_FALSE(report.ok());
  EXPECT_SAYS(report.error().text, "not UTF-8");
}

TEST_F(ModelTest, tells_apart_wrong_keys_kinds_of_trust_and_missing_files) {
  sign();
  trust_.key = generate_key(Curve::p256)->public_key();
  EXPECT_SAYS(verify(), "it was signed by key");
  EXPECT_EQ(report_.verdict, Verdict::refused);
  trust_.key = {};
  EXPECT_SAYS(verify(), "wanted either a public key or root certificates");
  trust_.key = key_.public_key();
  fs::remove(signature_);
  EXPECT_SAYS(verify(), "No such file");
  EXPECT_EQ(report_.verdict, Verdict::unreadable);
}

TEST_F(ModelTest, verifies_a_model_of_one_file_under_both_names) {
  model_ += "/model.safetensors";
  for (bool dot : {false, true}) {
    SignOptions options;
    options.name_single_file_dot = dot;
    EXPECT_EQ(sign(options).tensor_count, 4u);
    EXPECT_EQ(verify(), "");
    EXPECT_EQ(verify_one("a"), "");
  }
  sign();
  fs::rename(model_, model_ + ".old");
  model_ += ".old";
  EXPECT_SAYS(verify(), "the signed file is named \"model.safetensors\"");
  EXPECT_SAYS(verify_one("a"), "this file is \"model.safetensors.old\"");
}

TEST_F(ModelTest, verifies_shards_and_what_they_cannot_say) {
  put("a:b.bin", std::string(25, 'x'));
  fs::remove(model_ + "/model.safetensors");
  fs::remove(model_ + "/config.json");
  Statement statement;
  statement.model_name = "model";
  statement.serialization.shard_bytes = 10;
  for (uint64_t begin : {0, 10, 20}) {
    uint64_t end = std::min<uint64_t>(begin + 10, 25);
    statement.resources.push_back(
        {"a:b.bin", hash(as_bytes(std::string(end - begin, 'x'))), std::pair(begin, end), {}});
  }
  auto write = [&] {
    std::string json = *sign_statement(statement, *make_signer(key_));
    ASSERT_TRUE(save_file(signature_, as_bytes(json)).ok());
  };
  write();
  EXPECT_EQ(verify(), "");
  ASSERT_EQ(report_.warnings.size(), 1u);  // sub/empty
  EXPECT_SAYS(report_.warnings[0], "do not cover");
  put("a:b.bin", std::string(26, 'x'));
  EXPECT_SAYS(verify(), "has 26 bytes, 25 are signed");
  put("a:b.bin", std::string(24, 'x'));
  EXPECT_SAYS(verify(), "a:b.bin:20:25");
  put("a:b.bin", std::string(10, 'x') + "y" + std::string(14, 'x'));
  EXPECT_SAYS(verify(), "\"a:b.bin:10:20\" was changed");
}

TEST_F(ModelTest, leaves_no_half_signature_where_the_folder_cannot_be_written) {
  signature_ = folder_ + "/missing/model.sig";
  auto report = sign_model(model_, signature_, *make_signer(key_));
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, Code::io);
}

// One tensor: every lie that leaves it readable is caught without a look at the others.

TEST_F(ModelTest, verifies_one_tensor_and_reads_only_it) {
  sign();
  std::string file = get("model.safetensors");
  file[file.size() - 1] = char(~file[file.size() - 1]);  // of "big", which stands last
  put("model.safetensors", file);
  EXPECT_EQ(verify_one("a"), "");
  EXPECT_EQ(verify_one("none"), "");
  EXPECT_SAYS(verify_one("big"), "tensor \"big\" was changed");
  EXPECT_SAYS(verify_one("c"), "no tensor \"c\" is signed");
}

TEST_F(ModelTest, notices_each_change_of_the_header) {
  sign();
  std::string file = get("model.safetensors");
  auto change = [&](std::string_view from, std::string_view to) {
    std::string lie = file;
    size_t at = lie.find(from);
    ASSERT_NE(at, lie.npos);
    lie.replace(at, from.size(), to);
    put("model.safetensors", lie);
    EXPECT_SAYS(verify_one("a"), "the index was changed");
  };
  change("\"shape\":[2,4]", "\"shape\":[4,2]");
  change("\"F32\"", "\"I32\"");
  change("\"a\"", "\"A\"");  // some other tensor takes the name or it vanishes
  // "a" and "b" change places: each is a signed tensor, under the other's name.
  std::string lie = file;
  lie[lie.find("\"a\"") + 1] = 'b';
  lie[lie.rfind("\"b\"", lie.find("\"big\"")) + 1] = 'a';
  put("model.safetensors", lie);
  EXPECT_SAYS(verify_one("a"), "the index was changed");
}

TEST_F(ModelTest, notices_swapped_data_and_metadata_and_a_changed_length) {
  sign();
  std::string file = get("model.safetensors");
  size_t data = 8 + size_t(uint8_t(file[0]) | uint8_t(file[1]) << 8);
  std::string lie = file;
  for (size_t i = 0; i < 32; i++) std::swap(lie[data + i], lie[data + 32 + i]);
  put("model.safetensors", lie);
  EXPECT_SAYS(verify_one("a"), "tensor \"a\" was changed");
  put("model.safetensors", file + "x");
  EXPECT_NE(verify_one("a"), "");
  put("model.safetensors", file.substr(0, file.size() - 1));
  EXPECT_NE(verify_one("a"), "");
  put("model.safetensors", file.substr(0, 20));
  EXPECT_SAYS(verify_one("a"), "its signed header alone");
  put_tensors("model.safetensors", 1, {{"format", "pt"}});
  EXPECT_SAYS(verify_one("a"), "index");
}

TEST_F(ModelTest, notices_two_files_that_change_places) {
  put_tensors("sub/other.safetensors", 7);  // the same header, other bytes
  sign();
  EXPECT_SAYS(verify_one("a"), "signed in 2 files");
  EXPECT_EQ(verify_one("a", "model.safetensors"), "");
  fs::rename(model_ + "/model.safetensors", model_ + "/x");
  fs::rename(model_ + "/sub/other.safetensors", model_ + "/model.safetensors");
  fs::rename(model_ + "/x", model_ + "/sub/other.safetensors");
  EXPECT_SAYS(verify_one("a", "model.safetensors"), "tensor \"a\" was changed");
}

TEST_F(ModelTest, says_when_tensors_are_not_signed) {
  SignOptions options;
  options.tensors = false;
  EXPECT_EQ(sign(options).tensor_count, 0u);
  EXPECT_SAYS(verify_one("a"), "only the whole model can be verified");
}

TEST_F(ModelTest, signs_a_broken_tensor_file_as_a_whole_and_says_so) {
  put("broken.safetensors", "no header");
  SignReport report = sign();
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_SAYS(report.warnings[0], "\"broken.safetensors\" is signed as a whole");
  EXPECT_EQ(verify(), "");
}

TEST_F(ModelTest, gives_a_loader_checks_for_bytes_it_has_read_itself) {
  sign();
  auto tensors = SignedTensors::open(signature_, trust_);
  ASSERT_TRUE(tensors.ok());
  std::string file = get("model.safetensors");
  const TensorDigests* digests = tensors->find_file("model.safetensors");
  ASSERT_TRUE(digests);
  Bytes bytes = as_bytes(file);
  EXPECT_TRUE(tensors->check_index("model.safetensors", bytes.first(digests->index_end)).ok());
  EXPECT_FALSE(tensors->check_index("model.safetensors", bytes.first(digests->index_end - 1)).ok());
  uint64_t sizes[] = {2, 4}, others[] = {4, 2};
  Bytes a = bytes.subspan(digests->index_end, 32);
  EXPECT_TRUE(tensors->check_tensor("model.safetensors", "a", "F32", sizes, a).ok());
  EXPECT_FALSE(tensors->check_tensor("model.safetensors", "a", "F32", others, a).ok());
  EXPECT_FALSE(tensors->check_tensor("model.safetensors", "a", "I32", sizes, a).ok());
  EXPECT_FALSE(tensors->check_tensor("model.safetensors", "b", "F32", sizes, a).ok());
  EXPECT_FALSE(tensors->check_tensor("config.json", "a", "F32", sizes, a).ok());
}

}  // namespace
}  // namespace sconce::signing
