#include "quantize/caches.h"

#include "passes/pass_test.h"

namespace sconce {
namespace {

// A cache of keys that is also one of values, written at `at` and read through `READ`.
std::string attention_with(const std::string& write, const std::string& read,
                           const std::string& results = "%y") {
  return fmt::format(R"(
buffer @cache: f32[1, 2, 6, 8] = zeros
method forward(%q: f32[1, 4, 1, 8], %rows: f32[1, 2, 1, 8], %at: i64[1]) {{
  %cache = buffer @cache
  {}
  {}
  %y: f32[1, 4, 1, 8] = aten::scaled_dot_product_attention(%q, %read, %read, none, 0.0, false, none, true)
  write buffer @cache = %now
  return {}
}})",
                     write, read, results);
}

constexpr const char* kWrite = "%now: f32[1, 2, 6, 8] = aten::index_copy(%cache, 2, %at, %rows)";
constexpr const char* kRead = "%read: f32[1, 2, 6, 8] = aten::view(%now, [1, 2, 6, 8])";

std::string why(const std::string& text) {
  auto program = parse_completed(text);
  auto caches = quantize_caches(*program, program->methods[0].graph);
  return caches.ok() ? "" : caches.error().text;
}

TEST(QuantizeCaches, rows_are_bytes_between_write_and_attention) {
  auto program = parse_completed(attention_with(kWrite, kRead));
  auto caches = quantize_caches(*program, program->methods[0].graph);
  ASSERT_TRUE(caches.ok()) << caches.error().text;
  ASSERT_TRUE(verify(*program).ok()) << verify(*program).error().text;
  ASSERT_EQ(caches->size(), 1u);
  EXPECT_EQ((*caches)[0].name, "cache");
  EXPECT_EQ((*caches)[0].bytes_before, 2u * 6 * 8 * 4);
  EXPECT_EQ((*caches)[0].bytes_after, 2u * 6 * (8 + 4));
  std::string text = print(*program);
  EXPECT_EQ(text.substr(text.find("  %8:")),
            R"(  %8: f32[1, 2, 1, 8] = aten::abs(%rows)
  %9: f32[1, 2, 1, 1] = aten::amax(%8, [-1], true)
  %10: f32[1, 2, 1, 1] = aten::clamp(%9, 9.999999747378752e-06, none)
  %11: f32[1, 2, 1, 1] = aten::div.Scalar(%10, 127.0)
  %13: i8[1, 2, 1, 8] = quantized_decomposed::quantize_per_token(%rows, %11, %cache.zeros, -127, 127, 1)
  %14: i8[1, 2, 6, 8] = aten::index_copy(%cache, 2, %at, %13)
  %15: f32[1, 2, 6, 1] = aten::index_copy(%cache.scales, 2, %at, %11)
  %17: f32[1, 2, 6, 8] = quantized_decomposed::dequantize_per_token(%14, %15, %cache.zeros_1, -127, 127, 1, 6)
  %read: f32[1, 2, 6, 8] = aten::view(%17, [1, 2, 6, 8])
  %y: f32[1, 4, 1, 8] = aten::scaled_dot_product_attention(%q, %read, %read, none, 0.0, false, none, true)
  write buffer @cache = %14
  write buffer @cache.scales = %15
  return %y
}
)");
}

TEST(QuantizeCaches, a_cache_may_be_written_in_several_ways) {
  for (const char* write :
       {"%now: f32[1, 2, 6, 8] = aten::index_put(%cache, {none, none, %at}, %rows, false)",
        "%now: f32[1, 2, 6, 8] = aten::slice_scatter(%cache, %rows, 2, 3, 4, 1)",
        "%a: f32[1, 2, 6, 8] = aten::index_copy(%cache, -2, %at, %rows)\n"
        "%now: f32[1, 2, 6, 8] = aten::slice_scatter(%a, %rows, 2, 0, 1, 1)"})
    EXPECT_EQ(why(attention_with(write, kRead)), "") << write;
}

// The state as numbers is what it was, but for what bytes take away.
TEST(QuantizeCaches, attention_reads_what_was_written) {
  const std::string text = attention_with(kWrite, kRead);
  auto before = parse_completed(text), after = parse_completed(text);
  ASSERT_TRUE(quantize_caches(*after, after->methods[0].graph).ok());
  std::vector<EvalValue> inputs = random_inputs(*before, before->methods[0].graph, 3);
  Evaluator run_before(*before), run_after(*after);
  for (int64_t at : {4, 0, 5, 4}) {
    memcpy(std::get<EvalTensor>(inputs[2]).owner->data(), &at, sizeof(at));
    auto x = run_before.run(before->methods[0].graph, inputs),
         y = run_after.run(after->methods[0].graph, inputs);
    ASSERT_TRUE(x.ok() && y.ok());
    expect_near(std::get<EvalTensor>((*x)[0]), std::get<EvalTensor>((*y)[0]).data, 0.01, 0);
  }
}

TEST(QuantizeCaches, says_why_a_cache_stays_float) {
  const std::string none = "no cache of keys and values can be int8: ";
  EXPECT_EQ(why("method forward(%x: f32[2]) { return %x }"),
            none +
                "there is no buffer that a call writes by position (index_copy, index_put, "
                "slices, update_cache) and attention reads");
  EXPECT_EQ(why(attention_with(
                kWrite, std::string(kRead) + "\n%m: f32[1, 2, 6] = aten::amax(%read, [-1], false)",
                "%y, %m")),
            none + "\"cache\": aten::amax reads it too");
  EXPECT_EQ(why(attention_with(kWrite, kRead, "%y, %now")),
            none + "\"cache\": the caller reads it too");
  EXPECT_EQ(why(attention_with(
                kWrite, std::string(kRead) + "\n%m: f32[1, 2, 6] = aten::amax(%cache, [-1], false)",
                "%y, %m")),
            none + "\"cache\": what it held before a write is read too");
  EXPECT_EQ(why(attention_with("%now: f32[1, 2, 6, 8] = aten::add.Tensor(%cache, %rows)", kRead)),
            none +
                "\"cache\": aten::add.Tensor changes it, which does not write whole rows by "
                "position");
  EXPECT_EQ(why(attention_with("%now: f32[1, 2, 6, 8] = aten::index_put(%cache, {none, none, %at}, "
                               "%rows, true)",
                               kRead)),
            none +
                "\"cache\": aten::index_put changes it, which does not write whole rows by "
                "position");
  std::string narrow = attention_with(kWrite, kRead);
  for (size_t at; (at = narrow.find(", 8]")) != std::string::npos;) narrow.replace(at, 4, ", 4]");
  EXPECT_EQ(why(narrow), none + "\"cache\": its rows have 4 numbers, 8 and more are worth it");
  std::string half = attention_with(kWrite, kRead);
  for (size_t at; (at = half.find("f32")) != std::string::npos;) half.replace(at, 3, "f16");
  EXPECT_EQ(why(half), none + "\"cache\": it holds f16, f32 is wanted");
}

}  // namespace
}  // namespace sconce
