// Calls of files that stock ExecuTorch made, with stock's answers, for tests: cases.txt of a folder
// of test data, as src/runtime/testdata/make_testdata.py writes it.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "sconce/runtime.h"
#include "tensor/half.h"

namespace sconce {

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

inline Cases read_cases(const char* path) {
  Cases cases;
  std::ifstream file(path);
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
inline std::vector<size_t> positions(const std::vector<int32_t>& sizes, const uint8_t* dim_order) {
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

inline Argument argument_of(const Item& item, const SlotMeta& slot, std::vector<uint8_t>* storage) {
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
    } else if (dtype == DType::f16) {
      f16_t v = to_f16(float(item.values[i]));
      memcpy(to, &v, 2);
    } else if (dtype == DType::bf16) {
      bf16_t v = to_bf16(float(item.values[i]));
      memcpy(to, &v, 2);
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

inline std::vector<double> values_of(const Argument& argument) {
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
      case DType::f16: {
        f16_t x;
        memcpy(&x, at, 2);
        all.push_back(to_float(x));
        break;
      }
      case DType::bf16: {
        bf16_t x;
        memcpy(&x, at, 2);
        all.push_back(to_float(x));
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

// Makes the calls on one loaded method. A result may be `tolerance` times its magnitude, or the
// largest magnitude of its tensor if that is asked for, from stock's. Returns how many tensors it
// compared.
using LoadModule = Result<Module> (*)(const std::string& path);
inline Result<Module> load_as_is(const std::string& path) { return Module::load(path); }
inline int expect_answers(const std::string& path, const std::string& method,
                          const std::vector<Call>& calls, double tolerance,
                          bool of_largest = false, LoadModule load = load_as_is) {
  int compared = 0;
  auto module = load(path);
  if (!module.ok()) {
    ADD_FAILURE() << module.error().text;
    return 0;
  }
  auto meta = module->method_meta(method);
  for (const Call& call : calls) {
    std::vector<Argument> inputs;
    std::vector<std::vector<uint8_t>> storage(call.inputs.size());
    for (size_t i = 0; i < call.inputs.size(); i++)
      inputs.push_back(argument_of(call.inputs[i], meta->input(uint32_t(i)), &storage[i]));
    auto outputs = module->execute(method, inputs);
    if (!outputs.ok()) {
      ADD_FAILURE() << outputs.error().text;
      return compared;
    }
    if (outputs->size() < call.outputs.size()) {
      ADD_FAILURE() << outputs->size() << " outputs of " << call.outputs.size();
      return compared;
    }
    for (size_t i = 0; i < call.outputs.size(); i++) {
      const std::vector<double>& wanted = call.outputs[i].values;
      EXPECT_EQ((*outputs)[i].sizes, call.outputs[i].sizes);
      std::vector<double> found = values_of((*outputs)[i]);
      if (found.size() != wanted.size()) {
        ADD_FAILURE() << found.size() << " values of " << wanted.size();
        continue;
      }
      double largest = 0;
      for (double value : wanted)
        if (std::isfinite(value)) largest = std::fmax(largest, std::fabs(value));
      for (size_t k = 0; k < found.size(); k++) {
        if (std::isnan(wanted[k]) || std::isinf(wanted[k])) {
          EXPECT_TRUE(found[k] == wanted[k] || (std::isnan(found[k]) && std::isnan(wanted[k])))
              << "output " << i << ", element " << k << ": " << found[k] << ", want " << wanted[k];
          continue;
        }
        double scale = of_largest ? largest : 1 + std::fabs(wanted[k]);
        EXPECT_NEAR(found[k], wanted[k], tolerance * scale) << "output " << i << ", element " << k;
      }
      compared++;
    }
  }
  return compared;
}

}  // namespace sconce
