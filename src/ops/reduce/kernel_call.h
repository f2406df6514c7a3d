// KernelCall: calls one kernel on tensors written out in a test.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <initializer_list>
#include <vector>

#include "ops/def.h"

namespace sconce {

class KernelCall {
 public:
  explicit KernelCall(const char* name) : kernel_(find_kernel(name)) { CHECK(kernel_); }

  template <class T>
  KernelCall& tensor(DType dtype, std::initializer_list<int32_t> sizes, std::vector<T> elements,
                     std::vector<uint8_t> dim_order = {}) {
    CHECK(sizeof(T) == dtype_bytes(dtype));
    const auto* bytes = reinterpret_cast<const uint8_t*>(elements.data());
    data_.emplace_back(bytes, bytes + elements.size() * sizeof(T));
    sizes_.emplace_back(sizes);
    Tensor& tensor = make(dtype);
    if (!dim_order.empty()) {
      orders_.push_back(std::move(dim_order));
      tensor.dim_order = orders_.back().data();
    }
    return push(Value::of(&tensor));
  }
  KernelCall& floats(std::initializer_list<int32_t> sizes, std::vector<float> elements,
                     std::vector<uint8_t> dim_order = {}) {
    return tensor(DType::f32, sizes, std::move(elements), std::move(dim_order));
  }
  KernelCall& none() { return push(Value()); }
  KernelCall& integer(int64_t value) { return push(Value::of(value)); }
  KernelCall& floating(double value) { return push(Value::of(value)); }
  KernelCall& boolean(bool value) { return push(Value::of(value)); }
  KernelCall& integers(std::initializer_list<int64_t> items) {
    lists_.emplace_back();
    for (int64_t item : items) {
      values_.push_back(Value::of(item));
      lists_.back().push_back(&values_.back());
    }
    Value list;
    list.kind = Value::Kind::integers;
    list.count = uint32_t(items.size());
    list.items = lists_.back().data();
    return push(list);
  }

  // Runs with fresh outs of the types that the shape rule gives.
  Code run() {
    inputs_ = arguments_.size();
    int out_count = 0;
    for (const char* letter = strchr(kernel_->signature, '>') + 1; *letter; letter++) out_count++;
    std::vector<OutMeta> metas(static_cast<size_t>(out_count));
    Args shaped{arguments_, int(inputs_)};
    if (Status status = kernel_->shape(shaped, metas, &diagnostic_); !status.ok())
      return status.code;
    for (const OutMeta& meta : metas) {
      sizes_.emplace_back(meta.sizes, meta.sizes + meta.rank);
      size_t bytes = dtype_bytes(meta.dtype);
      for (int32_t size : sizes_.back()) bytes *= size_t(size);
      data_.emplace_back(bytes, uint8_t(0xff));
      push(Value::of(&make(meta.dtype)));
    }
    Args args{arguments_, int(inputs_)};
    std::vector<uint64_t> scratch(kernel_->scratch_bytes ? kernel_->scratch_bytes(args) / 8 + 2 : 0);
    KernelContext context;
    context.diagnostic = &diagnostic_;
    context.scratch = {reinterpret_cast<uint8_t*>(scratch.data()), scratch.size() * 8};
    return call_kernel(*kernel_, args, context).code;
  }
  const Tensor& out(size_t k = 0) const { return *arguments_[inputs_ + k]->tensor; }
  template <class T = float>
  std::vector<T> result(size_t k = 0) const {
    const T* data = out(k).template as<T>();
    return std::vector<T>(data, data + element_count(out(k)));
  }
  std::vector<int32_t> sizes(size_t k = 0) const {
    return std::vector<int32_t>(out(k).sizes, out(k).sizes + out(k).rank);
  }
  std::string text() const { return diagnostic_.text; }

 private:
  KernelCall& push(Value value) {
    values_.push_back(value);
    arguments_.push_back(&values_.back());
    return *this;
  }
  Tensor& make(DType dtype) {
    Tensor tensor;
    tensor.data = data_.back().data();
    tensor.capacity_bytes = data_.back().size();
    tensor.sizes = sizes_.back().data();
    tensor.rank = uint8_t(sizes_.back().size());
    tensor.dtype = dtype;
    tensors_.push_back(tensor);
    return tensors_.back();
  }

  const Kernel* kernel_;
  size_t inputs_ = 0;
  std::vector<const Value*> arguments_;
  std::deque<Value> values_;
  std::deque<Tensor> tensors_;
  std::deque<std::vector<int32_t>> sizes_;
  std::deque<std::vector<uint8_t>> data_, orders_;
  std::deque<std::vector<const Value*>> lists_;
  Diagnostic diagnostic_;
};

}  // namespace sconce
