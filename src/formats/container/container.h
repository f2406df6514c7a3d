// Containers: tensor files whose data is packed (compressed without loss), sealed (encrypted and
// authenticated) or both, every part of every tensor readable by itself.
//
// A container is a valid safetensors file; what it holds is another safetensors file, which comes
// back byte for byte. Data passes once through a row of stages, chunk by chunk: packed, sealed,
// handed to whoever hashes the file, written; and back. Layouts: docs/packed.md, docs/sealed.md.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/container/index.h"
#include "formats/safetensors/header.h"
#include "formats/sealed/envelope.h"

namespace sconce {

// Called on the caller's thread with bytes done of all bytes.
using ProgressCallback = std::function<void(uint64_t done, uint64_t total)>;
// Takes the bytes of a file that is written, all of them, in their order: for instance a signer's
// FileRecorder, so that the file need not be read again.
using ByteSink = std::function<void(Bytes)>;

struct WriteContainerOptions {
  bool pack = true;
  // Sealed when there is a recipient.
  Recipients recipients;
  bool hide_names = false;  // sealed only: nobody else sees names, shapes and metadata
  Cipher cipher = fastest_cipher();
  int threads = 0;       // 0: one per processor
  bool durable = false;  // on the disk before the file takes its place
  ByteSink tee;
  // Takes the bytes of the original tensors on their way, one after the other: a part of the tensor
  // at that place in the header. Tensors without bytes do not come.
  std::function<void(size_t tensor, Bytes part)> source_tee;
  // Takes the part of the file that says what is where: [begin, begin + its size) of it.
  std::function<void(uint64_t begin, Bytes index)> index_tee;
  ProgressCallback progress;
};

struct ContainerSummary {
  uint64_t source_bytes = 0, file_bytes = 0;
  uint64_t tensors = 0, chunks = 0;
};

// Packs and seals `source`, a whole safetensors file, to `path`, which changes at once at the end.
// `source` is only read; pages of it that are mapped from a file are given back on the way.
Result<ContainerSummary> write_container(Bytes source, const std::string& path,
                                         const WriteContainerOptions& options);

// An open container. Movable. Const functions may be called from several threads at once.
class Container {
 public:
  // `file` must outlive the container. For sealed files `identities` must hold a key or passphrase
  // of a recipient; then head, envelope and index are known to be authentic and whole when this
  // returns. With `identities` given, a file that is not sealed is refused: an adversary must not
  // be able to pass off one for the other. Wrong key: Code::invalid_argument; changed file:
  // Code::invalid_file.
  static Result<Container> open(Bytes file, const Identities* identities = nullptr);

  Container(Container&&) noexcept;
  Container& operator=(Container&&) noexcept;
  ~Container();

  ContainerKind kind() const;
  Cipher cipher() const;  // of sealed files
  // The header of the original file: tensors, shapes, metadata.
  const Header& header() const;
  // Its bytes up to the data.
  Bytes source_head() const;
  // Bytes that a tensor takes in the container; `tensor` is a place in header().tensors().
  uint64_t stored_bytes(size_t tensor) const;

  // Fills `out` with the bytes of a tensor from `offset`. Only the chunks that hold them are read,
  // and each is authenticated (sealed) or checked (packed) before anything of it is given out. On
  // failure `out` is wiped.
  Result<void> read(size_t tensor, uint64_t offset, Span<uint8_t> out, int threads = 1) const;

  // Writes the original file, byte for byte; `path` changes at once at the end, and stays as it was
  // when anything is wrong anywhere in the container.
  struct RestoreOptions {
    int threads = 0;
    bool durable = false;
    ByteSink tee;  // gets the bytes of the original file
    ProgressCallback progress;
  };
  Result<ContainerSummary> restore(const std::string& path, const RestoreOptions& options) const;
  // Reads everything and keeps nothing: whether restore() would succeed.
  Result<ContainerSummary> check(const RestoreOptions& options) const;

 private:
  struct State;
  explicit Container(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct RotateOptions {
  Recipients add;
  std::vector<PublicKey> remove_keys;
  bool remove_passphrases = false;
  bool durable = false;
};

// Writes the sealed container `source_path` to `path` (which may be the same) with other
// recipients. The data is copied as it is, shared with the old file where the file system can.
struct RotateSummary {
  size_t keys = 0, passphrases = 0;  // recipients afterwards
};
Result<RotateSummary> rotate_container(const std::string& source_path, const std::string& path,
                                       const Identities& identities, const RotateOptions& options);

}  // namespace sconce
