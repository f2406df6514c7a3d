#include "formats/json/json_text.h"

#include <gtest/gtest.h>

#include <simdjson.h>

namespace sconce::json {
namespace {

std::string string_of(std::string_view text) {
  std::string out;
  append_string(text, &out);
  return out;
}

TEST(JsonText, escapes_what_a_string_cannot_hold_and_nothing_else) {
  EXPECT_EQ(string_of(""), "\"\"");
  EXPECT_EQ(string_of("a/b\x7f\xc3\xa9"), "\"a/b\x7f\xc3\xa9\"");
  EXPECT_EQ(string_of("\"\\"), R"("\"\\")");
  EXPECT_EQ(string_of("\b\f\n\r\t"), R"("\b\f\n\r\t")");
  EXPECT_EQ(string_of(std::string_view("\0\x1b\x1f", 3)), R"("\u0000\u001b\u001f")");
}

TEST(JsonText, every_character_is_read_back) {
  std::string text;
  for (int c = 0; c < 128; c++) text += char(c);
  simdjson::dom::parser parser;
  simdjson::padded_string json(string_of(text));
  std::string_view read;
  ASSERT_EQ(parser.parse(json).get_string().get(read), simdjson::SUCCESS);
  EXPECT_EQ(read, text);
}

}  // namespace
}  // namespace sconce::json
