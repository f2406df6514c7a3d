// CLibrary: kernels as C, compiled by the machine's C compiler and loaded. For tests.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "tile/c/emit_c.h"

namespace sconce::tile {

class CLibrary {
 public:
  // Compiles one file with all of the kernels.
  static std::unique_ptr<CLibrary> make(Span<const CKernel> kernels,
                                        const EmitCOptions& options = {},
                                        const std::string& flags = "-O2") {
    auto made = std::make_unique<CLibrary>();
    Result<CText> text = emit_c(kernels, options);
    if (!text.ok()) {
      ADD_FAILURE() << text.error().text;
      return nullptr;
    }
    made->text_ = std::move(*text);
    std::string folder = testing::TempDir() + "emit_c_XXXXXX";
    if (!mkdtemp(folder.data())) {
      ADD_FAILURE() << "no folder " << folder;
      return nullptr;
    }
    made->folder_ = folder;
    // What calls a function with arguments from a list: the functions' types differ.
    std::string calls = "#include \"kernels.h\"\n";
    for (size_t k = 0; k < kernels.size(); k++)
      calls += caller(kernels[k], made->text_.functions[k]);
    std::ofstream(folder + "/kernels.c") << made->text_.source;
    std::ofstream(folder + "/kernels.h") << made->text_.header;
    std::ofstream(folder + "/calls.c") << calls;
    std::string command = "cd '" + folder +
                          "' && cc -std=c99 -Wall -Wextra -Werror -ffp-contract=off -fPIC " +
                          flags + " -shared kernels.c calls.c -o kernels.so -lm > log 2>&1";
    if (system(command.c_str()) != 0) {
      std::ifstream log(folder + "/log");
      std::string said((std::istreambuf_iterator<char>(log)), {});
      ADD_FAILURE() << command << "\n"
                    << said.substr(0, 4000) << "\n"
                    << made->text_.source.substr(0, 20000);
      return nullptr;
    }
    made->handle_ = dlopen((folder + "/kernels.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!made->handle_) ADD_FAILURE() << dlerror();
    return made->handle_ ? std::move(made) : nullptr;
  }
  ~CLibrary() {
    if (handle_) dlclose(handle_);
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

  int call(size_t kernel, const std::vector<void*>& arrays,
           const std::vector<const int64_t*>& strides, const std::vector<int64_t>& dims) const {
    auto* call =
        reinterpret_cast<int (*)(void* const*, const int64_t* const*, const int64_t*, void*)>(
            dlsym(handle_, ("call_" + text_.functions[kernel]).c_str()));
    auto* scratch = reinterpret_cast<int64_t (*)(const int64_t*)>(
        dlsym(handle_, ("scratch_" + text_.functions[kernel]).c_str()));
    int64_t bytes = scratch(dims.data());
    // Exactly as much as was asked for, so that a sanitizer or a guard sees what is beyond.
    std::vector<uint64_t> memory(size_t(bytes) / 8 + 3, 0x5a5a5a5a5a5a5a5a);
    int returned = call(arrays.data(), strides.data(), dims.data(), memory.data());
    EXPECT_EQ(memory[size_t(bytes) / 8], 0x5a5a5a5a5a5a5a5a) << "scratch memory";
    return returned;
  }
  const CText& text() const { return text_; }

 private:
  static std::string caller(const CKernel& of, const std::string& name) {
    const Kernel& kernel = *of.kernel;
    std::string arguments, sizes;
    for (size_t b = 0; b < kernel.buffers.size(); b++) arguments += fmt::format("arrays[{}], ", b);
    if (of.stride_arguments)
      for (size_t b = 0; b < kernel.buffers.size(); b++)
        if (kernel.buffers[b].layout == Layout::strided)
          arguments += fmt::format("strides[{}], ", b);
    for (size_t d = 0; d < kernel.dims.size(); d++) {
      bool fixed = false;
      for (const auto& dim : of.dims) fixed |= dim.first == kernel.dims[d];
      if (!fixed) sizes += fmt::format("{}dims[{}]", sizes.empty() ? "" : ", ", d);
    }
    return fmt::format(
        "int call_{0}(void *const *arrays, const int64_t *const *strides, const int64_t *dims, "
        "void *scratch) {{\n  (void)arrays, (void)strides, (void)dims;\n  return "
        "{0}({1}{2}{3}scratch);\n}}\n"
        "int64_t scratch_{0}(const int64_t *dims) {{\n  (void)dims;\n  return "
        "{0}_scratch({2});\n}}\n",
        name, arguments, sizes, sizes.empty() ? "" : ", ");
  }

  CText text_;
  std::string folder_;
  void* handle_ = nullptr;
};

}  // namespace sconce::tile
