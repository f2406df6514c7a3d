// The Python extension `sconce._core`: Module runs programs; compiler.cc adds compile_file.
//
// Names mirror the C++ ones; every Error becomes sconce.Error with the same text and code.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>

#include "sconce/load.h"

namespace nb = nanobind;

void add_compiler(nb::module_& m);

namespace {

using namespace sconce;

nb::object error_type;

[[noreturn]] void raise(const Error& error) {
  nb::object instance = error_type(error.text);
  instance.attr("code") = int(error.code);
  PyErr_SetObject(error_type.ptr(), instance.ptr());
  throw nb::python_error();
}

template <class T>
T value_or_raise(Result<T> result) {
  if (!result.ok()) raise(result.error());
  return std::move(*result);
}

nb::dlpack::dtype to_dlpack(DType dtype) {
  uint8_t bits = uint8_t(dtype_bytes(dtype) * 8);
  if (dtype == DType::b8) return {uint8_t(nb::dlpack::dtype_code::Bool), 8, 1};
  if (dtype == DType::bf16) return {uint8_t(nb::dlpack::dtype_code::Bfloat), 16, 1};
  switch (dtype_category(dtype)) {
    case DTypeCategory::floating: return {uint8_t(nb::dlpack::dtype_code::Float), bits, 1};
    case DTypeCategory::complex: return {uint8_t(nb::dlpack::dtype_code::Complex), bits, 1};
    default: break;
  }
  bool is_unsigned =
      dtype == DType::u8 || dtype == DType::u16 || dtype == DType::u32 || dtype == DType::u64;
  return {uint8_t(is_unsigned ? nb::dlpack::dtype_code::UInt : nb::dlpack::dtype_code::Int), bits,
          1};
}

DType from_dlpack(nb::dlpack::dtype type, size_t position) {
#define SCONCE_ROW(name, code, bytes, category) \
  if (to_dlpack(DType::name) == type) return DType::name;
  SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
  raise(error(Code::invalid_argument, "input {}: an element type of {} bits that is not known",
              position, int(type.bits)));
}

using Array = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;

// A program that is loaded; one thread at a time, as in C++.
class PyModule {
 public:
  PyModule(const std::string& path, int threads, bool as_is)
      : module_(value_or_raise(
            load_module(path, {.module = {.threads = threads}, .as_is = as_is}, &report_))),
        path_(path) {}

  // Methods that were not compiled anew, and why.
  nb::list methods_as_is() const {
    nb::list all;
    for (const MethodAsIs& m : report_.as_is) all.append(nb::make_tuple(m.method, m.reason));
    return all;
  }

  std::vector<std::string> method_names() const { return module_.method_names(); }
  const std::string& path() const { return path_; }

  // Inputs are read where they are. Results are numpy arrays, or torch tensors with `as_torch`: of
  // their own, or without `copy` over the method's memory, which `self` keeps.
  static nb::list execute(nb::handle_t<PyModule> self, const std::string& method,
                          nb::sequence inputs, bool as_torch, bool copy) {
    return nb::cast<PyModule&>(self).run(copy ? nb::handle() : self, method, inputs, as_torch);
  }

  void reset(const std::string& method) {
    Result<void> done = module_.reset(method);
    if (!done.ok()) raise(done.error());
  }

