#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "formats/sealed/crypto.h"
#include "formats/sealed/envelope.h"

namespace sconce {
namespace {

using Buffer = std::vector<uint8_t>;

Buffer from_hex(std::string_view hex) {
  Buffer out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(uint8_t(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}
SecretKey key_of(std::string_view hex) {
  SecretKey key;
  Buffer bytes = from_hex(hex);
  std::copy(bytes.begin(), bytes.end(), key.bytes.begin());
  return key;
}

// Fast enough for tests: the lowest cost that files may have.
Recipients recipients_of(std::vector<PublicKey> keys, std::vector<std::string> passphrases) {
  Recipients out{std::move(keys), {}, kPassphraseCostMin};
  for (std::string& passphrase : passphrases) out.passphrases.emplace_back(std::move(passphrase));
  return out;
}
Identities with_key(const SecretKey& key) { return {{key}, {}}; }
Identities with_passphrase(const char* text) { return {{}, {SecretText(text)}}; }

// The specification of GCM, test case 13.
TEST(Crypto, aes_gcm_gives_the_tag_of_the_specification) {
  auto aead = Aead::make(Cipher::aes256_gcm, SecretKey());
  ASSERT_TRUE(aead.ok());
  Buffer out(kTagBytes);
  ASSERT_TRUE(aead->seal(Nonce{}, {}, {}, out).ok());
  EXPECT_EQ(out, from_hex("530f8afbc74536b9a963b4f1c4cb738b"));
}

// RFC 7748, section 6.1.
TEST(Crypto, x25519_agrees_as_in_its_rfc) {
  SecretKey alice = key_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  SecretKey bob = key_of("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  Buffer bob_public = from_hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  EXPECT_TRUE(std::ranges::equal(*x25519_public_key(bob), bob_public));
  auto shared = x25519_agree(alice, bob_public);
  auto same = x25519_agree(bob, *x25519_public_key(alice));
  ASSERT_TRUE(shared.ok() && same.ok());
  EXPECT_EQ(shared->bytes, same->bytes);
  Buffer wanted = from_hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
  EXPECT_TRUE(std::ranges::equal(shared->bytes, wanted));
}

TEST(Crypto, refuses_an_agreement_that_is_forced) {
  Buffer zero(kKeyBytes), one(kKeyBytes);
  one[0] = 1;
  for (const Buffer& point : {zero, one}) {
    auto shared = x25519_agree(*random_key(), point);
    ASSERT_FALSE(shared.ok());
    EXPECT_EQ(shared.error().code, Code::invalid_file);
  }
}

TEST(Crypto, opens_only_what_was_sealed_and_wipes_the_rest) {
  for (Cipher cipher : {Cipher::aes256_gcm, Cipher::chacha20_poly1305}) {
    auto aead = Aead::make(cipher, *random_key());
    ASSERT_TRUE(aead.ok());
    Buffer plain(1000, 0x33), context = {1, 2, 3}, sealed(plain.size() + kTagBytes);
    Nonce nonce{5};
    ASSERT_TRUE(aead->seal(nonce, context, plain, sealed).ok());
    Buffer back(plain.size());
    EXPECT_TRUE(*aead->open(nonce, context, sealed, back));
    EXPECT_EQ(back, plain);
    for (size_t byte : {size_t(0), size_t(999), size_t(1000), size_t(1015)}) {
      Buffer bad = sealed;
      bad[byte] ^= 0x10;
      Buffer out(plain.size(), 0x44);
      EXPECT_FALSE(*aead->open(nonce, context, bad, out));
      EXPECT_EQ(out, Buffer(plain.size())) << "plaintext was released";
    }
    EXPECT_FALSE(*aead->open(Nonce{6}, context, sealed, back));
    EXPECT_FALSE(*aead->open(nonce, {}, sealed, back));
    // In place.
    Buffer same = plain;
    same.resize(sealed.size());
    ASSERT_TRUE(aead->seal(nonce, context, Bytes(same).first(plain.size()), same).ok());
    EXPECT_EQ(same, sealed);
  }
}

TEST(KeyText, comes_back_and_tells_a_typing_error) {
  SecretKey secret = *random_key();
  PublicKey key = *x25519_public_key(secret);
  std::string text = print_public_key(key);
  EXPECT_EQ(text.size(), 59u);
  EXPECT_EQ(*parse_public_key(" " + text + "\n"), key);
  EXPECT_EQ(parse_secret_key("# a comment\n\n" + print_secret_key(secret) + "\r\n")->bytes,
            secret.bytes);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = bad[i] == 'a' ? 'b' : 'a';
    EXPECT_FALSE(parse_public_key(bad).ok()) << i;
  }
  EXPECT_NE(parse_public_key(print_secret_key(secret)).error().text.find("public half"),
            std::string::npos);
  EXPECT_FALSE(parse_secret_key("").ok());
  EXPECT_FALSE(parse_public_key("sconce-pub-").ok());
}

TEST(Envelope, opens_for_each_recipient_and_for_nobody_else) {
  SecretKey a = *random_key(), b = *random_key(), other = *random_key();
  auto made = make_envelope(
      Cipher::aes256_gcm,
      recipients_of({*x25519_public_key(a), *x25519_public_key(b)}, {"first", "second"}));
  ASSERT_TRUE(made.ok()) << made.error().text;
  auto bytes = finish_envelope(&made->envelope, made->file_key);
  ASSERT_TRUE(bytes.ok());
  auto read = decode_envelope(*bytes);
  ASSERT_TRUE(read.ok()) << read.error().text;
  EXPECT_EQ(read->stanzas.size(), 4u);
  for (const Identities& who : {with_key(a), with_key(b), with_passphrase("first"),
                                with_passphrase("second"), Identities{{other, b}, {}}}) {
    auto key = open_envelope(*read, who);
    ASSERT_TRUE(key.ok()) << key.error().text;
    EXPECT_EQ(key->bytes, made->file_key.bytes);
  }
  for (const Identities& who : {with_key(other), with_passphrase("First"), Identities{}}) {
    auto key = open_envelope(*read, who);
    ASSERT_FALSE(key.ok());
    EXPECT_EQ(key.error().code, Code::invalid_argument);
  }
}

TEST(Envelope, notices_every_flipped_bit) {
  SecretKey a = *random_key();
  auto made = make_envelope(
      Cipher::chacha20_poly1305,
      recipients_of({*x25519_public_key(*random_key()), *x25519_public_key(a)}, {"unused"}));
  auto good = finish_envelope(&made->envelope, made->file_key);
  ASSERT_TRUE(good.ok());
  for (size_t bit = 0; bit < 8 * good->size(); ++bit) {
    Buffer bad = *good;
    bad[bit / 8] ^= uint8_t(1 << (bit % 8));
    auto read = decode_envelope(bad);
    if (read.ok()) {
      EXPECT_FALSE(open_envelope(*read, with_key(a)).ok()) << "bit " << bit;
    }
  }
  for (size_t size = 0; size < good->size(); ++size)
    EXPECT_FALSE(decode_envelope(Bytes(*good).first(size)).ok());
  good->push_back(0);
  EXPECT_FALSE(decode_envelope(*good).ok());
}

TEST(Envelope, takes_recipients_in_and_leaves_them_out) {
  SecretKey a = *random_key(), b = *random_key();
  PublicKey a_public = *x25519_public_key(a), b_public = *x25519_public_key(b);
  auto made = make_envelope(Cipher::aes256_gcm, recipients_of({a_public}, {"old"}));
  Envelope& envelope = made->envelope;
  ASSERT_TRUE(
      add_recipients(&envelope, made->file_key, recipients_of({b_public, b_public}, {})).ok());
  EXPECT_EQ(envelope.stanzas.size(), 3u) << "a recipient was doubled";
  PublicKey unknown = *x25519_public_key(*random_key());
  EXPECT_EQ(remove_recipients(&envelope, std::span(&unknown, 1), false).error().code,
            Code::not_found);
  ASSERT_TRUE(remove_recipients(&envelope, std::span(&a_public, 1), true).ok());
  auto read = decode_envelope(*finish_envelope(&envelope, made->file_key));
  EXPECT_EQ(open_envelope(*read, with_key(b))->bytes, made->file_key.bytes);
  EXPECT_FALSE(open_envelope(*read, with_key(a)).ok());
  EXPECT_FALSE(open_envelope(*read, with_passphrase("old")).ok());
  ASSERT_TRUE(remove_recipients(&envelope, std::span(&b_public, 1), false).ok());
  EXPECT_FALSE(finish_envelope(&envelope, made->file_key).ok()) << "nobody could open it";
}

// Whoever holds two file keys must not be able to make one envelope that opens to either.
TEST(Envelope, commits_to_one_file_key) {
  SecretKey a = *random_key(), b = *random_key();
  auto made = make_envelope(Cipher::aes256_gcm, recipients_of({*x25519_public_key(a)}, {}));
  SecretKey second = *random_key();
  ASSERT_TRUE(
      add_recipients(&made->envelope, second, recipients_of({*x25519_public_key(b)}, {})).ok());
  auto read = decode_envelope(*finish_envelope(&made->envelope, second));
  auto opened = open_envelope(*read, with_key(b));
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().text.find("committed"), std::string::npos);
}

TEST(Envelope, bounds_what_a_file_may_ask_of_scrypt) {
  auto made = make_envelope(Cipher::aes256_gcm, recipients_of({}, {"word"}));
  auto good = finish_envelope(&made->envelope, made->file_key);
  size_t cost_at = 88 + 8 + 16;
  ASSERT_EQ((*good)[cost_at], kPassphraseCostMin);
  for (uint8_t cost : {0, 9, 21, 30, 255}) {
    Buffer bad = *good;
    bad[cost_at] = cost;
    EXPECT_EQ(decode_envelope(bad).error().code, Code::too_large);
  }
  std::vector<std::string> many(kPassphrasesMax + 1, "x");
  EXPECT_EQ(make_envelope(Cipher::aes256_gcm, recipients_of({}, many)).error().code,
            Code::too_large);
  EXPECT_FALSE(make_envelope(Cipher::aes256_gcm, recipients_of({}, {""})).ok());
}

}  // namespace
}  // namespace sconce
