#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>

namespace sconce {
namespace {

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

}  // namespace

Error OutputFile::problem(const char* what) const {
  return error(Code::io, "{}: {}: {}", path_, what, strerror(errno));
}

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile file;
  file.path_ = path;
  std::string folder = folder_of(path), name = path.substr(folder.size());
  if (name.empty()) return error(Code::invalid_argument, "\"{}\" names no file", path);
  struct stat info;
  bool there = lstat(path.c_str(), &info) == 0 && !S_ISLNK(info.st_mode);
  if (there && !S_ISREG(info.st_mode))
    return error(Code::invalid_argument, "{}: is there and is not a regular file", path);
  static std::atomic<uint32_t> count = 0;
  do {  // a name that a killed process of the same number left behind is passed over
    // Names have at most 255 bytes; a part of the name is enough to tell whose file it is.
    file.temporary_ =
        fmt::format("{}.{}.{}-{}.partial", folder, name.substr(0, 200), getpid(), count++);
    file.descriptor_ = open(file.temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (file.descriptor_ < 0 && errno == EEXIST);
  if (file.descriptor_ < 0) {
    file.temporary_.clear();
    return file.problem("cannot be made");
  }
  if (there && fchmod(file.descriptor_, info.st_mode & 0777) != 0) return file.problem("chmod");
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept { *this = std::move(other); }

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  std::swap(reserved_, other.reserved_);
  return *this;
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

Result<void> OutputFile::reserve(uint64_t bytes) {
#ifdef __linux__
  if (bytes > uint64_t(INT64_MAX)) return error(Code::too_large, "{}: {} bytes", path_, bytes);
  if (bytes > 0 && fallocate(descriptor_, 0, 0, off_t(bytes)) != 0) {
    if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)
      return error(Code::io, "{}: no room for {} bytes: {}", path_, bytes, strerror(errno));
    return {};
  }
  reserved_ = bytes;
#else
  (void)bytes;
#endif
  return {};
}

Result<void> OutputFile::write(Bytes bytes) {
  uint64_t at = size_;
  TRY_VOID(write_at(at, bytes));
  size_ = std::max(size_, at + bytes.size());
  return {};
}

Result<void> OutputFile::write_at(uint64_t offset, Bytes bytes) {
  // In pieces: the page cache takes memory in blocks as large as a write, and large blocks are
  // those that a machine may have to fetch (compaction; a virtual machine's host). Measured in
  // docs/performance_tensors.md.
  constexpr size_t kPiece = 64 << 10;
  while (!bytes.empty()) {
    size_t piece = std::min<size_t>(bytes.size(), kPiece - offset % kPiece);
    ssize_t written = pwrite(descriptor_, bytes.data(), piece, off_t(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return problem("write");
    bytes = bytes.subspan(size_t(written));
    offset += uint64_t(written);
  }
  return {};
}

Result<void> OutputFile::read_at(uint64_t offset, Span<uint8_t> out) const {
  while (!out.empty()) {
    ssize_t got = pread(descriptor_, out.data(), out.size(), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return problem("read");
    if (got == 0)
      return error(Code::io, "{}: ends at byte {}, {} more were written", path_, offset,
                   out.size());
    out = out.subspan(size_t(got));
    offset += uint64_t(got);
  }
  return {};
}

Result<void> OutputFile::copy_from(int descriptor, uint64_t offset, uint64_t bytes) {
#ifdef __linux__
  while (bytes > 0) {
    off_t from = off_t(offset), to = off_t(size_);
    ssize_t copied = copy_file_range(descriptor, &from, descriptor_, &to,
                                     size_t(std::min<uint64_t>(bytes, 1u << 30)), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) break;  // this pair of file systems cannot: read and write
    if (copied == 0) return error(Code::io, "{}: the file copied from ends too early", path_);
    offset += uint64_t(copied);
    size_ += uint64_t(copied);
    bytes -= uint64_t(copied);
  }
#endif
  if (bytes == 0) return {};
  constexpr size_t kChunk = 1 << 20;
  auto chunk = std::make_unique<uint8_t[]>(kChunk);
  while (bytes > 0) {
    ssize_t got =
        pread(descriptor, chunk.get(), size_t(std::min<uint64_t>(bytes, kChunk)), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return problem("read of the file copied from");
    if (got == 0) return error(Code::io, "{}: the file copied from ends too early", path_);
    TRY_VOID(write({chunk.get(), size_t(got)}));
    offset += uint64_t(got);
    bytes -= uint64_t(got);
  }
  return {};
}

Result<void> OutputFile::commit(bool durable) {
  if (reserved_ > size_ && ftruncate(descriptor_, off_t(size_)) != 0) return problem("truncate");
  if (durable && fsync(descriptor_) != 0) return problem("fsync");
  int descriptor = std::exchange(descriptor_, -1);
  if (close(descriptor) != 0) return problem("close");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return problem("rename");
  temporary_.clear();
  if (durable) {
    std::string folder = folder_of(path_);
    int handle = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return problem("open of its folder");
    int failed = fsync(handle);
    close(handle);
    // Some file systems have no fsync for folders; the name is then as durable as it gets.
    if (failed != 0 && errno != EINVAL) return problem("fsync of its folder");
  }
  return {};
}

}  // namespace sconce
