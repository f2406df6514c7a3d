// OutputFile: a file of the host written beside its place and renamed into it, so that readers, and
// whoever comes after a crash, see the old file or the new one, never a part.
#pragma once

#include <string>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

// Movable. One thread at a time. Until commit() the bytes stand in a temporary file of the same
// folder (".NAME.PID-N.partial"), which the destructor removes; a killed process leaves it behind.
class OutputFile {
 public:
  // Fails when `path` is there but is not a regular file. A symbolic link at `path` is replaced,
  // not followed. The new file has the permissions of the old one, or those of the umask.
  static Result<OutputFile> create(const std::string& path);

  OutputFile() = default;
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  // Asks the file system for room now, so that a full disk is known before hours of writing. A file
  // system that cannot is no error. The bytes count as written only when they are.
  Result<void> reserve(uint64_t bytes);
  // At the end of what was written.
  Result<void> write(Bytes bytes);
  // Over bytes that were written before.
  Result<void> write_at(uint64_t offset, Bytes bytes);
  // What was written, from the page cache most often.
  Result<void> read_at(uint64_t offset, Span<uint8_t> out) const;
  // Appends `bytes` bytes of an open file from `offset`, shared with it where the file system can
  // (reflink); `descriptor` is only read, its position stays.
  Result<void> copy_from(int descriptor, uint64_t offset, uint64_t bytes);

  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // Puts the file in its place; afterwards only the destructor may be called. `durable`: contents
  // and name are on the disk when it returns (fsync of file and folder).
  Result<void> commit(bool durable = false);

 private:
  Error problem(const char* what) const;
  std::string path_, temporary_;
  int descriptor_ = -1;
  uint64_t size_ = 0, reserved_ = 0;
};

}  // namespace sconce
