#include "formats/container/container.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/file.h"
#include "base/little_endian.h"
#include "base/output_file.h"
#include "formats/container/in_order.h"
#include "formats/container/seal_chunks.h"

namespace sconce {

namespace {

constexpr size_t kSlotsPerThread = 4;
// Mapped pages are given back, and progress is told, whenever this much has passed.
constexpr uint64_t kStrideBytes = uint64_t(32) << 20;

// The chunks of all tensors in the order of the file, numbered through.
class ChunkMap {
 public:
  explicit ChunkMap(const Header& header) {
    first_.push_back(0);
    for (const TensorInfo& info : header.tensors())
      first_.push_back(first_.back() + chunk_count(info.bytes()));
  }
  uint64_t count() const { return first_.back(); }
  uint64_t first(size_t tensor) const { return first_[tensor]; }
  size_t tensor_of(uint64_t chunk) const {
    return size_t(std::upper_bound(first_.begin(), first_.end(), chunk) - first_.begin()) - 1;
  }
  // All of a chunk's place but its method.
  ChunkPlace place(const Header& header, size_t tensor, uint64_t chunk) const {
    uint64_t number = chunk - first_[tensor];
    uint64_t left = header.tensors()[tensor].bytes() - number * kChunkBytes;
    return {number, first_[tensor + 1] - first_[tensor],
            uint32_t(std::min<uint64_t>(left, kChunkBytes))};
  }

 private:
  std::vector<uint64_t> first_;
};

std::string chunk_text(const Header& header, size_t tensor, const ChunkPlace& place) {
  return fmt::format("tensor {}: chunk {} of {}", quoted_name(header.tensors()[tensor].name),
                     place.chunk, place.chunks);
}

// Tells how far the work is, now and then.
class Pace {
 public:
  Pace(const ProgressCallback& callback, uint64_t total) : callback_(callback), total_(total) {}
  // True when a stride has passed since it was true before.
  bool advance(uint64_t bytes) {
    done_ += bytes;
    if (done_ - told_ < kStrideBytes && done_ != total_) return false;
    told_ = done_;
    if (callback_) callback_(done_, total_);
    return true;
  }

 private:
  const ProgressCallback& callback_;
  uint64_t total_, done_ = 0, told_ = 0;
};

Result<void> check_index_size(uint64_t bytes) {
  if (bytes > kIndexBytesMax)
    return error(Code::too_large, "index of {} bytes, at most {} allowed", bytes, kIndexBytesMax);
  return {};
}

Result<Header> parse_source_head(Bytes head, uint64_t data_bytes) {
  uint64_t file_bytes;
  if (!checked_add<uint64_t>(head.size(), data_bytes, &file_bytes))
    return error(Code::invalid_file, "{} bytes of data are too many", data_bytes);
  TRY(Header header, parse_header(head, file_bytes));
  if (header.data_offset() != head.size())
    return error(Code::invalid_file, "{} bytes of head, {} wanted", head.size(),
                 header.data_offset());
  return header;
}

// Everything that one file takes to write, stage by stage.
class Writer {
 public:
  Writer(Bytes source, const WriteContainerOptions& options) : source_(source), options_(options) {}

