// What the sources of the extension `sconce._tensors` share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string_view>
#include <vector>

#include "sconce/tensor_file.h"

// Raises SafetensorError, with the code as its attribute; `doing` goes before the text.
[[noreturn]] void raise(const sconce::Error& error, const char* doing = "");

template <class T>
T value_or_raise(sconce::Result<T> result, const char* doing = "") {
  if (!result.ok()) raise(result.error(), doing);
  return std::move(*result);
}
inline void done_or_raise(sconce::Result<void> result) {
  if (!result.ok()) raise(result.error());
}

using ByteArray =
    nanobind::ndarray<nanobind::numpy, uint8_t, nanobind::ndim<1>, nanobind::c_contig>;

inline nanobind::str name_str(std::string_view name) {
  return nanobind::str(name.data(), name.size());
}
nanobind::tuple shape_tuple(sconce::Span<const uint64_t> shape);
nanobind::object metadata_dict(const sconce::Header& header);  // None when there is none

// Names of tensors, of which there can be very many.
template <class T>
nanobind::list name_list(const std::vector<const T*>& tensors) {
  PyObject* list = PyList_New(Py_ssize_t(tensors.size()));
  if (!list) throw nanobind::python_error();
  auto names = nanobind::steal<nanobind::list>(list);
  for (size_t i = 0; i < tensors.size(); i++) {
    std::string_view name = tensors[i]->name;
    PyObject* text = PyUnicode_DecodeUTF8(name.data(), Py_ssize_t(name.size()), nullptr);
    if (!text) throw nanobind::python_error();
    PyList_SET_ITEM(list, Py_ssize_t(i), text);
  }
  return names;
}

// Packed, sealed and signed files (containers.cc).
void add_containers(nanobind::module_& m);
