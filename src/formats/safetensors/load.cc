// Loading: mapped pages, or a copy in huge pages read by several threads.
//
// In a process that has just started most of the time of a copy goes into first touching its
// memory: one page fault for every 4 KiB. Huge pages make that one for every 2 MiB; and each thread
// faults in what it is about to read, so that faulting and reading run on all cores.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/checked.h"
#include "formats/safetensors/tensor_file_state.h"

namespace sconce {
namespace {

constexpr uint64_t kHugePage = 2 << 20;
constexpr uint64_t kChunk = 8 << 20;

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

// Time that this thread has run.
double thread_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

// Memory from the system, at a multiple of 2 MiB, in huge pages where there are some. Zero when
// new.
class Memory {
 public:
  static Result<Memory> make(uint64_t bytes) {
    Memory arena;
    if (bytes == 0) return arena;
    uint64_t room;
    if (!checked_add(bytes, kHugePage, &room) || room > uint64_t(INT64_MAX))
      return error(Code::too_large, "{} bytes of memory", bytes);
    void* base = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
      return error(Code::too_large, "{} bytes of memory: {}", bytes, strerror(errno));
    uintptr_t start = uintptr_t(base), aligned = align_up(start, kHugePage);
    uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
    uint64_t kept = align_up(bytes, page);
    if (aligned > start) munmap(base, aligned - start);
    if (aligned + kept < start + room)
      munmap(reinterpret_cast<void*>(aligned + kept), start + room - aligned - kept);
    arena.data_ = reinterpret_cast<uint8_t*>(aligned);
    arena.size_ = kept;
    (void)madvise(arena.data_, kept, MADV_HUGEPAGE);  // only a hint: without, pages are small
    return arena;
  }
  // The pages of a file, which become private copies when they are written.
  static Result<Memory> map(int descriptor, const std::string& path, uint64_t bytes) {
    struct stat info;
    if (fstat(descriptor, &info) != 0 || uint64_t(info.st_size) < bytes)
      return error(Code::invalid_file, "{}: became shorter since it was opened", path);
    void* base =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (base == MAP_FAILED) return error(Code::io, "{}: mmap: {}", path, strerror(errno));
    Memory memory;
    memory.data_ = static_cast<uint8_t*>(base);
    memory.size_ = bytes;
    return memory;
  }
  Memory() = default;
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    small_ = other.small_.exchange(small_);
    return *this;
  }
  ~Memory() {
    if (data_) munmap(data_, size_);
  }
  uint8_t* data() const { return data_; }
  // Gives [offset, offset + bytes) its pages now; what does not work then works when touched.
  //
  // Huge pages are the quickest where the system has them at hand. Memory that a virtual machine
  // has not used before comes from its host first: a huge page then takes five to twenty
  // milliseconds, longer than its 512 small ones, which are taken from what others have used. The
  // first page that is that slow makes all that follow small. By the thread's own time: waiting for
  // a busy processor says nothing about memory.
  void populate(uint64_t offset, uint64_t bytes) const {
    constexpr double kSlowSeconds = 2e-3;
    uint64_t end = std::min(align_up(offset + bytes, kHugePage), size_);
    for (uint64_t next; offset < end; offset = next) {
      next = std::min(align_up(offset + 1, kHugePage), end);
      double start = thread_seconds();
      (void)madvise(data_ + offset, next - offset, MADV_POPULATE_WRITE);
      if (thread_seconds() - start < kSlowSeconds || small_.exchange(true)) continue;
      if (next < size_) (void)madvise(data_ + next, size_ - next, MADV_NOHUGEPAGE);
    }
  }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
  mutable std::atomic<bool> small_ = false;  // no huge pages any more
};

// File systems on which a page fault is a message to somewhere else, or whose files others cut
// short while they are mapped. From linux/magic.h and the file systems' own headers.
bool is_far(int descriptor) {
  struct statfs info;
  if (fstatfs(descriptor, &info) != 0) return false;
  switch (uint32_t(info.f_type)) {
    case 0x00006969:  // NFS
    case 0x0000517b:  // SMB
    case 0xff534d42:  // CIFS
    case 0xfe534d42:  // SMB2
    case 0x65735546:  // FUSE
    case 0x0bd00bd0:  // Lustre
    case 0x01021997:  // 9P
    case 0x00c36400:  // Ceph
    case 0x5346414f:  // AFS
    case 0x47504653:  // GPFS
    case 0x19830326:  // BeeGFS
      return true;
    default: return false;
  }
}

// Pieces of all shards, in the order of the files.
struct Chunk {
  uint32_t shard;
  uint64_t offset, bytes;  // of the shard's data
};

}  // namespace

