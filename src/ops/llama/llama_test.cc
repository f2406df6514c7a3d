// What these operators refuse, which no well-made file asks for. Their answers are compared with
// ExecuTorch's by cases.py.
#include <gtest/gtest.h>

#include "ops/llama/hadamard.h"
#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

std::vector<float> zeros(size_t count) { return std::vector<float>(count); }

TEST(update_cache, refuses_rows_that_do_not_fit_the_cache) {
  struct Case {
    std::initializer_list<int32_t> rows, cache;
    const char* text;
  };
  for (const Case& c : {Case{{1, 1, 2, 4}, {1, 8, 2}, "rank 3, 4 wanted"},
                        Case{{2, 1, 2, 4}, {1, 8, 2, 4}, "dimension 0 of the rows is 2"},
                        Case{{1, 1, 3, 4}, {1, 8, 2, 4}, "dimension 2 of the rows is 3"},
                        Case{{1, 1, 2, 5}, {1, 8, 2, 4}, "dimension 3 of the rows is 5"}}) {
    KernelCall call("llama::update_cache.out");
    call.floats(c.rows, zeros(16)).floats(c.cache, zeros(64)).integer(0);
    EXPECT_EQ(call.run(), Code::invalid_argument);
    EXPECT_NE(call.text().find(c.text), std::string::npos) << call.text();
  }
  KernelCall types("llama::update_cache.out");
  types.floats({1, 1, 2, 4}, zeros(8))
      .tensor<int8_t>(DType::i8, {1, 8, 2, 4}, std::vector<int8_t>(64));
  EXPECT_EQ(types.integer(0).run(), Code::invalid_argument);
}

TEST(update_cache, refuses_positions_outside_the_cache) {
  for (int64_t start : {int64_t(-1), int64_t(7), int64_t(8), INT64_MAX, INT64_MIN})
    for (const char* name : {"llama::update_cache.out", "sconce::updated_cache.out"}) {
      bool functional = name[0] == 's';
      KernelCall call(name);
      if (functional) call.floats({1, 8, 1, 4}, zeros(32));
      call.floats({1, 2, 1, 4}, zeros(8));
      if (!functional) call.floats({1, 8, 1, 4}, zeros(32));
      EXPECT_EQ(call.integer(start).run(), Code::invalid_argument) << name << " " << start;
      EXPECT_NE(call.text().find("in a cache of 8"), std::string::npos) << call.text();
    }
}

TEST(update_cache, refuses_indices_before_it_writes_a_row) {
  for (int64_t wrong : {int64_t(-1), int64_t(8), INT64_MAX, INT64_MIN}) {
    KernelCall call("llama::update_cache_with_indices.out");
    call.floats({1, 2, 1, 1}, {1, 2}).floats({1, 8, 1, 1}, zeros(8)).integer(0);
    call.tensor<int64_t>(DType::i64, {1, 2}, {3, wrong});
    EXPECT_EQ(call.run(), Code::invalid_argument);
    EXPECT_NE(call.text().find("is not in a cache of 8 positions"), std::string::npos)
        << call.text();
  }
  KernelCall sizes("llama::update_cache_with_indices.out");
  sizes.floats({1, 2, 1, 1}, {1, 2}).floats({1, 8, 1, 1}, zeros(8)).integer(0);
  EXPECT_EQ(sizes.tensor<int64_t>(DType::i64, {1, 3}, {0, 1, 2}).run(), Code::invalid_argument);
}

KernelCall attention(int64_t start, std::initializer_list<int32_t> query = {1, 2, 4, 8},
                     std::initializer_list<int32_t> key = {1, 8, 2, 8},
                     std::initializer_list<int32_t> value = {1, 8, 2, 8}) {
  KernelCall call("llama::custom_sdpa.out");
  call.floats(query, zeros(512)).floats(key, zeros(512)).floats(value, zeros(512)).integer(start);
  return call;
}

TEST(custom_sdpa, refuses_what_does_not_fit) {
  struct Case {
    KernelCall call;
    const char* text;
  };
  Case cases[] = {
      {attention(-1), "start_pos -1"},
      {attention(7), "2 queries from start_pos 7 on do not lie in a cache of 8"},
      {attention(INT64_MAX), "do not lie in a cache"},
      {attention(INT64_MIN), "do not lie in a cache"},
      {attention(0, {2, 4, 8}), "query of rank 3"},
      {attention(0, {1, 2, 3, 8}), "2 heads of key and value do not divide 3"},
      {attention(0, {1, 2, 4, 8}, {1, 8, 0, 8}, {1, 8, 0, 8}), "0 heads"},
      {attention(0, {1, 2, 4, 8}, {1, 8, 2, 4}), "4 features, the query has 1 and 8"},
      {attention(0, {1, 2, 4, 8}, {1, 8, 2, 8}, {1, 7, 2, 8}), "dimension 1 of the key is 8"},
      {attention(0, {2, 2, 4, 8}), "key of 1 batches"}};
  for (Case& c : cases) {
    c.call.none().floating(0).boolean(true).none();
    EXPECT_EQ(c.call.run(), Code::invalid_argument) << c.text;
    EXPECT_NE(c.call.text().find(c.text), std::string::npos) << c.call.text();
  }
}

TEST(custom_sdpa, refuses_masks_of_another_size_or_beside_causal) {
  for (auto [rows, causal] : {std::pair{3, false}, std::pair{2, true}}) {
    KernelCall call = attention(0);
    call.floats({rows, 8}, zeros(size_t(rows) * 8)).floating(0).boolean(causal).none();
    EXPECT_EQ(call.run(), Code::invalid_argument);
  }
}

TEST(custom_quantized_sdpa, refuses_integers_without_what_they_stand_for) {
  for (int given = 0; given < 6; given++) {
    KernelCall call("llama::custom_quantized_sdpa.out");
    for (int i = 0; i < 3; i++)
      call.tensor<int8_t>(DType::i8, {1, 2, 1, 4}, std::vector<int8_t>(8));
    call.integer(0).none().floating(0).boolean(true).none();
    for (int i = 0; i < 6; i++) {
      if (i >= given)
        call.none();
      else if (i % 2 == 0)
        call.tensor<int8_t>(DType::i8, {1, 2, 1, 1}, std::vector<int8_t>(2));
      else
        call.floats({1, 2, 1, 1}, zeros(2));
    }
    EXPECT_EQ(call.boolean(false).run(), Code::invalid_argument) << given;
  }
}

TEST(fast_hadamard_transform, refuses_widths_that_have_no_matrix) {
  for (int32_t width : {0, 3, 6, 84, 100}) {
    KernelCall call("llama::fast_hadamard_transform.out");
    EXPECT_EQ(call.floats({1, width}, zeros(100)).run(), Code::invalid_argument) << width;
  }
}

TEST(hadamard_28, has_rows_at_right_angles) {
  for (int i = 0; i < 28; i++)
    for (int j = 0; j < 28; j++) {
      float sum = 0;
      for (int k = 0; k < 28; k++) sum += hadamard_28_sign(i, k) * hadamard_28_sign(j, k);
      EXPECT_EQ(sum, i == j ? 28 : 0) << i << " " << j;
    }
}

}  // namespace
}  // namespace sconce
