// compile_file for Python; a file of its own because the compiler's and the runtime's headers both
// speak of programs and methods.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "sconce/compile.h"

namespace nb = nanobind;

void add_compiler(nb::module_& m) {
  m.def(
      "compile_file",
      [](const std::vector<std::pair<std::string, std::string>>& inputs, const std::string& output,
         const std::string& target, const std::map<std::string, int64_t>& constant_methods,
         const std::string& prefer) {
        std::vector<sconce::CompileInput> files;
        for (const auto& [method, path] : inputs) files.push_back({path, method});
        std::vector<sconce::ConstantMethod> constants;
        for (const auto& [name, value] : constant_methods) constants.push_back({name, value});
        sconce::CompileOptions options;
        options.target = target;
        options.prefer = prefer;
        sconce::CompileReport report;
        sconce::CompileError error;
        bool done;
        {
          nb::gil_scoped_release unlocked;
          done = sconce::compile_file(files, constants, output, options, &report, &error);
        }
        if (!done) {
          nb::object type = nb::module_::import_("sconce._core").attr("Error");
          nb::object instance = type(error.text);
          instance.attr("code") = error.code;
          PyErr_SetObject(type.ptr(), instance.ptr());
          throw nb::python_error();
        }
        nb::dict result;
        result["bytes"] = report.file_bytes;
        result["constant_bytes"] = report.constant_bytes;
        return result;
      },
      nb::arg("inputs"), nb::arg("output"), nb::arg("target") = "cpu",
      nb::arg("constant_methods") = std::map<std::string, int64_t>(),
      nb::arg("prefer") = "balance");
}
