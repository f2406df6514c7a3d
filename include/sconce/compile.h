// The compiler as a library: .pt2 archives or .pte programs in, the bytes of a .pte out. Host only.
//
// Safe to call from several threads at once. Errors name file, node and line of the model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace sconce {

// Where methods of the file come from: a .pt2 archive is one method, called "forward" when `method`
// is empty. A .pte, as stock ExecuTorch writes it or we do, has all its methods, or the one named.
struct CompileInput {
  std::string path;
  std::string method;
};

// An integer that callers can read as a method without inputs ("get_max_seq_len").
struct ConstantMethod {
  std::string name;
  int64_t value = 0;
};

struct CompileOptions {
  std::string target = "cpu";  // one of `sconce compile --help`
  // Where speed costs bytes of the file: "size", "balance" or "speed".
  std::string prefer = "balance";
  bool source_lines = true;    // keep the model's source lines in the file, for messages
  std::string print_after;     // name of a pass, or "all", "import"; text goes to `print`
  std::string stop_after;      // name of a pass: the file is not written
  // .ptd files with weights that a .pte names and does not hold; the result holds them.
  std::vector<std::string> data_files;
  // Files of tile kernels that stand for operators of a .pt2, of one's own or known ones (docs/
  // write_kernels.md). The result holds those that it uses. Target "cpu" only.
  std::vector<std::string> kernel_files;
  // A .ptd to write the weights to, which whoever loads the program has to bring; empty: the program
  // holds them. compile_file() only.
  std::string weights_file;
  // For a .pte: sizes of the inputs that are tensors, by position. Methods of dynamic shape become
  // methods for these sizes; empty: they stay as they stand.
  std::vector<std::vector<int32_t>> input_sizes;
  std::function<void(const std::string&)> print;
  // Called with what is being done and the share that is done, 0 to 1.
  std::function<void(const char* stage, double done)> progress;
};

struct StageTime {
  std::string stage;
  double milliseconds = 0;
  uint64_t nodes = 0;
};

// A method of a .pte that could not be compiled anew, and why: it is in the result as it stands.
struct MethodAsIs {
  std::string method, reason;
};

struct CompileReport {
  uint64_t file_bytes = 0;
  uint64_t constant_bytes = 0;  // wherever they are
  uint64_t weights_file_bytes = 0;  // 0: there is none
  struct Method {
    std::string name;
    uint64_t arena_bytes = 0, arena_lower_bound_bytes = 0, instructions = 0;
    bool has_state = false;  // that lives from call to call; not known of methods as they stand
  };
  std::vector<Method> methods;
  std::vector<StageTime> stages;
  std::vector<MethodAsIs> as_is;
};

struct CompileError {
  int code = 0;
  std::string text;
};

// Writes `output`, and the weights file when there is to be one, whole or not at all. False with `error` filled when it did not.
bool compile_file(const std::vector<CompileInput>& inputs,
                  const std::vector<ConstantMethod>& constants, const std::string& output,
                  const CompileOptions& options, CompileReport* report, CompileError* error);

// The same, into memory. Nothing is made (`file` stays empty) when every method is as it was.
bool compile_in_memory(const std::vector<CompileInput>& inputs, const CompileOptions& options,
                       std::vector<uint8_t>* file, CompileReport* report, CompileError* error);

}  // namespace sconce
