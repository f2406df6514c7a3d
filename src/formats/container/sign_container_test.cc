#include "formats/container/sign_container.h"

#include <unistd.h>

#include <filesystem>
#include <random>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/safetensors/writer.h"
#include "formats/signing/verify.h"

namespace sconce {
namespace {

using Buffer = std::vector<uint8_t>;

class SignedContainer : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/" + std::to_string(getpid()) + "." +
                        testing::UnitTest::GetInstance()->current_test_info()->name() + ".";
  std::string path_ = folder_ + "safetensors", signature_ = folder_ + "sig";
  signing::Signer signer_ =
      std::move(*signing::make_signer(std::move(*signing::generate_key(signing::Curve::p256))));

  signing::Trust trust() const {
    signing::Trust trust;
    trust.key = signer_.key.public_key();
    return trust;
  }
  static Buffer source() {
    auto layout = plan_layout(std::vector<TensorSpec>{{"a", ElementType::f32, {300, 500}},
                                                      {"empty", ElementType::f16, {0, 3}},
                                                      {"b", ElementType::u8, {7}},
                                                      {"last", ElementType::b8, {0}}});
    Buffer file(layout->head.begin(), layout->head.end());
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 0.02f);
    for (uint64_t i = 0; i < layout->data_bytes / 4; ++i) {
      float value = normal(random);
      auto* bytes = reinterpret_cast<const uint8_t*>(&value);
      file.insert(file.end(), bytes, bytes + 4);
    }
    file.resize(layout->head.size() + layout->data_bytes);
    return file;
  }
};

TEST_F(SignedContainer, is_verified_as_any_signed_file_packed_sealed_or_both) {
  Buffer file = source();
  SecretKey secret = *random_key();
  for (bool pack : {false, true})
    for (bool seal : {false, true}) {
      if (!pack && !seal) continue;
      WriteContainerOptions options;
      options.pack = pack;
      if (seal) options.recipients.keys = {*x25519_public_key(secret)};
      uint64_t seen = 0;
      options.tee = [&](Bytes bytes) { seen += bytes.size(); };
      auto written = write_signed_container(file, path_, options, signer_, signature_);
      ASSERT_TRUE(written.ok()) << written.error().text;
      EXPECT_EQ(seen, written->file_bytes);
      auto verified = signing::verify_model(path_, signature_, trust());
      EXPECT_TRUE(verified.ok()) << verified.error().text;
    }
}

TEST_F(SignedContainer, has_each_tensor_of_a_packed_file_verified_by_itself) {
  Buffer file = source();
  ASSERT_TRUE(write_signed_container(file, path_, {}, signer_, signature_).ok());
  auto tensors = signing::SignedTensors::open(signature_, trust());
  ASSERT_TRUE(tensors.ok()) << tensors.error().text;
  for (const char* name : {"a", "b", "empty", "last"}) {
    auto verified = verify_signed_tensor(path_, *tensors, name);
    ASSERT_TRUE(verified.ok()) << verified.error().text;
    EXPECT_EQ(verified->name, name);
  }
  auto other = verify_signed_tensor(path_, *tensors, "c");
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().text.find("no tensor \"c\" is signed"), std::string::npos);
  auto small = verify_signed_tensor(path_, *tensors, "b");
  EXPECT_EQ(small->bytes, 7u);
  EXPECT_LT(small->bytes_read, 6000u);

  // A change is noticed where it is looked at: in the tensor's chunks, or in the index.
  Buffer bytes;
  {
    auto mapped = map_file(path_);
    bytes.assign(mapped->bytes().begin(), mapped->bytes().end());
  }
  auto verified_after = [&](size_t at, const char* name) {
    Buffer changed = bytes;
    changed[at] ^= 1;
    EXPECT_TRUE(save_file(path_, Bytes(changed)).ok());
    auto verified = verify_signed_tensor(path_, *tensors, name);
    if (!verified.ok()) {
      EXPECT_EQ(verified.error().code, Code::invalid_file);
    }
    return verified.ok();
  };
  EXPECT_FALSE(verified_after(5000, "a"));
  EXPECT_TRUE(verified_after(5000, "b"));
  for (const char* name : {"a", "b"}) EXPECT_FALSE(verified_after(bytes.size() - 20, name));
  bytes.push_back(0);
  EXPECT_FALSE(verified_after(5000, "b"));
}

TEST_F(SignedContainer, is_verified_under_the_name_that_other_signers_give_a_single_file) {
  ASSERT_TRUE(write_signed_container(source(), path_, {}, signer_, signature_, true).ok());
  auto tensors = signing::SignedTensors::open(signature_, trust());
  ASSERT_TRUE(tensors.ok());
  EXPECT_EQ(tensors->signature().statement.resources[0].path, ".");
  EXPECT_TRUE(signing::verify_model(path_, signature_, trust()).ok());
  EXPECT_TRUE(verify_signed_tensor(path_, *tensors, "a").ok());
}

TEST_F(SignedContainer, tells_no_digests_of_what_is_sealed) {
  WriteContainerOptions options;
  SecretKey secret = *random_key();
  options.recipients.keys = {*x25519_public_key(secret)};
  ASSERT_TRUE(write_signed_container(source(), path_, options, signer_, signature_).ok());
  auto tensors = signing::SignedTensors::open(signature_, trust());
  ASSERT_TRUE(tensors.ok());
  auto verified = verify_signed_tensor(path_, *tensors, "a");
  ASSERT_FALSE(verified.ok());
  EXPECT_EQ(verified.error().code, Code::unsupported);
}

TEST_F(SignedContainer, is_not_verified_when_a_bit_was_changed) {
  ASSERT_TRUE(write_signed_container(source(), path_, {}, signer_, signature_).ok());
  Buffer bytes;
  {
    auto file = map_file(path_);
    bytes.assign(file->bytes().begin(), file->bytes().end());
  }
  for (size_t at : {size_t(20), size_t(5000), bytes.size() - 1}) {
    bytes[at] ^= 1;
    ASSERT_TRUE(save_file(path_, Bytes(bytes)).ok());
    EXPECT_FALSE(signing::verify_model(path_, signature_, trust()).ok()) << at;
    bytes[at] ^= 1;
  }
}

TEST_F(SignedContainer, leaves_neither_file_nor_signature_where_one_cannot_be_made) {
  Buffer file = source();
  for (const std::string& place : {path_, std::filesystem::relative(path_).string()}) {
    auto same = write_signed_container(file, path_, {}, signer_, place);
    ASSERT_FALSE(same.ok());
    EXPECT_NE(same.error().text.find("take the place"), std::string::npos) << same.error().text;
  }
  EXPECT_FALSE(write_signed_container(file, path_, {}, signer_, folder_ + "none/sig").ok());
  EXPECT_FALSE(write_signed_container(Bytes(file).first(100), path_, {}, signer_, signature_).ok());
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
  EXPECT_NE(access(signature_.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace sconce