  Result<ContainerSummary> write(const std::string& path) {
    if (!options_.pack && !is_sealed())
      return error(Code::invalid_argument, "nothing to do: neither pack nor seal");
    TRY(header_, parse_header(source_, source_.size()));
    map_ = std::make_unique<ChunkMap>(header_);
    kind_ = {options_.pack, is_sealed(), is_sealed() && options_.hide_names};
    index_.source_head.assign(source_.begin(), source_.begin() + ptrdiff_t(header_.data_offset()));
    index_.source_data_bytes = header_.data_bytes();
    index_.chunks.resize(map_->count());
    if (is_sealed()) {
      TRY(sealing_, make_envelope(options_.cipher, options_.recipients));
      TRY(envelope_bytes_, finish_envelope(&sealing_->envelope, sealing_->file_key));
    }
    TRY(file_, OutputFile::create(path));
    if (!kind_.packed) {  // all sizes are known, and so is the head
      for (uint64_t chunk = 0; chunk < map_->count(); ++chunk)
        index_.chunks[chunk].stored_bytes =
            map_->place(header_, map_->tensor_of(chunk), chunk).raw_bytes + kTagBytes;
      TRY_VOID(finish_index());
      TRY_VOID(file_.reserve(parts_.file_bytes()));
    }
    std::string head =
        kind_.packed ? std::string(kContainerHeadBytes, '\0') : container_head(kind_, parts_);
    TRY_VOID(write_bytes({reinterpret_cast<const uint8_t*>(head.data()), head.size()}));
    TRY_VOID(write_chunks());
    TRY_VOID(write_bytes(envelope_bytes_));
    if (kind_.packed) TRY_VOID(finish_index());
    TRY_VOID(write_bytes(index_bytes_));
    if (options_.index_tee) options_.index_tee(parts_.index_begin(), index_bytes_);
    CHECK(file_.size() == parts_.file_bytes());
    if (kind_.packed) {
      head = container_head(kind_, parts_);
      TRY_VOID(file_.write_at(0, {reinterpret_cast<const uint8_t*>(head.data()), head.size()}));
    }
    if (kind_.packed && options_.tee) TRY_VOID(tee_file());
    TRY_VOID(file_.commit(options_.durable));
    return ContainerSummary{source_.size(), parts_.file_bytes(), header_.tensors().size(),
                            map_->count()};
  }

 private:
  struct Worker {
    ChunkPacker packer;
    std::optional<ChunkSealer> sealer;
  };
  struct Slot {
    std::vector<uint8_t> bytes;
    Bytes stored;  // in `bytes`, or in the source
  };

  bool is_sealed() const {
    return !options_.recipients.keys.empty() || !options_.recipients.passphrases.empty();
  }

  // The head of a packed file is known last, but comes first: then the tee gets the file once it
  // is written, from the page cache, before it takes its place.
  Result<void> write_bytes(Bytes bytes) {
    if (options_.tee && !kind_.packed) options_.tee(bytes);
    return file_.write(bytes);
  }

  Result<void> tee_file() {
    std::vector<uint8_t> block(kChunkBytes);
    for (uint64_t at = 0; at < file_.size(); at += block.size()) {
      block.resize(size_t(std::min<uint64_t>(kChunkBytes, file_.size() - at)));
      TRY_VOID(file_.read_at(at, block));
      options_.tee(block);
    }
    return {};
  }

  Result<void> write_chunks() {
    int threads = int(std::min<uint64_t>(uint64_t(threads_wanted(options_.threads)),
                                         std::max<uint64_t>(1, map_->count())));
    std::vector<Worker> workers;
    workers.resize(size_t(threads));
    if (kind_.sealed)
      for (Worker& worker : workers)
        worker.sealer.emplace(sealing_->file_key, sealing_->envelope.file_id,
                              sealing_->envelope.cipher);
    std::vector<Slot> slots(size_t(threads) * kSlotsPerThread);
    Pace pace(options_.progress, header_.data_bytes());
    uint64_t released = header_.data_offset(), written = released;
    return run_in_order({map_->count(), threads, slots.size(),
                         [&](int worker, size_t chunk, size_t slot) {
                           return make_chunk(&workers[size_t(worker)], chunk, &slots[slot]);
                         },
                         [&](size_t chunk, size_t slot) -> Result<void> {
                           TRY_VOID(write_bytes(slots[slot].stored));
                           index_.chunks[chunk].stored_bytes = uint32_t(slots[slot].stored.size());
                           parts_.data_bytes += kind_.packed ? slots[slot].stored.size() : 0;
                           size_t tensor = map_->tensor_of(chunk);
                           ChunkPlace place = map_->place(header_, tensor, chunk);
                           uint64_t raw = place.raw_bytes;
                           if (options_.source_tee)
                             options_.source_tee(tensor, plain(tensor, place));
                           written += raw;
                           if (pace.advance(raw)) {
                             release_pages(source_.subspan(released, written - released));
                             released = written;
                           }
                           return {};
                         }});
  }

  // A chunk as it stands in the source.
  Bytes plain(size_t tensor, const ChunkPlace& place) const {
    return source_.subspan(
        header_.data_offset() + header_.tensors()[tensor].begin + place.chunk * kChunkBytes,
        place.raw_bytes);
  }