 private:
  nb::list run(nb::handle owner, const std::string& method, nb::sequence inputs, bool as_torch) {
    std::vector<Argument> arguments;
    std::vector<Array> borrowed;
    size_t count = nb::len(inputs);
    for (size_t i = 0; i < count; i++) {
      nb::object item = inputs[i];
      if (item.is_none()) {
        arguments.emplace_back();
        continue;
      }
      if (nb::isinstance<nb::bool_>(item)) {
        arguments.emplace_back(nb::cast<bool>(item));
        continue;
      }
      if (nb::isinstance<nb::int_>(item)) {
        arguments.emplace_back(nb::cast<int64_t>(item));
        continue;
      }
      if (nb::isinstance<nb::float_>(item)) {
        arguments.emplace_back(nb::cast<double>(item));
        continue;
      }
      Array array;
      if (!nb::try_cast<Array>(item, array, false))
        raise(error(Code::invalid_argument,
                    "input {}: a row-major tensor in CPU memory, a number or None is wanted", i));
      std::vector<int32_t> sizes;
      for (size_t d = 0; d < array.ndim(); d++) {
        if (array.shape(d) > INT32_MAX)
          raise(
              error(Code::too_large, "input {}: size {} exceeds {}", i, array.shape(d), INT32_MAX));
        sizes.push_back(int32_t(array.shape(d)));
      }
      arguments.push_back(
          Argument::of(array.data(), from_dlpack(array.dtype(), i), std::move(sizes)));
      borrowed.push_back(std::move(array));
    }
    Result<std::vector<Argument>> results = [&] {
      nb::gil_scoped_release unlocked;
      return module_.execute(method, arguments);
    }();
    nb::list outputs;
    for (const Argument& result : value_or_raise(std::move(results)))
      outputs.append(to_python(result, as_torch, owner));
    return outputs;
  }

  // Without an owner, and of what lies in the mapped file, a copy.
  nb::object to_python(const Argument& result, bool as_torch, nb::handle view_of) const {
    switch (result.value.kind) {
      case Value::Kind::integer: return nb::int_(result.value.integer);
      case Value::Kind::floating: return nb::float_(result.value.floating);
      case Value::Kind::boolean: return nb::bool_(result.value.boolean);
      case Value::Kind::tensor: break;
      default: return nb::none();
    }
    Bytes bytes = result.bytes();
    void* data = const_cast<uint8_t*>(bytes.data());
    nb::object owner = nb::borrow(view_of);
    Bytes file = module_.program().view().file;
    if (!view_of || (bytes.data() >= file.data() && bytes.data() < file.data() + file.size())) {
      auto memory = std::make_unique<uint8_t[]>(bytes.size() + 1);
      memcpy(memory.get(), bytes.data(), bytes.size());
      owner =
          nb::capsule(memory.get(), [](void* p) noexcept { delete[] static_cast<uint8_t*>(p); });
      data = memory.release();
    }
    std::vector<size_t> shape(result.sizes.begin(), result.sizes.end());
    Strides strides = strides_of(result.tensor);
    std::vector<int64_t> steps(strides.of, strides.of + result.tensor.rank);
    if (as_torch) {
      return nb::cast(nb::ndarray<nb::pytorch>(data, shape.size(), shape.data(), owner,
                                               steps.data(), to_dlpack(result.tensor.dtype)));
    }
    if (result.tensor.dtype == DType::bf16)
      raise(error(Code::unsupported,
                  "numpy has no bfloat16: pass torch tensors to get torch tensors back"));
    return nb::cast(nb::ndarray<nb::numpy>(data, shape.size(), shape.data(), owner, steps.data(),
                                           to_dlpack(result.tensor.dtype)));
  }

  LoadReport report_;  // before module_, whose making fills it
  Module module_;
  std::string path_;
};

}  // namespace

NB_MODULE(_core, m) {
  error_type = nb::steal(PyErr_NewException("sconce.Error", PyExc_RuntimeError, nullptr));
  m.attr("Error") = error_type;
  nb::class_<PyModule>(m, "Module",
                       "A .pte program, loaded. One thread at a time; make one Module per thread.")
      .def(nb::init<const std::string&, int, bool>(), nb::arg("path"), nb::arg("threads") = 1,
           nb::arg("as_is") = false)
      .def_prop_ro("methods_as_is", &PyModule::methods_as_is)
      .def_prop_ro("method_names", &PyModule::method_names)
      .def_prop_ro("path", &PyModule::path)
      .def("execute", &PyModule::execute, nb::arg("method"), nb::arg("inputs"),
           nb::arg("as_torch") = false, nb::arg("copy") = true)
      .def("reset", &PyModule::reset, nb::arg("method") = "forward",
           "Mutable state as after load.");
  add_compiler(m);
}
