#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

#include "base/output_file.h"

namespace sconce {

// What is mapped now. Only there may pages be dropped: elsewhere that would lose their contents.
static std::map<const uint8_t*, size_t>& mappings() {
  static auto* all = new std::map<const uint8_t*, size_t>();
  return *all;
}
static std::mutex& mappings_mutex() {
  static auto* mutex = new std::mutex();
  return *mutex;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!data_) return;
  {
    std::lock_guard<std::mutex> lock(mappings_mutex());
    mappings().erase(data_);
  }
  munmap(const_cast<uint8_t*>(data_), size_);
}

Result<MappedFile> map_file(const std::string& path) {
  // O_NONBLOCK: a named pipe is refused below instead of waited for.
  int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return error(errno == ENOENT ? Code::not_found : Code::io, "{}: {}", path, strerror(errno));
  auto file = map_file(descriptor, path);
  close(descriptor);
  return file;
}

Result<MappedFile> map_file(int descriptor, const std::string& path) {
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode))
    return error(Code::io, "{}: not a regular file", path);
  MappedFile file;
  if (info.st_size == 0) return file;
  void* data = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (data == MAP_FAILED) return error(Code::io, "{}: mmap: {}", path, strerror(errno));
  file.data_ = static_cast<const uint8_t*>(data);
  file.size_ = size_t(info.st_size);
  std::lock_guard<std::mutex> lock(mappings_mutex());
  mappings()[file.data_] = file.size_;
  return file;
}

void release_pages(Bytes bytes) {
  std::lock_guard<std::mutex> lock(mappings_mutex());
  auto after = mappings().upper_bound(bytes.data());
  if (after == mappings().begin()) return;
  auto [data, size] = *std::prev(after);
  if (size_t(bytes.data() - data) + bytes.size() > size) return;
  uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
  uintptr_t first = (uintptr_t(bytes.data()) + page - 1) / page * page;
  uintptr_t end = (uintptr_t(bytes.data()) + bytes.size()) / page * page;
  if (first < end) (void)madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

Result<void> save_file(const std::string& path, Span<const Bytes> pieces) {
  TRY(OutputFile file, OutputFile::create(path));
  for (Bytes piece : pieces) TRY_VOID(file.write(piece));
  return file.commit();
}

}  // namespace sconce