struct LoadedTensors::State {
  LoadMethod method = LoadMethod::read;
  std::vector<Memory> memories;   // one a shard
  std::vector<uint64_t> offsets;  // of what they hold, from the start of the shard's file
};

LoadedTensors::LoadedTensors(std::unique_ptr<State> state) : state_(std::move(state)) {}
LoadedTensors::LoadedTensors(LoadedTensors&&) noexcept = default;
LoadedTensors& LoadedTensors::operator=(LoadedTensors&&) noexcept = default;
LoadedTensors::~LoadedTensors() = default;

LoadMethod LoadedTensors::method() const { return state_->method; }

uint8_t* LoadedTensors::data(const TensorRecord& tensor) const {
  return state_->memories[tensor.shard].data() + (tensor.offset - state_->offsets[tensor.shard]);
}

Result<void> TensorFile::read(const TensorRecord& tensor, uint8_t* out) const {
  return read_exactly(state_->files[tensor.shard].descriptor(), tensor.offset, out, tensor.bytes)
      .with_context(state_->shards[tensor.shard].path);
}

Result<LoadedTensors> TensorFile::load(const LoadOptions& options) const {
  auto loaded = std::make_unique<LoadedTensors::State>();
  LoadMethod method = options.method;
  if (method == LoadMethod::automatic) {
    bool far = options.owned;
    for (const OpenedFile& file : state_->files) far = far || is_far(file.descriptor());
    method = far ? LoadMethod::read : LoadMethod::map;
  }
  if (method == LoadMethod::map && options.owned)
    return error(Code::invalid_argument, "mapped memory cannot be owned: ask for read");
  loaded->method = method;
  std::vector<Chunk> chunks;
  uint64_t total = 0;
  for (uint32_t shard = 0; shard < state_->shards.size(); shard++) {
    const TensorShard& source = state_->shards[shard];
    if (method == LoadMethod::map) {
      TRY(Memory memory,
          Memory::map(state_->files[shard].descriptor(), source.path, source.header.file_bytes()));
      loaded->memories.push_back(std::move(memory));
      loaded->offsets.push_back(0);
      continue;
    }
    uint64_t bytes = source.header.data_bytes();
    TRY(Memory memory, Memory::make(bytes).with_context(source.path));
    loaded->memories.push_back(std::move(memory));
    loaded->offsets.push_back(source.header.data_offset());
    for (uint64_t at = 0; at < bytes; at += kChunk)
      chunks.push_back({shard, at, std::min(kChunk, bytes - at)});
    total += bytes;
  }
  if (method == LoadMethod::map) {
    if (options.progress && !options.progress(state_->data_bytes, state_->data_bytes))
      return error(Code::invalid_argument, "stopped by the caller");
    return LoadedTensors(std::move(loaded));
  }

  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;
  Result<void> outcome;
  auto work = [&](bool reports) {
    for (size_t i; !stop && (i = next++) < chunks.size();) {
      const Chunk& chunk = chunks[i];
      const Memory& memory = loaded->memories[chunk.shard];
      memory.populate(chunk.offset, chunk.bytes);
      auto read = read_exactly(state_->files[chunk.shard].descriptor(),
                               loaded->offsets[chunk.shard] + chunk.offset,
                               memory.data() + chunk.offset, chunk.bytes)
                      .with_context(state_->shards[chunk.shard].path);
      if (!read.ok()) {
        std::lock_guard<std::mutex> lock(mutex);
        if (outcome.ok()) outcome = std::move(read);
        stop = true;
        return;
      }
      done += chunk.bytes;
      if (reports && options.progress && !options.progress(done, total)) {
        std::lock_guard<std::mutex> lock(mutex);
        if (outcome.ok()) outcome = error(Code::invalid_argument, "stopped by the caller");
        stop = true;
      }
    }
  };
  size_t threads = options.threads ? options.threads
                                   : std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 8);
  threads = std::min(threads, chunks.size());
  std::vector<std::thread> others;
  for (size_t i = 1; i < threads; i++) {
    try {
      others.emplace_back(work, false);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those that run do it all
    }
  }
  work(true);
  for (std::thread& thread : others) thread.join();
  if (!outcome.ok()) return std::move(outcome.error());
  if (options.progress) (void)options.progress(total, total);
  return LoadedTensors(std::move(loaded));
}

}  // namespace sconce
