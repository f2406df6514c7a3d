// The files of a model: found in its folder, opened without leaving it, hashed in parallel.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/signing/digest.h"
#include "formats/signing/statement.h"

namespace sconce::signing {

// Left out at the top of every model, as the format demands.
inline constexpr std::string_view kDefaultIgnoredPaths[] = {".git", ".gitattributes", ".github",
                                                            ".gitignore"};

struct ListOptions {
  std::vector<std::string> ignore_paths;  // plain (plain_path); a folder stands for all in it
  bool allow_symlinks = false;            // follow them, but not in a circle
};

struct ModelFile {
  std::string path;    // relative to the model, "/" between folders; "." when the model is a file
  uint64_t bytes = 0;  // when it was listed
};

struct ModelListing {
  bool is_folder = false;
  std::vector<ModelFile> files;      // by path
  std::vector<std::string> ignored;  // what is there and was left out, by path
  struct Refused {
    std::string path, why;
  };
  std::vector<Refused> refused;       // symbolic links, devices, names that are not UTF-8
  std::vector<std::string> warnings;  // circles and links out of the model, when links are followed
};

// `model` is a folder or a file. Fails when it is neither or a folder cannot be read.
Result<ModelListing> list_model(const std::string& model, const ListOptions& options);

// Base name of the folder or file, also of "." and "a/..".
Result<std::string> model_name(const std::string& model);

// `path` (absolute, or relative to the working folder) as one relative to the model, or nothing
// when it is not inside. It need not exist.
std::optional<std::string> path_in_model(const std::string& model, const std::string& path);

// A path to leave out, as the user gave it: relative to the model, or absolute and inside it.
Result<std::string> ignored_path(const std::string& model, const std::string& path);

// An open file that is not a symbolic link and is reached through none, unless links are allowed.
class ModelFileReader {
 public:
  static Result<ModelFileReader> open(const std::string& model, const std::string& path,
                                      bool allow_symlinks);
  ModelFileReader(ModelFileReader&& other) noexcept;
  ~ModelFileReader();

  uint64_t bytes() const { return bytes_; }  // when it was opened
  // Fills `out` from `offset`; fails when the file ends before. Safe to call from several threads.
  Result<void> read(uint64_t offset, Span<uint8_t> out) const;

 private:
  ModelFileReader() = default;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
  std::string name_;
};

struct HashRequest {
  std::string path;             // of a file of the model
  uint64_t begin = 0, end = 0;  // the bytes to hash; `end` 0 stands for the end of the file
  bool tensors = false;         // also those in the file, when it is a safetensors file
};

struct HashAnswer {
  Result<RecordedFile> file = error(Code::internal, "not hashed");
  // Why a file that was asked for tensors was hashed as a whole only; empty when it was not.
  std::string without_tensors;
};

struct HashOptions {
  HashAlgorithm algorithm = HashAlgorithm::sha256;
  bool allow_symlinks = false;
  unsigned threads = 0;  // 0: as many as the machine has
  // Called from the calling thread about ten times a second.
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

// One answer for each request. Every byte is read once: where tensors are asked for, a second
// thread hashes them from the same buffers. Reads with pread(), so a file that shrinks meanwhile is
// an error and no signal.
std::vector<HashAnswer> hash_files(const std::string& model, Span<const HashRequest> requests,
                                   const HashOptions& options);

}  // namespace sconce::signing
