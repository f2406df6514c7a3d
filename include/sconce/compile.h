// The compiler as a library: a .pt2 archive in, the bytes of a .pte out. Host only.
//
// Safe to call from several threads at once. Errors name file, node and line of the model.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace sconce {

// One method of the file: where it comes from and what it is called.
struct CompileInput {
  std::string path;  // of a .pt2 archive
  std::string method = "forward";
};

// An integer that callers can read as a method without inputs ("get_max_seq_len").
struct ConstantMethod {
  std::string name;
  int64_t value = 0;
};

struct CompileOptions {
  std::string target = "cpu";  // one of `sconce compile --help`
  bool source_lines = true;    // keep the model's source lines in the file, for messages
  std::string print_after;     // name of a pass, or "all", "import"; text goes to `print`
  std::string stop_after;      // name of a pass: the file is not written
  std::function<void(const std::string&)> print;
  // Called with what is being done and the share that is done, 0 to 1.
  std::function<void(const char* stage, double done)> progress;
};

struct StageTime {
  std::string stage;
  double milliseconds = 0;
  uint64_t nodes = 0;
};

struct CompileReport {
  uint64_t file_bytes = 0;
  uint64_t constant_bytes = 0;
  struct Method {
    std::string name;
    uint64_t arena_bytes = 0, arena_lower_bound_bytes = 0, instructions = 0;
  };
  std::vector<Method> methods;
  std::vector<StageTime> stages;
};

struct CompileError {
  int code = 0;
  std::string text;
};

// Writes `output`, whole or not at all. False with `error` filled when it did not.
bool compile_file(const std::vector<CompileInput>& inputs,
                  const std::vector<ConstantMethod>& constants, const std::string& output,
                  const CompileOptions& options, CompileReport* report, CompileError* error);

}  // namespace sconce
