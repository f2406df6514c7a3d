#include "ops/shape/strided.h"

#include <vector>

#include <gtest/gtest.h>

#include "ops/call_arguments.h"
#include "ops/def.h"

namespace sconce {
namespace {

// A tensor that owns what it points to.
struct Owned {
  std::vector<int32_t> sizes;
  std::vector<uint8_t> order;
  std::vector<float> data;
  Tensor tensor;

  Owned(std::vector<int32_t> s, std::vector<uint8_t> dim_order = {}) : sizes(std::move(s)), order(std::move(dim_order)) {
    size_t count = 1;
    for (int32_t size : sizes) count *= size_t(size);
    data.resize(count);
    for (size_t i = 0; i < count; i++) data[i] = float(i);
    tensor.data = data.data();
    tensor.sizes = sizes.data();
    tensor.dim_order = order.empty() ? nullptr : order.data();
    tensor.capacity_bytes = count * 4;
    tensor.rank = uint8_t(sizes.size());
  }
  Owned(const Owned&) = delete;
};

struct Call {
  std::vector<Value> values;
  std::vector<const Value*> pointers;
  Diagnostic diagnostic;
  Status run(const char* name, int inputs) {
    pointers.clear();
    for (const Value& value : values) pointers.push_back(&value);
    const Kernel* kernel = find_kernel(name);
    CHECK(kernel);
    std::vector<uint8_t> scratch(1 << 16);
    KernelContext context{&diagnostic, scratch, nullptr};
    int matched = 0;
    if (Status status = match_signature(*kernel, pointers, &matched, &diagnostic); !status.ok()) return status;
    return call_kernel(*kernel, {pointers, inputs}, context);
  }
};

TEST(copy_view, transposes_blocks_larger_than_a_tile) {
  Owned from({70, 45}), to({45, 70});
  StridedView view = view_of(from.tensor);
  view.swap(0, 1);
  ASSERT_TRUE(copy_view(view, view_of(to.tensor), nullptr).ok());
  for (int i = 0; i < 45; i++)
    for (int k = 0; k < 70; k++) ASSERT_EQ(to.data[size_t(i * 70 + k)], from.data[size_t(k * 45 + i)]);
}

TEST(copy_view, walks_backwards_and_repeats) {
  Owned from({4}), to({3, 4});
  StridedView view = view_of(from.tensor);
  view.advance(0, 3);
  view.strides[0] = -1;
  view.insert(0, 3, 0);
  ASSERT_TRUE(copy_view(view, view_of(to.tensor), nullptr).ok());
  EXPECT_EQ(to.data, (std::vector<float>{3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0}));
}

TEST(copy_view, leaves_empty_views_alone) {
  Owned from({0, 3}), to({0, 3});
  EXPECT_TRUE(copy_view(view_of(from.tensor), view_of(to.tensor), nullptr).ok());
}

TEST(copy_in_order, follows_logical_order_of_channels_last) {
  Owned from({1, 2, 2, 2}, {0, 2, 3, 1}), to({8});
  ASSERT_TRUE(copy_in_order(from.tensor, to.tensor, 0, nullptr).ok());
  EXPECT_EQ(to.data, (std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7}));
}

TEST(cursor, starts_again_after_the_last_element) {
  Owned x({2, 3}, {1, 0});
  Cursor at(x.tensor);
  std::vector<int64_t> offsets;
  for (int i = 0; i < 7; i++, at.next()) offsets.push_back(at.offset);
  EXPECT_EQ(offsets, (std::vector<int64_t>{0, 2, 4, 1, 3, 5, 0}));
}

TEST(permute_copy, writes_an_out_of_another_dim_order) {
  Owned x({2, 3}), out({3, 2}, {1, 0});
  Value dims[2] = {Value::of(int64_t(1)), Value::of(int64_t(-2))};
  const Value* items[2] = {&dims[0], &dims[1]};
  Value list;
  list.kind = Value::Kind::integers;
  list.count = 2;
  list.items = items;
  Call call{{Value::of(&x.tensor), list, Value::of(&out.tensor)}, {}, {}};
  ASSERT_TRUE(call.run("aten::permute_copy.out", 2).ok()) << call.diagnostic.text;
  EXPECT_EQ(out.data, x.data);  // transposed twice
}

TEST(gather, names_index_size_and_dimension_when_out_of_range) {
  Owned x({2, 3}), out({1, 1});
  int64_t wrong = 3;
  int32_t sizes[2] = {1, 1};
  Tensor index;
  index.data = &wrong;
  index.sizes = sizes;
  index.rank = 2;
  index.dtype = DType::i64;
  Call call{{Value::of(&x.tensor), Value::of(int64_t(1)), Value::of(&index), Value::of(false),
             Value::of(&out.tensor)}, {}, {}};
  EXPECT_EQ(call.run("aten::gather.out", 4).code, Code::invalid_argument);
  EXPECT_STREQ(call.diagnostic.text, "index 3 is out of bounds for dimension 1 of size 3");
}

TEST(nonzero, shrinks_its_out_and_grows_it_again) {
  Owned x({4});
  std::vector<int64_t> positions(4);
  int32_t sizes[2] = {4, 1};
  Tensor out;
  out.data = positions.data();
  out.sizes = sizes;
  out.rank = 2;
  out.dtype = DType::i64;
  out.capacity_bytes = 32;
  x.data = {0, 5, 0, 0};
  Call call{{Value::of(&x.tensor), Value::of(&out)}, {}, {}};
  ASSERT_TRUE(call.run("aten::nonzero.out", 1).ok());
  EXPECT_EQ(sizes[0], 1);
  EXPECT_EQ(positions[0], 1);
  x.data = {1, 1, 1, 1};
  ASSERT_TRUE(call.run("aten::nonzero.out", 1).ok());
  EXPECT_EQ(sizes[0], 4);
}

TEST(nonzero, refuses_more_elements_than_planned) {
  Owned x({4});
  std::vector<int64_t> positions(2);
  int32_t sizes[2] = {2, 1};
  Tensor out;
  out.data = positions.data();
  out.sizes = sizes;
  out.rank = 2;
  out.dtype = DType::i64;
  out.capacity_bytes = 16;
  Call call{{Value::of(&x.tensor), Value::of(&out)}, {}, {}};
  EXPECT_EQ(call.run("aten::nonzero.out", 1).code, Code::too_large);
}

TEST(as_strided_copy, refuses_elements_outside_of_the_tensor) {
  Owned x({6}), out({2});
  Value numbers[2] = {Value::of(int64_t(2)), Value::of(int64_t(5))};
  const Value* size[1] = {&numbers[0]};
  const Value* stride[1] = {&numbers[1]};
  auto list = [](const Value* const* items) {
    Value v;
    v.kind = Value::Kind::integers;
    v.count = 1;
    v.items = items;
    return v;
  };
  Call call{{Value::of(&x.tensor), list(size), list(stride), Value::of(int64_t(1)), Value::of(&out.tensor)}, {}, {}};
  EXPECT_EQ(call.run("aten::as_strided_copy.out", 4).code, Code::invalid_argument);
  EXPECT_STREQ(call.diagnostic.text, "as_strided: element 6 of a tensor of 6 elements");
}

}  // namespace
}  // namespace sconce