  Result<void> make_chunk(Worker* worker, uint64_t chunk, Slot* slot) {
    size_t tensor = map_->tensor_of(chunk);
    const TensorInfo& info = header_.tensors()[tensor];
    ChunkPlace place = map_->place(header_, tensor, chunk);
    Bytes plain = this->plain(tensor, place);
    if (kind_.packed) {
      place.method = worker->packer.pack(plain, element_layout(info.type), &slot->bytes);
      if (place.method != ChunkMethod::raw) plain = slot->bytes;
    }
    ChunkEntry& entry = index_.chunks[chunk];
    entry.method = place.method;
    if (!kind_.sealed) {
      slot->stored = plain;
      entry.checksum = checksum(plain);
      return {};
    }
    size_t size = plain.size();
    slot->bytes.resize(size + kTagBytes);
    if (place.method != ChunkMethod::raw) plain = Bytes(slot->bytes).first(size);
    TRY_VOID(worker->sealer->select(tensor, info));
    TRY_VOID(worker->sealer->seal(place, plain, slot->bytes));
    slot->stored = slot->bytes;
    return {};
  }

  // Encodes the index, whose chunks are known by now, and with it the sizes of all parts.
  Result<void> finish_index() {
    std::vector<uint8_t> body = encode_index_body(kind_, index_);
    index_bytes_ = encode_index_prefix({kind_, body.size()});
    if (kind_.sealed) {
      TRY(std::vector<uint8_t> sealed,
          seal_index(sealing_->file_key, sealing_->envelope.file_id, sealing_->envelope.cipher,
                     kind_.names_hidden, index_bytes_, body));
      index_bytes_.insert(index_bytes_.end(), sealed.begin(), sealed.end());
    } else {
      index_bytes_.insert(index_bytes_.end(), body.begin(), body.end());
      append_little(&index_bytes_, checksum(index_bytes_));
    }
    TRY_VOID(check_index_size(index_bytes_.size()));
    parts_ = {kContainerHeadBytes, 0, envelope_bytes_.size(), index_bytes_.size()};
    for (const ChunkEntry& chunk : index_.chunks) parts_.data_bytes += chunk.stored_bytes;
    return {};
  }

  Bytes source_;
  const WriteContainerOptions& options_;
  Header header_;
  std::unique_ptr<ChunkMap> map_;
  ContainerKind kind_;
  ContainerParts parts_;
  ContainerIndex index_;
  std::optional<NewEnvelope> sealing_;
  std::vector<uint8_t> envelope_bytes_, index_bytes_;
  OutputFile file_;
};

}  // namespace

Result<ContainerSummary> write_container(Bytes source, const std::string& path,
                                         const WriteContainerOptions& options) {
  return Writer(source, options).write(path);
}

struct Container::State {
  Bytes file;
  ContainerHead head;
  Envelope envelope;
  std::optional<SecretKey> file_key;
  ContainerIndex index;
  Header header;
  std::unique_ptr<ChunkMap> map;
  std::vector<uint64_t> chunk_offsets;  // in the file

  // Memory of one thread that reads.
  struct Worker {
    ChunkUnpacker unpacker;
    std::optional<ChunkSealer> sealer;
    std::vector<uint8_t> opened;  // a chunk after it was opened and before it is unpacked
    std::vector<uint8_t> part;    // a chunk of which only a part is wanted
    ~Worker() { wipe(opened), wipe(part); }
  };
  std::unique_ptr<Worker> make_worker() const {
    auto worker = std::make_unique<Worker>();
    if (file_key) worker->sealer.emplace(*file_key, envelope.file_id, envelope.cipher);
    return worker;
  }
  std::vector<std::unique_ptr<Worker>> make_workers(int threads, uint64_t chunks) const {
    std::vector<std::unique_ptr<Worker>> workers(size_t(
        std::min<uint64_t>(uint64_t(threads_wanted(threads)), std::max<uint64_t>(1, chunks))));
    for (auto& worker : workers) worker = make_worker();
    return workers;
  }

