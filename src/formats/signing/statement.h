// Statement: what a signature says about a model, and the bytes that are signed.
//
// An in-toto Statement v1 with the predicate of OpenSSF Model Signing 1.0 (format.md): the digest
// of each file, how the files were found, and, as an annotation of a file's resource that other
// verifiers ignore, the digests of the tensors in it. StatementBuilder collects digests;
// FileRecorder makes those of one file while it is written, so that it need not be read again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/signing/digest.h"

namespace sconce::signing {

// The tensors of one file. `index` is the part of the file that says where they lie and what they
// are (the length and header of a safetensors file; the table of a container), [begin, end).
struct TensorDigests {
  uint64_t index_begin = 0, index_end = 0;
  Digest index;                           // of those bytes, SHA-256
  std::map<std::string, Digest> tensors;  // by name; see TensorHasher
};

struct Resource {
  std::string path;  // relative to the model, "/" between folders, no "." or ".."
  Digest digest;
  std::optional<std::pair<uint64_t, uint64_t>> shard;  // bytes [first, second) of the file
  std::optional<TensorDigests> tensors;                // absent for shards
};

struct Serialization {
  HashAlgorithm hash = HashAlgorithm::sha256;
  std::optional<uint64_t> shard_bytes;  // absent: whole files
  bool allow_symlinks = false;
  std::vector<std::string> ignore_paths;  // relative to the model, folders with all in them
};

struct Statement {
  std::string model_name;  // informative; the base name of the folder or file
  Serialization serialization;
  std::vector<Resource> resources;  // by path and then by place in the file; at least one
  bool deprecated = false;          // read from the layout of version 0.2
};

// The JSON that is signed: resources in code point order of their names, no spaces.
Result<std::string> encode_statement(const Statement& statement);

// Checks everything that is not the files themselves: types, names, digests, shards without holes,
// no resource twice, the root digest. Errors name the place ("predicate.resources[3].name: ...").
// Unknown members are allowed, as the format demands. The layout of version 0.2, which lists files
// as subjects and binds no serialization, is refused unless `allow_deprecated`.
Result<Statement> decode_statement(Bytes payload, bool allow_deprecated = false);

// A path of a resource in its plain form ("./a//b" is "a/b"); an error when it is absolute, leaves
// the model, or names nothing.
Result<std::string> plain_path(std::string_view path);

// What was recorded about one file.
struct RecordedFile {
  Digest digest;  // of all bytes, SHA-256
  uint64_t bytes = 0;
  std::optional<TensorDigests> tensors;
};

// Takes the bytes of a file in order while they are written.
//
//   FileRecorder recorder;
//   recorder.begin_index();  recorder.write(header);  recorder.end_index();
//   recorder.begin_tensor("weight", "F32", {2, 3});  recorder.write(bytes);  recorder.end_tensor();
//
// Bytes that were compressed or sealed before they reach the file: pass write() what stands in the
// file and tensor_bytes() what the tensor holds, between begin_tensor() and end_tensor(); write()
// then does not count for the tensor (begin_tensor(..., plain = false)). The index may stand
// anywhere, also at the end, but must be one piece. Not to be shared between threads.
class FileRecorder {
 public:
  void write(Bytes bytes);
  void begin_index();
  void end_index();
  void begin_tensor(std::string name, std::string_view dtype, Span<const uint64_t> sizes,
                    bool plain = true);
  void tensor_bytes(Bytes bytes);
  void end_tensor();
  // A digest that was made elsewhere (tensors hashed in parallel) with TensorHasher.
  void add_tensor(std::string name, const Digest& digest);
  // Fails when a tensor came twice, or tensors without an index. The recorder is then empty.
  Result<RecordedFile> finish();

 private:
  Hasher file_;
  uint64_t bytes_ = 0;
  std::optional<Hasher> index_;
  std::optional<TensorHasher> tensor_;
  bool tensor_is_plain_ = true, has_index_ = false;
  std::string tensor_name_, twice_;
  TensorDigests tensors_;
};

class StatementBuilder {
 public:
  // `model_name` is the base name of the model's folder or file.
  explicit StatementBuilder(std::string model_name) {
    statement_.model_name = std::move(model_name);
  }

  Result<void> add_file(std::string_view path, RecordedFile file);
  Result<void> ignore_path(std::string_view path);
  void set_allow_symlinks(bool allow) { statement_.serialization.allow_symlinks = allow; }
  // Fails when no file was added.
  Result<Statement> finish();

 private:
  Statement statement_;
};

}  // namespace sconce::signing
