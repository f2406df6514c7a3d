// Loading: mapped pages, or a copy in huge pages read by several threads.
//
// In a process that has just started most of the time of a copy goes into first touching its
// memory: one page fault for every 4 KiB. Huge pages make that one for every 2 MiB; and each thread
// faults in what it is about to read, so that faulting and reading run on all cores.
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
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

// Memory from the system, at a multiple of 2 MiB, in huge pages where there are some. Zero when
// new.
class Arena {
 public:
  static Result<Arena> make(uint64_t bytes) {
    Arena arena;
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
  Arena() = default;
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Arena() {
    if (data_) munmap(data_, size_);
  }
  uint8_t* data() const { return data_; }
  // Gives [offset, offset + bytes) its pages now; what does not work then works when touched.
  void populate(uint64_t offset, uint64_t bytes) const {
    uint64_t end = std::min(align_up(offset + bytes, kHugePage), size_);
    (void)madvise(data_ + offset, end - offset, MADV_POPULATE_WRITE);
  }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
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
  std::vector<Arena> arenas;         // one a shard
  std::vector<MappedFile> mappings;  // method map: the same
  std::vector<uint64_t> data_offsets;
};

LoadedTensors::LoadedTensors(std::unique_ptr<State> state) : state_(std::move(state)) {}
LoadedTensors::LoadedTensors(LoadedTensors&&) noexcept = default;
LoadedTensors& LoadedTensors::operator=(LoadedTensors&&) noexcept = default;
LoadedTensors::~LoadedTensors() = default;

LoadMethod LoadedTensors::method() const { return state_->method; }

Bytes LoadedTensors::bytes(const TensorRecord& tensor) const {
  if (state_->method == LoadMethod::map)
    return state_->mappings[tensor.shard].bytes().subspan(tensor.offset, tensor.bytes);
  return {
      state_->arenas[tensor.shard].data() + (tensor.offset - state_->data_offsets[tensor.shard]),
      tensor.bytes};
}

uint8_t* LoadedTensors::owned_data(const TensorRecord& tensor) {
  if (state_->method == LoadMethod::map) return nullptr;
  return state_->arenas[tensor.shard].data() + (tensor.offset - state_->data_offsets[tensor.shard]);
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
    loaded->data_offsets.push_back(source.header.data_offset());
    if (method == LoadMethod::map) {
      TRY(MappedFile mapping, state_->files[shard].map(source.path));
      if (mapping.bytes().size() < source.header.file_bytes())
        return error(Code::invalid_file, "{}: became shorter since it was opened", source.path);
      loaded->mappings.push_back(std::move(mapping));
      continue;
    }
    uint64_t bytes = source.header.data_bytes();
    TRY(Arena arena, Arena::make(bytes).with_context(source.path));
    loaded->arenas.push_back(std::move(arena));
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
      const Arena& arena = loaded->arenas[chunk.shard];
      arena.populate(chunk.offset, chunk.bytes);
      auto read =
          read_exactly(state_->files[chunk.shard].descriptor(), state_->shards[chunk.shard].path,
                       loaded->data_offsets[chunk.shard] + chunk.offset,
                       arena.data() + chunk.offset, chunk.bytes);
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
