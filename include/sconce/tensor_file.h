// TensorFile: tensors of a .safetensors file, or of a set of them in shards, checked before use.
//
//   Result<TensorFile> file = TensorFile::open("model.safetensors");
//   if (!file.ok()) return complain(file.error().text);
//   for (const TensorRecord& tensor : file->tensors()) print(tensor.name, tensor.shape);
//   Bytes weights = file->bytes(*file->find("lm_head.weight"));     // in the mapped file
//
//   TensorWriter writes files of any size (formats/safetensors/writer.h), and write_shards() sets.
//   Packed, sealed and signed files: sconce/tensor_container.h.
//
// Trust. open() reads headers only, and all of them: afterwards every record lies inside its file,
// no two overlap and no byte is left over. Opening runs nothing and believes nothing. The format
// has no checksums: bytes that were damaged in place are still bytes. Ownership. A TensorFile owns
// its mappings; records, names, shapes and bytes() are views into it, valid while it lives (moving
// it keeps them). LoadedTensors owns its memory and needs no file. Threads. Const functions of one
// object may be called from several threads at once. Errors. Result<T> with a code (base/status.h)
// and one sentence that begins with the path. Files must not be cut short by others while they are
// mapped: reading such bytes ends the process. Where that can happen (network file systems) use
// load(), which reads and reports.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/safetensors/header.h"
#include "formats/safetensors/slice.h"
#include "formats/safetensors/writer.h"

namespace sconce {

// A tensor of an opened file.
struct TensorRecord {
  std::string_view name;  // UTF-8
  ElementType type = ElementType::f32;
  Span<const uint64_t> shape;
  uint64_t bytes = 0;
  uint32_t shard = 0;   // place in TensorFile::shards()
  uint64_t offset = 0;  // of its data, from the start of the shard's file
};

// A file of a set; a plain file is a set of one.
struct TensorShard {
  std::string path;
  Header header;
};

struct OpenOptions {
  // For sets, `reference` also lets pass what other readers do not look at: a wrong total_size and
  // tensors that the index does not name. They are told by warnings().
  AcceptMode accept = AcceptMode::standard;
};

enum class LoadMethod : uint8_t {
  automatic,  // read on network and user-space file systems, map elsewhere
  map,        // pages come from the file when touched, and are shared between processes
  read,       // the whole data is copied, by several threads, into memory in huge pages
};

struct LoadOptions {
  LoadMethod method = LoadMethod::automatic;
  bool owned =
      false;  // memory that can be written, independent of the file; `automatic` then reads
  uint32_t threads = 0;  // 0: as many as help
  // Called from the calling thread with bytes done and bytes in all; false stops with an error.
  std::function<bool(uint64_t done, uint64_t total)> progress;
};

// What load() gives: the bytes of every tensor of a set.
class LoadedTensors {
 public:
  LoadedTensors(LoadedTensors&&) noexcept;
  LoadedTensors& operator=(LoadedTensors&&) noexcept;
  ~LoadedTensors();

  // `tensor` is a record of the file that was loaded. The memory can be written; that changes no
  // file. Read data starts at a multiple of 2 MiB; a tensor inside is as aligned as in its file.
  Bytes bytes(const TensorRecord& tensor) const { return {data(tensor), tensor.bytes}; }
  uint8_t* data(const TensorRecord& tensor) const;
  // What `automatic` came to: map or read.
  LoadMethod method() const;

 private:
  friend class TensorFile;
  struct State;
  explicit LoadedTensors(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class TensorFile {
 public:
  // `path`: a .safetensors; a *.safetensors.index.json, whose shards lie beside it; or a folder
  // that holds one of the two. Of sets it is checked that: shards are named by plain file names and
  // are files of the folder itself (links may lead to where the index really is, as in a download
  // cache); every tensor is in the shard that the index names and in no other; total_size is right.
  static Result<TensorFile> open(const std::string& path, const OpenOptions& options = {});
  TensorFile(TensorFile&&) noexcept;
  TensorFile& operator=(TensorFile&&) noexcept;
  ~TensorFile();

  Span<const TensorRecord> tensors() const;  // sorted by name
  // Quick also where there are very many: makes no table of all, as tensors() does at its first
  // call.
  std::optional<TensorRecord> find(std::string_view name) const;
  Span<const TensorShard> shards() const;
  bool has_index() const;
  uint64_t data_bytes() const;  // of all tensors
  // Of the file, or of its first shard.
  const Metadata& metadata() const;
  Span<const std::string> warnings() const;

  // In the mapped file. May be unaligned in files of old writers.
  Bytes bytes(const TensorRecord& tensor) const;
  // A part, copied; `ranges` stand for the leading dimensions (formats/safetensors/slice.h).
  Result<std::vector<uint8_t>> read_slice(const TensorRecord& tensor,
                                          Span<const SliceRange> ranges) const;
  // All bytes of a tensor, with plain reads: fails where touching a mapping would end the process.
  Result<void> read(const TensorRecord& tensor, uint8_t* out) const;
  Result<LoadedTensors> load(const LoadOptions& options = {}) const;

  struct State;

 private:
  explicit TensorFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct ShardOptions {
  uint64_t shard_bytes_max = 5'000'000'000;  // of data; a larger tensor gets a shard for itself
  WriteOptions write;
};

// Gives the bytes of specs[spec] to `append`, in one or more pieces.
using TensorSource =
    std::function<Result<void>(size_t spec, const std::function<Result<void>(Bytes)>& append)>;

// Writes STEM-00001-of-0000N.safetensors... and STEM.safetensors.index.json into `folder`, or only
// STEM.safetensors when one shard is enough. Tensors fill the shards in the order of `specs`. Files
// take their places when all are written, the index last; only a kill between those renames can
// leave a mixture, which open() then refuses. Gives the path to open: the index, or the file.
Result<std::string> write_shards(const std::string& folder, const std::string& stem,
                                 Span<const TensorSpec> specs, const TensorSource& source,
                                 Span<const std::pair<std::string, std::string>> metadata = {},
                                 const ShardOptions& options = {});

// What edit_metadata() did: changed the header where it stands, or wrote the file anew beside it.
enum class EditMethod : uint8_t { unchanged, in_place, rewritten };

// Replaces the metadata of a file; tensors stay byte for byte, unknown fields of the header go. In
// place when the new text fits into the header's padding and only one page of the file changes, so
// that no reader and no crash sees a half; else a new file takes the place of the old at once, its
// data shared with it where the file system can. A file written with LayoutOptions::metadata_room
// stays editable in place.
Result<EditMethod> edit_metadata(const std::string& path,
                                 Span<const std::pair<std::string, std::string>> metadata,
                                 const WriteOptions& options = {});

}  // namespace sconce
