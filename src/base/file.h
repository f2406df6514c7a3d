// Files of the host: mapped for reading, replaced atomically for writing.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

// A read-only mapping of a whole file. Movable; the bytes live as long as the object. An empty file
// maps to an empty span. The file must not be truncated by others while it is mapped.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  Bytes bytes() const { return {data_, size_}; }

 private:
  friend Result<MappedFile> map_file(int descriptor, const std::string& path);
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

Result<MappedFile> map_file(const std::string& path);
// The same of an open file, which may be closed afterwards; `path` is for messages.
Result<MappedFile> map_file(int descriptor, const std::string& path);

// Tells the system that these bytes of a mapped file are not needed soon, so that they do not count
// as memory in use. They stay readable; bytes that are in no MappedFile are left alone.
void release_pages(Bytes bytes);

// Writes beside `path` under a temporary name and renames: readers see the old file or the new one.
Result<void> save_file(const std::string& path, Span<const Bytes> pieces);
inline Result<void> save_file(const std::string& path, Bytes bytes) {
  return save_file(path, Span<const Bytes>(&bytes, 1));
}

}  // namespace sconce
