#include "formats/signing/keys.h"

#include <gtest/gtest.h>

#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

TEST(key, of_every_curve_signs_what_its_public_half_verifies) {
  for (Curve curve : {Curve::p256, Curve::p384, Curve::p521}) {
    PrivateKey key = *generate_key(curve);
    auto read = parse_private_key(key.pem({}));
    ASSERT_TRUE(read.ok()) << read.error().text;
    auto signature = read->sign(as_bytes("message"));
    ASSERT_TRUE(signature.ok());
    auto pub = parse_public_key(key.public_key().pem());
    ASSERT_TRUE(pub.ok()) << pub.error().text;
    EXPECT_EQ(pub->curve(), curve);
    EXPECT_EQ(pub->hint(), key.public_key().hint());
    EXPECT_TRUE(pub->verifies(as_bytes("message"), *signature));
    EXPECT_FALSE(pub->verifies(as_bytes("messagf"), *signature));
    EXPECT_FALSE(generate_key(curve)->public_key().verifies(as_bytes("message"), *signature));
  }
}

TEST(key, that_is_encrypted_needs_its_passphrase) {
  PrivateKey key = *generate_key(Curve::p256);
  std::string pem = key.pem("open sesame");
  EXPECT_NE(pem.find("ENCRYPTED"), std::string::npos);
  auto right = parse_private_key(pem, [] { return Result<std::string>("open sesame"); });
  ASSERT_TRUE(right.ok()) << right.error().text;
  EXPECT_TRUE(right->public_key() == key.public_key());
  auto wrong = parse_private_key(pem, [] { return Result<std::string>("open barley"); });
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().text.find("does not open the key"), std::string::npos);
  auto none = parse_private_key(pem);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().text.find("is encrypted"), std::string::npos);
  auto no_terminal =
      parse_private_key(pem, [] { return Result<std::string>(error(Code::io, "nobody to ask")); });
  ASSERT_FALSE(no_terminal.ok());
  EXPECT_EQ(no_terminal.error().text, "nobody to ask");
}

TEST(key, in_the_wrong_place_is_named) {
  PrivateKey key = *generate_key(Curve::p256);
  EXPECT_NE(parse_private_key(key.public_key().pem()).error().text.find("holds a public key"),
            std::string::npos);
  EXPECT_NE(parse_public_key(key.pem({})).error().text.find("holds a private key"),
            std::string::npos);
  EXPECT_FALSE(parse_public_key("").ok());
  EXPECT_FALSE(
      parse_private_key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").ok());
}

// Made by openssl genpkey.
TEST(key, of_another_kind_is_refused_by_name) {
  auto ed25519 = parse_public_key(
      "-----BEGIN PUBLIC KEY-----\n"
      "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
      "-----END PUBLIC KEY-----\n");
  ASSERT_FALSE(ed25519.ok());
  EXPECT_NE(ed25519.error().text.find("ED25519"), std::string::npos) << ed25519.error().text;
  auto koblitz = parse_public_key(
      "-----BEGIN PUBLIC KEY-----\n"
      "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEeb5mfvncu6xVoGKVzocLBwKb/NstzijZ\n"
      "WfKBWxb4F5hIOtp3JqPEZV2k+/wOEQio/Re0SKaFVBmcR9CP+xDUuA==\n"
      "-----END PUBLIC KEY-----\n");
  ASSERT_FALSE(koblitz.ok());
  EXPECT_NE(koblitz.error().text.find("secp256k1"), std::string::npos) << koblitz.error().text;
}

}  // namespace
}  // namespace sconce::signing
