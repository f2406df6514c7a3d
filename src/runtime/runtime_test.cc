#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "base/file.h"
#include "formats/pte/pte.h"
#include "sconce/runtime.h"

namespace sconce {
namespace {

std::string test_path(const std::string& name) {
  return std::string(SCONCE_SOURCE_DIR "/src/runtime/testdata/") + name + ".pte";
}

// --- files of stock ExecuTorch: same answers ----------------------------------------------------

// One tensor or number of cases.txt; values in logical order.
struct Item {
  std::string dtype;
  std::vector<int32_t> sizes;
  std::vector<double> values;
};
struct Call {
  std::vector<Item> inputs, outputs;
};
using Cases = std::map<std::pair<std::string, std::string>, std::vector<Call>>;

Cases read_cases() {
  Cases cases;
  std::ifstream file(SCONCE_SOURCE_DIR "/src/runtime/testdata/cases.txt");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream in(line);
    std::string name, method, kind, sizes, values, part;
    size_t call, index;
    Item item;
    in >> name >> method >> call >> kind >> index >> item.dtype >> sizes >> values;
    std::istringstream size_parts(sizes), value_parts(values);
    if (sizes != "-")
      while (std::getline(size_parts, part, 'x')) item.sizes.push_back(std::stoi(part));
    if (values != "-")
      while (std::getline(value_parts, part, ',')) item.values.push_back(std::stod(part));
    auto& calls = cases[{name, method}];
    if (calls.size() <= call) calls.resize(call + 1);
    auto& list = kind == "in" ? calls[call].inputs : calls[call].outputs;
    if (list.size() <= index) list.resize(index + 1);
    list[index] = item;
  }
  return cases;
}

// Memory position of each element in logical order.
std::vector<size_t> positions(const std::vector<int32_t>& sizes, const uint8_t* dim_order) {
  Tensor tensor;
  tensor.sizes = const_cast<int32_t*>(sizes.data());
  tensor.rank = uint8_t(sizes.size());
  tensor.dim_order = dim_order;
  Strides strides = strides_of(tensor);
  std::vector<size_t> all(size_t(element_count(tensor)), 0);
  for (size_t i = 0; i < all.size(); i++) {
    size_t rest = i;
    for (int d = int(sizes.size()) - 1; d >= 0; d--) {
      all[i] += rest % size_t(sizes[size_t(d)]) * size_t(strides[d]);
      rest /= size_t(sizes[size_t(d)]);
    }
  }
  return all;
}

Argument argument_of(const Item& item, const SlotMeta& slot, std::vector<uint8_t>* storage) {
  if (item.dtype == "int") return int64_t(item.values[0]);
  if (item.dtype == "bool") return item.values[0] != 0;
  if (item.dtype == "float") return item.values[0];
  DType dtype = *find_dtype(item.dtype);
  storage->assign(item.values.size() * dtype_bytes(dtype) + 1, 0);
  std::vector<size_t> places = positions(item.sizes, slot.dim_order);
  for (size_t i = 0; i < places.size(); i++) {
    void* to = storage->data() + places[i] * dtype_bytes(dtype);
    if (dtype == DType::f32) {
      float v = float(item.values[i]);
      memcpy(to, &v, 4);
    } else if (dtype == DType::i64) {
      int64_t v = int64_t(item.values[i]);
      memcpy(to, &v, 8);
    } else if (dtype == DType::b8) {
      *static_cast<uint8_t*>(to) = item.values[i] != 0;
    } else
      ADD_FAILURE() << item.dtype;
  }
  std::vector<uint8_t> order;
  if (slot.dim_order) order.assign(slot.dim_order, slot.dim_order + slot.rank);
  return Argument::of(storage->data(), dtype, item.sizes, order);
}

std::vector<double> values_of(const Argument& argument) {
  const Value& v = argument.value;
  if (v.kind == Value::Kind::integer) return {double(v.integer)};
  if (v.kind == Value::Kind::boolean) return {double(v.boolean)};
  if (v.kind == Value::Kind::floating) return {v.floating};
  std::vector<double> all;
  Bytes bytes = argument.bytes();
  for (size_t place : positions(argument.sizes,
                                argument.dim_order.empty() ? nullptr : argument.dim_order.data())) {
    const uint8_t* at = bytes.data() + place * dtype_bytes(argument.tensor.dtype);
    switch (argument.tensor.dtype) {
      case DType::f32: {
        float x;
        memcpy(&x, at, 4);
        all.push_back(x);
        break;
      }
      case DType::i64: {
        int64_t x;
        memcpy(&x, at, 8);
        all.push_back(double(x));
        break;
      }
      case DType::b8: all.push_back(*at); break;
      default: ADD_FAILURE();
    }
  }
  return all;
}

TEST(Runtime, runs_files_of_stock_with_the_same_answers) {
  int compared = 0;
  for (const auto& [key, calls] : read_cases()) {
    auto [name, method] = key;
    if (name == "delegate") continue;
    SCOPED_TRACE(name + " " + method);
    auto module = Module::load(test_path(name));
    ASSERT_TRUE(module.ok()) << module.error().text;
    auto meta = module->method_meta(method);
    ASSERT_TRUE(meta.ok());
    for (const Call& call : calls) {
      std::vector<Argument> inputs;
      std::vector<std::vector<uint8_t>> storage(call.inputs.size());
      for (size_t i = 0; i < call.inputs.size(); i++)
        inputs.push_back(argument_of(call.inputs[i], meta->input(uint32_t(i)), &storage[i]));
      auto outputs = module->execute(method, inputs);
      if (!outputs.ok()) {
        ADD_FAILURE() << outputs.error().text;
        break;
      }
      ASSERT_GE(outputs->size(), call.outputs.size());
      for (size_t i = 0; i < call.outputs.size(); i++) {
        EXPECT_EQ((*outputs)[i].sizes, call.outputs[i].sizes);
        std::vector<double> found = values_of((*outputs)[i]);
        ASSERT_EQ(found.size(), call.outputs[i].values.size());
        for (size_t k = 0; k < found.size(); k++)
          EXPECT_NEAR(found[k], call.outputs[i].values[k],
                      1e-5 + 1e-5 * std::fabs(call.outputs[i].values[k]));
        compared++;
      }
    }
  }
  EXPECT_GE(compared, 30);
}

TEST(Runtime, lists_every_missing_operator_and_delegate_in_one_error) {
  auto module = Module::load(test_path("delegate"));
  ASSERT_TRUE(module.ok()) << module.error().text;
  auto loaded = module->load_method("forward");
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, Code::not_found);
  EXPECT_NE(loaded.error().text.find("delegate XnnpackBackend"), std::string::npos)
      << loaded.error().text;

  Kernel none{"test::nothing", "t>t", nullptr, nullptr};
  KernelRow row{&none, "none"};
  auto linear = Module::load(test_path("linear"), {.kernels = Span<const KernelRow>(&row, 1)});
  ASSERT_TRUE(linear.ok());
  auto missing = linear->load_method("forward");
  ASSERT_FALSE(missing.ok());
  for (const char* name : {"aten::permute_copy.out", "aten::addmm.out", "aten::relu.out"})
    EXPECT_NE(missing.error().text.find(name), std::string::npos) << missing.error().text;
}

}  // namespace
}  // namespace sconce