  Result<void> open_index(const Identities* identities);
  Result<void> check_chunks();
  // One whole chunk; `out` has its size before packing.
  Result<void> read_chunk(Worker* worker, size_t tensor, uint64_t chunk, Span<uint8_t> out) const;
  Result<void> read_stages(Worker* worker, size_t tensor, uint64_t chunk, ChunkPlace place,
                           Span<uint8_t> out) const;
  // All chunks in their order.
  Result<ContainerSummary> read_all(const RestoreOptions& options,
                                    const std::function<Result<void>(Bytes)>& take) const;
};

Result<void> Container::State::open_index(const Identities* identities) {
  TRY(head, read_container_head(file));
  TRY_VOID(check_index_size(head.parts.index_bytes));
  bool sealed = head.kind.sealed;
  if (sealed && !identities)
    return error(Code::invalid_argument,
                 "the file is sealed: a key or passphrase of a recipient is needed");
  if (!sealed && identities)
    return error(Code::invalid_file,
                 "the file is not sealed, though a key was given: whoever made it needed none");
  Bytes bytes = file.subspan(head.parts.index_begin());
  Bytes prefix = bytes.first(kIndexPrefixBytes), rest = bytes.subspan(kIndexPrefixBytes);
  if (sealed) {
    TRY(envelope,
        decode_envelope(file.subspan(head.parts.envelope_begin(), head.parts.envelope_bytes)));
    TRY(file_key, open_envelope(envelope, *identities));
    TRY(std::vector<uint8_t> body, sconce::open_index(*file_key, envelope.file_id, envelope.cipher,
                                                      head.kind.names_hidden, prefix, rest));
    TRY(index, decode_index_body(head.kind, body).with_context("index"));
    return {};
  }
  uint64_t wanted = load_little<uint64_t>(bytes.last(kIndexChecksumBytes).data());
  uint64_t found = checksum(bytes.first(bytes.size() - kIndexChecksumBytes));
  if (found != wanted)
    return error(Code::invalid_file, "index is damaged: checksum {:016x}, {:016x} wanted", found,
                 wanted);
  TRY(index, decode_index_body(head.kind, rest.first(rest.size() - kIndexChecksumBytes))
                 .with_context("index"));
  return {};
}

// What each chunk must be follows from the tensors; the index only says how it is stored.
Result<void> Container::State::check_chunks() {
  if (index.chunks.size() != map->count())
    return error(Code::invalid_file, "index: {} chunks, {} wanted for the tensors of the file",
                 index.chunks.size(), map->count());
  uint64_t at = head.parts.data_begin;
  uint32_t tag = head.kind.sealed ? kTagBytes : 0;
  for (size_t tensor = 0; tensor < header.tensors().size(); ++tensor)
    for (uint64_t chunk = map->first(tensor); chunk < map->first(tensor + 1); ++chunk) {
      const ChunkEntry& entry = index.chunks[chunk];
      ChunkPlace place = map->place(header, tensor, chunk);
      bool raw = entry.method == ChunkMethod::raw;
      uint32_t least = tag + (raw ? place.raw_bytes : 1),
               most = tag + (raw ? place.raw_bytes : place.raw_bytes - 1);
      if (entry.stored_bytes < least || entry.stored_bytes > most || (!raw && !head.kind.packed))
        return error(Code::invalid_file, "index: {}: method {} in {} bytes, {} to {} wanted",
                     chunk_text(header, tensor, place), int(entry.method), entry.stored_bytes,
                     least, most);
      chunk_offsets.push_back(at);
      at += entry.stored_bytes;
    }
  if (at != head.parts.envelope_begin())
    return error(Code::invalid_file, "index: chunks of {} bytes, {} wanted",
                 at - head.parts.data_begin, head.parts.data_bytes);
  return {};
}

Result<void> Container::State::read_stages(Worker* worker, size_t tensor, uint64_t chunk,
                                           ChunkPlace place, Span<uint8_t> out) const {
  const ChunkEntry& entry = index.chunks[chunk];
  Bytes stored = file.subspan(chunk_offsets[chunk], entry.stored_bytes);
  const TensorInfo& info = header.tensors()[tensor];
  if (!file_key) {
    if (checksum(stored) != entry.checksum)
      return error(Code::invalid_file, "damaged: checksum {:016x}, {:016x} wanted",
                   checksum(stored), entry.checksum);
    return worker->unpacker.unpack(entry.method, stored, element_layout(info.type), out);
  }
  place.method = entry.method;
  Span<uint8_t> plain = out;
  if (entry.method != ChunkMethod::raw) {
    worker->opened.resize(kChunkBytes);
    plain = Span<uint8_t>(worker->opened).first(entry.stored_bytes - kTagBytes);
  }
  TRY_VOID(worker->sealer->select(tensor, info));
  TRY(bool right, worker->sealer->open(place, stored, plain));
  if (!right) return error(Code::invalid_file, "was changed: its authentication does not fit");
  if (entry.method == ChunkMethod::raw) return {};
  return worker->unpacker.unpack(entry.method, plain, element_layout(info.type), out);
}

Result<void> Container::State::read_chunk(Worker* worker, size_t tensor, uint64_t chunk,
                                          Span<uint8_t> out) const {
  ChunkPlace place = map->place(header, tensor, chunk);
  CHECK(out.size() == place.raw_bytes);
  auto result = read_stages(worker, tensor, chunk, place, out);
  if (result.ok()) return {};
  return std::move(result.error()).with_context(chunk_text(header, tensor, place));
}

Result<ContainerSummary> Container::State::read_all(
    const RestoreOptions& options, const std::function<Result<void>(Bytes)>& take) const {
  auto workers = make_workers(options.threads, map->count());
  std::vector<std::vector<uint8_t>> slots(workers.size() * kSlotsPerThread);
  Pace pace(options.progress, header.data_bytes());
  uint64_t released = head.parts.data_begin;
  auto result =
      run_in_order({map->count(), int(workers.size()), slots.size(),
                    [&](int worker, size_t chunk, size_t slot) {
                      size_t tensor = map->tensor_of(chunk);
                      slots[slot].resize(map->place(header, tensor, chunk).raw_bytes);
                      return read_chunk(workers[size_t(worker)].get(), tensor, chunk, slots[slot]);
                    },
                    [&](size_t chunk, size_t slot) -> Result<void> {
                      TRY_VOID(take(slots[slot]));
                      if (pace.advance(slots[slot].size())) {
                        uint64_t read = chunk_offsets[chunk] + index.chunks[chunk].stored_bytes;
                        release_pages(file.subspan(released, read - released));
                        released = read;
                      }
                      return {};
                    }});
  if (file_key)
    for (auto& slot : slots) wipe(slot);
  if (!result.ok()) return std::move(result.error());
  return ContainerSummary{header.file_bytes(), file.size(), header.tensors().size(), map->count()};
}

Container::Container(std::unique_ptr<State> state) : state_(std::move(state)) {}
Container::Container(Container&&) noexcept = default;
Container& Container::operator=(Container&&) noexcept = default;
Container::~Container() = default;

Result<Container> Container::open(Bytes file, const Identities* identities) {
  auto state = std::make_unique<State>();
  state->file = file;
  TRY_VOID(state->open_index(identities));
  TRY(state->header, parse_source_head(state->index.source_head, state->index.source_data_bytes)
                         .with_context("original header"));
  state->map = std::make_unique<ChunkMap>(state->header);
  TRY_VOID(state->check_chunks());
  return Container(std::move(state));
}

ContainerKind Container::kind() const { return state_->head.kind; }
Cipher Container::cipher() const { return state_->envelope.cipher; }
const Header& Container::header() const { return state_->header; }
Bytes Container::source_head() const { return state_->index.source_head; }

uint64_t Container::stored_bytes(size_t tensor) const {
  uint64_t bytes = 0;
  for (uint64_t i = state_->map->first(tensor); i < state_->map->first(tensor + 1); ++i)
    bytes += state_->index.chunks[i].stored_bytes;
  return bytes;
}

Result<void> Container::read(size_t tensor, uint64_t offset, Span<uint8_t> out, int threads) const {
  Span<const TensorInfo> tensors = state_->header.tensors();
  if (tensor >= tensors.size())
    return error(Code::not_found, "tensor {} of {}", tensor, tensors.size());
  if (!range_inside(offset, out.size(), tensors[tensor].bytes()))
    return error(Code::invalid_argument, "tensor {}: bytes {} and {} more exceed its {}",
                 quoted_name(tensors[tensor].name), offset, out.size(), tensors[tensor].bytes());
  if (out.empty()) return {};
  uint64_t begin = offset / kChunkBytes, end = chunk_count(offset + out.size());
  auto workers = state_->make_workers(threads, end - begin);
  auto produce = [&](int number, size_t item, size_t) -> Result<void> {
    State::Worker* worker = workers[size_t(number)].get();
    uint64_t chunk = begin + item, chunk_begin = chunk * kChunkBytes;
    uint64_t global = state_->map->first(tensor) + chunk;
    size_t size = state_->map->place(state_->header, tensor, global).raw_bytes;
    uint64_t from = std::max(offset, chunk_begin),
             to = std::min(offset + out.size(), chunk_begin + size);
    Span<uint8_t> wanted = out.subspan(from - offset, to - from);
    if (wanted.size() == size) return state_->read_chunk(worker, tensor, global, wanted);
    worker->part.resize(size);
    TRY_VOID(state_->read_chunk(worker, tensor, global, worker->part));
    std::copy_n(worker->part.begin() + ptrdiff_t(from - chunk_begin), wanted.size(),
                wanted.begin());
    return {};
  };
  auto result = run_in_order({end - begin, int(workers.size()), workers.size() * kSlotsPerThread,
                              produce, [](size_t, size_t) { return Result<void>(); }});
  if (!result.ok()) wipe(out);
  return result;
}

Result<ContainerSummary> Container::restore(const std::string& path,
                                            const RestoreOptions& options) const {
  TRY(OutputFile file, OutputFile::create(path));
  TRY_VOID(file.reserve(state_->header.file_bytes()));
  auto take = [&](Bytes bytes) {
    if (options.tee) options.tee(bytes);
    return file.write(bytes);
  };
  TRY_VOID(take(state_->index.source_head));
  TRY(ContainerSummary summary, state_->read_all(options, take));
  TRY_VOID(file.commit(options.durable));
  return summary;
}

Result<ContainerSummary> Container::check(const RestoreOptions& options) const {
  return state_->read_all(options, [&](Bytes bytes) {
    if (options.tee) options.tee(bytes);
    return Result<void>();
  });
}

namespace {

struct Descriptor {
  int number = -1;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

}  // namespace

Result<RotateSummary> rotate_container(const std::string& source_path, const std::string& path,
                                       const Identities& identities, const RotateOptions& options) {
  TRY(MappedFile mapped, map_file(source_path));
  Bytes bytes = mapped.bytes();
  // Opened whole first: a file that was changed is not given new recipients.
  auto opened = Container::open(bytes, &identities);
  if (!opened.ok()) return std::move(opened.error()).with_context(source_path);
  TRY(ContainerHead head, read_container_head(bytes));
  ContainerParts parts = head.parts;
  TRY(Envelope envelope,
      decode_envelope(bytes.subspan(parts.envelope_begin(), parts.envelope_bytes)));
  TRY(SecretKey file_key, open_envelope(envelope, identities));
  TRY_VOID(remove_recipients(&envelope, options.remove_keys, options.remove_passphrases));
  TRY_VOID(add_recipients(&envelope, file_key, options.add));
  TRY(std::vector<uint8_t> envelope_bytes, finish_envelope(&envelope, file_key));
  parts.envelope_bytes = envelope_bytes.size();
  std::string text = container_head(head.kind, parts);

  Descriptor source{::open(source_path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (source.number < 0) return error(Code::io, "{}: {}", source_path, strerror(errno));
  TRY(OutputFile file, OutputFile::create(path));
  TRY_VOID(file.write({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  TRY_VOID(file.copy_from(source.number, parts.data_begin, parts.data_bytes));
  TRY_VOID(file.write(envelope_bytes));
  TRY_VOID(file.write(bytes.subspan(head.parts.index_begin())));
  TRY_VOID(file.commit(options.durable));
  RotateSummary summary;
  for (const Stanza& stanza : envelope.stanzas)
    ++(stanza.type == StanzaType::x25519 ? summary.keys : summary.passphrases);
  return summary;
}

}  // namespace sconce
