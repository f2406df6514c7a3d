// Every file of hostile/ is refused, with an error that holds the words of expected.tsv.
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/signing/text.h"
#include "formats/signing/verify.h"

namespace sconce::signing {
namespace {

const std::string kFolder = SCONCE_SOURCE_DIR "/src/formats/signing/hostile/";

std::string load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::map<std::string, std::string> expected_words() {
  std::istringstream table(load(kFolder + "expected.tsv"));
  std::map<std::string, std::string> rows;
  for (std::string line; std::getline(table, line);) {
    size_t tab = line.find('\t');
    rows[line.substr(0, tab)] = line.substr(tab + 1);
  }
  return rows;
}

TEST(hostile_signatures, are_refused_each_for_its_lie) {
  auto rows = expected_words();
  ASSERT_GT(rows.size(), 120u);
  Trust trust;
  trust.key = *parse_public_key(load(kFolder + "key.pub"));
  for (const auto& [name, words] : rows) {
    Verdict verdict = Verdict::verified;
    std::string file = load(kFolder + name + ".sig");
    auto result = verify_signature(as_bytes(file), trust, &verdict);
    ASSERT_FALSE(result.ok()) << name;
    EXPECT_NE(result.error().text.find(words), std::string::npos)
        << name << ": " << result.error().text << "\n  wanted: " << words;
    EXPECT_NE(verdict, Verdict::verified) << name;
    EXPECT_LT(result.error().text.size(), 2000u) << name;
  }
}

// Every signature has a twin with the other root of its second number; both are valid ECDSA and
// signers of other makes emit either, so neither can be refused.
TEST(signature, holds_in_both_of_its_forms) {
  PrivateKey key = *generate_key(Curve::p256);
  for (int i = 0; i < 16; i++)
    EXPECT_TRUE(key.public_key().verifies(as_bytes("x"), *key.sign(as_bytes("x"))));
}

}  // namespace
}  // namespace sconce::signing
