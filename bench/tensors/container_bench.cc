// Times packing, unpacking, sealing and opening of tensor files, on command: container.py asks for
// one run at a time, so that it can put the peers' runs between them.
//
// Usage: sconce_container_bench FILE SCRATCH_FOLDER. Reads commands from standard input, a word and
// a number of threads each, and answers each with a line: seconds of processor time and a figure of
// its own.
//   pack N     FILE to a packed container; answers its bytes
//   seal N     FILE to a sealed container
//   both N     FILE to a packed and sealed container
//   unpack N   all tensors of the packed container to new memory, in pages of the usual size
//   huge N     the same to new memory in huge pages, as a loader takes them
//   refill N   the same to memory that has been touched before
//   open N     as refill, from the sealed container
//   openboth N as refill, from the packed and sealed container
//   sealmem N  every chunk of FILE sealed to memory in use, as seal does before it writes; one
//   thread write N    as many bytes as FILE has, from memory in use to a new file as seal writes
//   them: what
//              is left of seal when sealing costs nothing
//   cipher N   one AEAD over as many bytes as FILE has, 256 KiB at a time, in memory, N ignored
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <map>
#include <string>

#include "base/file.h"
#include "base/output_file.h"
#include "formats/container/container.h"
#include "formats/container/seal_chunks.h"

namespace {

using namespace sconce;

// Processor time of all threads: what others do on the machine counts little.
double now() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

template <class T>
T value(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "sconce_container_bench: {}\n", result.error().text);
    exit(int(result.error().code));
  }
  return std::move(*result);
}

void read_tensors(const Container& container, Span<uint8_t> memory, int threads) {
  Span<const TensorInfo> tensors = container.header().tensors();
  for (size_t t = 0; t < tensors.size(); ++t) {
    auto done = container.read(t, 0, memory.subspan(tensors[t].begin, tensors[t].bytes()), threads);
    if (!done.ok()) {
      fmt::print(stderr, "sconce_container_bench: {}\n", done.error().text);
      exit(1);
    }
  }
}

Result<bool> seal_to_memory(const Header& header, Bytes data, const SecretKey& key) {
  ChunkSealer sealer(key, FileId{}, fastest_cipher());
  std::vector<uint8_t> out(kChunkBytes + kTagBytes);
  for (size_t t = 0; t < header.tensors().size(); ++t) {
    const TensorInfo& info = header.tensors()[t];
    TRY_VOID(sealer.select(t, info));
    for (uint64_t i = 0, chunks = chunk_count(info.bytes()); i < chunks; ++i) {
      uint64_t bytes = std::min<uint64_t>(kChunkBytes, info.bytes() - i * kChunkBytes);
      TRY_VOID(sealer.seal({i, chunks, uint32_t(bytes)},
                           data.subspan(info.begin + i * kChunkBytes, bytes),
                           Span<uint8_t>(out).first(bytes + kTagBytes)));
    }
  }
  return true;
}

Result<bool> write_only(const std::string& path, uint64_t bytes, Bytes from) {
  TRY(OutputFile file, OutputFile::create(path));
  TRY_VOID(file.reserve(bytes));
  constexpr size_t kPiece = kChunkBytes + kTagBytes;
  for (uint64_t at = 0; at < bytes; at += kPiece)
    TRY_VOID(file.write(from.subspan(at % kPiece, std::min<uint64_t>(kPiece, bytes - at))));
  TRY_VOID(file.commit());
  return true;
}

// Pages that nobody has touched, as malloc gives them for large blocks.
struct NewMemory {
  size_t size;
  void* data;
  NewMemory(size_t bytes, bool huge)
      : size(bytes),
        data(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (huge) (void)madvise(data, bytes, MADV_HUGEPAGE);
  }
  ~NewMemory() { munmap(data, size); }
  Span<uint8_t> bytes() { return {static_cast<uint8_t*>(data), size}; }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  MappedFile source = value(map_file(argv[1]));
  std::string folder = argv[2];
  Header header = value(parse_header(source.bytes(), source.bytes().size()));
  std::vector<uint8_t> memory(header.data_bytes(), 1);
  SecretKey secret = value(random_key());
  Identities identity{{secret}, {}};

  std::map<std::string, MappedFile> files;  // mapped once: the peer has its input in memory too
  std::string word;
  int threads;
  while (std::cin >> word >> threads) {
    uint64_t figure = 0;
    double seconds = 0;
    double start = now();
    if (word == "pack" || word == "seal" || word == "both") {
      WriteContainerOptions options;
      options.pack = word != "seal";
      if (word != "pack") options.recipients.keys = {value(x25519_public_key(secret))};
      options.threads = threads;
      files.erase("/" + word);
      figure = value(write_container(source.bytes(), folder + "/" + word, options)).file_bytes;
    } else if (word == "unpack" || word == "huge" || word == "refill" || word == "open" ||
               word == "openboth") {
      bool sealed = word == "open" || word == "openboth";
      const char* name = word == "open" ? "/seal" : word == "openboth" ? "/both" : "/pack";
      if (!files.count(name)) files.emplace(name, value(map_file(folder + name)));
      const MappedFile& file = files[name];
      start = now();
      Container container = value(Container::open(file.bytes(), sealed ? &identity : nullptr));
      if (word == "unpack" || word == "huge") {
        NewMemory fresh(memory.size(), word == "huge");
        read_tensors(container, fresh.bytes(), threads);
        seconds = now() - start;  // giving memory back is nobody's figure
      } else {
        read_tensors(container, memory, threads);
      }
    } else if (word == "sealmem") {
      value(seal_to_memory(header, source.bytes().subspan(header.data_offset()), secret));
    } else if (word == "write") {
      value(write_only(folder + "/write", source.bytes().size(), memory));
    } else if (word == "cipher") {
      Aead aead = value(Aead::make(fastest_cipher(), secret));
      std::vector<uint8_t> out(kChunkBytes + kTagBytes);
      Bytes data = source.bytes().subspan(header.data_offset());
      for (uint64_t at = 0; at + kChunkBytes <= data.size(); at += kChunkBytes) {
        Nonce nonce{uint8_t(at >> 18), uint8_t(at >> 26), uint8_t(at >> 34)};
        if (!aead.seal(nonce, {}, data.subspan(at, kChunkBytes), out).ok()) return 1;
      }
    } else {
      return 2;
    }
    fmt::print("{:.6f} {}\n", seconds > 0 ? seconds : now() - start, figure);
    fflush(stdout);
  }
  return 0;
}
