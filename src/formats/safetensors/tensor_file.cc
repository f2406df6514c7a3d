// Opening: one file or a set, all headers checked, one table of tensors.
#include "sconce/tensor_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/checked.h"
#include "formats/safetensors/opened_file.h"
#include "formats/safetensors/shards.h"
#include "formats/safetensors/tensor_file_state.h"

namespace sconce {

OpenedFile& OpenedFile::operator=(OpenedFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(header_, other.header_);
  return *this;
}

OpenedFile::~OpenedFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

Result<void> read_exactly(int descriptor, uint64_t offset, uint8_t* out, uint64_t bytes) {
  while (bytes > 0) {
    ssize_t got =
        pread(descriptor, out, size_t(std::min<uint64_t>(bytes, 1u << 30)), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error(Code::io, "read: {}", strerror(errno));
    if (got == 0)
      return error(Code::invalid_file, "ends at byte {}, {} more are wanted", offset, bytes);
    out += got;
    offset += uint64_t(got);
    bytes -= uint64_t(got);
  }
  return {};
}

Result<OpenedFile> OpenedFile::open(const std::string& path, AcceptMode mode) {
  OpenedFile file;
  // O_NONBLOCK: a named pipe is refused below instead of waited for.
  file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.descriptor_ < 0)
    return error(errno == ENOENT ? Code::not_found : Code::io, "{}: {}", path, strerror(errno));
  struct stat info;
  if (fstat(file.descriptor_, &info) != 0 || !S_ISREG(info.st_mode))
    return error(Code::io, "{}: not a regular file", path);
  auto read = [&](uint64_t offset, uint8_t* out, uint64_t bytes) {
    return read_exactly(file.descriptor_, offset, out, bytes);
  };
  TRY(file.header_, read_header(uint64_t(info.st_size), read, mode).with_context(path));
  return file;
}

namespace {

// The file that a folder stands for.
Result<std::string> find_in_folder(const std::string& folder) {
  std::vector<std::string> indexes, files;
  std::error_code problem;
  for (auto entry = std::filesystem::directory_iterator(folder, problem);
       !problem && entry != std::filesystem::directory_iterator(); entry.increment(problem)) {
    std::string name = entry->path().filename().string();
    if (name.starts_with(".")) continue;
    if (name.ends_with(".safetensors.index.json")) indexes.push_back(name);
    if (name.ends_with(".safetensors")) files.push_back(name);
  }
  if (problem) return error(Code::io, "{}: {}", folder, problem.message());
  for (auto* names : {&indexes, &files}) {
    std::string plain = names == &indexes ? "model.safetensors.index.json" : "model.safetensors";
    if (names->size() == 1) return folder + "/" + (*names)[0];
    if (std::find(names->begin(), names->end(), plain) != names->end()) return folder + "/" + plain;
    if (names->size() > 1) {
      std::sort(names->begin(), names->end());
      return error(Code::invalid_argument, "{}: which one? {} and {} more are there", folder,
                   (*names)[0], names->size() - 1);
    }
  }
  return error(Code::not_found, "{}: no .safetensors and no .safetensors.index.json is there",
               folder);
}

std::string real_folder(const std::string& path) {
  char resolved[PATH_MAX];
  if (!realpath(path.c_str(), resolved)) return {};
  return std::filesystem::path(resolved).parent_path().string();
}

// A shard is a file of the index's folder; as a link it may lead to the folder where the index
// itself really is: a cache keeps all files of a download in one folder and links to them.
Result<void> check_shard_place(const std::string& shard, const std::string& folder,
                               const std::string& index_path, int descriptor) {
  char resolved[PATH_MAX], resolved_folder[PATH_MAX];
  struct stat by_name, opened;
  if (!realpath(shard.c_str(), resolved) || !realpath(folder.c_str(), resolved_folder) ||
      stat(resolved, &by_name) != 0 || fstat(descriptor, &opened) != 0)
    return error(Code::io, "{}: {}", shard, strerror(errno));
  if (by_name.st_dev != opened.st_dev || by_name.st_ino != opened.st_ino)
    return error(Code::io, "{}: was replaced while it was opened", shard);
  std::string place = std::filesystem::path(resolved).parent_path().string();
  if (place == resolved_folder || place == real_folder(index_path)) return {};
  return error(Code::invalid_file, "{}: is a link out of its folder, to {}", shard, resolved);
}

}  // namespace

using State = TensorFile::State;

static const ShardIndex::Entry* find_entry(const ShardIndex& index, std::string_view tensor) {
  auto entry = std::lower_bound(
      index.entries.begin(), index.entries.end(), tensor,
      [](const ShardIndex::Entry& e, std::string_view name) { return e.tensor < name; });
  return entry != index.entries.end() && entry->tensor == tensor ? &*entry : nullptr;
}

static TensorRecord record_of(const State& state, uint32_t shard, const TensorInfo& info) {
  return {info.name,    info.type, info.shape,
          info.bytes(), shard,     state.shards[shard].header.data_offset() + info.begin};
}

static Result<void> open_shard(State* state, const std::string& path, AcceptMode mode) {
  TRY(OpenedFile file, OpenedFile::open(path, mode));
  TRY(MappedFile mapping, file.map(path));
  // The file may have changed between reading its header and mapping it.
  if (mapping.bytes().size() < file.header().file_bytes())
    return error(Code::invalid_file, "{}: became shorter while it was opened", path);
  state->shards.push_back({path, file.take_header()});
  state->files.push_back(std::move(file));
  state->mappings.push_back(std::move(mapping));
  return {};
}

// Every tensor is where the index says, and nowhere else; makes the records.
static Result<void> place_by_index(State* state, const ShardIndex& index, AcceptMode mode) {
  auto complain = [&](std::string text) -> Result<void> {
    if (mode != AcceptMode::reference) return error(Code::invalid_file, "{}", text);
    state->warnings.push_back(std::move(text));
    return {};
  };
  for (const ShardIndex::Entry& entry : index.entries)
    if (!state->shards[entry.file].header.find(entry.tensor))
      return error(Code::invalid_file, "tensor {} is not in {}, where the index says it is",
                   quoted_name(entry.tensor), index.files[entry.file]);
  uint64_t total = 0;
  for (uint32_t shard = 0; shard < state->shards.size(); shard++)
    for (const TensorInfo& info : state->shards[shard].header.tensors()) {
      const ShardIndex::Entry* entry = find_entry(index, info.name);
      if (!entry) {
        TRY_VOID(complain(fmt::format("tensor {} of {} is not in the index", quoted_name(info.name),
                                      index.files[shard])));
      } else if (entry->file != shard) {
        TRY_VOID(complain(fmt::format("tensor {} is in {} too, the index says {}",
                                      quoted_name(info.name), index.files[shard],
                                      index.files[entry->file])));
        continue;  // that copy is not used
      }
      state->tensors.push_back(record_of(*state, shard, info));
      total += info.bytes();
    }
  if (index.total_size && *index.total_size != total)
    TRY_VOID(complain(
        fmt::format("total_size is {}, the tensors take {} bytes", *index.total_size, total)));
  std::sort(state->tensors.begin(), state->tensors.end(),
            [](const TensorRecord& a, const TensorRecord& b) { return a.name < b.name; });
  // A tensor that the index does not name may be in several shards.
  for (size_t i = 1; i < state->tensors.size(); i++)
    if (state->tensors[i].name == state->tensors[i - 1].name)
      return error(Code::invalid_file, "tensor {} is in {} and in {}",
                   quoted_name(state->tensors[i].name), index.files[state->tensors[i - 1].shard],
                   index.files[state->tensors[i].shard]);
  return {};
}

static Result<void> open_set(State* state, const std::string& path, AcceptMode mode) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && uint64_t(info.st_size) > kShardIndexBytesMax)
    return error(Code::too_large, "{}: index of {} bytes, at most {} are allowed", path,
                 uint64_t(info.st_size), kShardIndexBytesMax);
  TRY(MappedFile text, map_file(path));
  TRY(ShardIndex index, parse_shard_index(text.bytes()).with_context(path));
  size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  std::string prefix = slash == std::string::npos ? "" : folder;
  for (const std::string& name : index.files) {
    TRY_VOID(open_shard(state, prefix + name, mode).with_context(path));
    TRY_VOID(check_shard_place(prefix + name, folder, path, state->files.back().descriptor())
                 .with_context(path));
  }
  return place_by_index(state, index, mode).with_context(path);
}

Result<TensorFile> TensorFile::open(const std::string& path, const OpenOptions& options) {
  auto state = std::make_unique<State>();
  std::string file = path;
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    while (file.size() > 1 && file.back() == '/') file.pop_back();
    TRY(file, find_in_folder(file));
  }
  if (file.ends_with(".json")) {
    state->has_index = true;
    TRY_VOID(open_set(state.get(), file, options.accept));
    for (const TensorRecord& tensor : state->tensors) state->data_bytes += tensor.bytes;
  } else {
    TRY_VOID(open_shard(state.get(), file, options.accept));
    state->data_bytes = state->shards[0].header.data_bytes();
  }
  return TensorFile(std::move(state));
}

TensorFile::TensorFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
TensorFile::TensorFile(TensorFile&&) noexcept = default;
TensorFile& TensorFile::operator=(TensorFile&&) noexcept = default;
TensorFile::~TensorFile() = default;

Span<const TensorRecord> TensorFile::tensors() const {
  // Of one file they are made when asked for first: a header of 100,000 tensors is read for a few.
  std::call_once(state_->records, [&] {
    if (state_->has_index) return;
    const Header& header = state_->shards[0].header;
    state_->tensors.reserve(header.tensors().size());
    for (const TensorInfo* tensor : header.by_name())
      state_->tensors.push_back(record_of(*state_, 0, *tensor));
  });
  return state_->tensors;
}

Span<const TensorShard> TensorFile::shards() const { return state_->shards; }
bool TensorFile::has_index() const { return state_->has_index; }
uint64_t TensorFile::data_bytes() const { return state_->data_bytes; }
Span<const std::string> TensorFile::warnings() const { return state_->warnings; }

const Metadata& TensorFile::metadata() const {
  static const Metadata none;
  return state_->shards.empty() ? none : state_->shards[0].header.metadata();
}

std::optional<TensorRecord> TensorFile::find(std::string_view name) const {
  if (!state_->has_index) {
    const TensorInfo* info = state_->shards[0].header.find(name);
    return info ? std::optional(record_of(*state_, 0, *info)) : std::nullopt;
  }
  const std::vector<TensorRecord>& all = state_->tensors;
  auto found = std::lower_bound(
      all.begin(), all.end(), name,
      [](const TensorRecord& record, std::string_view wanted) { return record.name < wanted; });
  return found != all.end() && found->name == name ? std::optional(*found) : std::nullopt;
}

Bytes TensorFile::bytes(const TensorRecord& tensor) const {
  return state_->mappings[tensor.shard].bytes().subspan(tensor.offset, tensor.bytes);
}

Result<std::vector<uint8_t>> TensorFile::read_slice(const TensorRecord& tensor,
                                                    Span<const SliceRange> ranges) const {
  TRY(Slice slice,
      plan_slice(tensor.type, tensor.shape, ranges)
          .with_context(shards()[tensor.shard].path + ": tensor " + quoted_name(tensor.name)));
  std::vector<uint8_t> out(slice.bytes);
  copy_slice(slice, bytes(tensor), out.data());
  return out;
}

Result<std::string> write_shards(const std::string& folder, const std::string& stem,
                                 Span<const TensorSpec> specs, const TensorSource& source,
                                 Span<const std::pair<std::string, std::string>> metadata,
                                 const ShardOptions& options) {
  if (options.shard_bytes_max == 0)
    return error(Code::invalid_argument, "a shard of at most 0 bytes holds nothing");
  // Names are checked over all shards: each plan sees only its own.
  {
    std::vector<std::string_view> names;
    for (const TensorSpec& spec : specs) names.push_back(spec.name);
    std::sort(names.begin(), names.end());
    if (auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      return error(Code::invalid_argument, "two tensors are named {}", quoted_name(*twice));
  }
  std::vector<std::vector<size_t>> shards(1);
  uint64_t total = 0, filled = 0;
  for (size_t i = 0; i < specs.size(); i++) {
    TRY(uint64_t bytes, tensor_bytes(specs[i].type, specs[i].shape)
                            .with_context("tensor " + quoted_name(specs[i].name)));
    if (!shards.back().empty() &&
        (bytes > options.shard_bytes_max || filled > options.shard_bytes_max - bytes)) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(i);
    if (!checked_add(filled, bytes, &filled) || !checked_add(total, bytes, &total))
      return error(Code::too_large, "all tensors together exceed 2^64 bytes");
  }
  std::string prefix = folder.empty() ? "" : folder + "/";
  ShardIndex index;
  index.total_size = total;
  std::vector<TensorWriter> writers;
  for (size_t shard = 0; shard < shards.size(); shard++) {
    index.files.push_back(shards.size() == 1 ? stem + ".safetensors"
                                             : shard_name(stem, shard + 1, shards.size()));
    std::vector<TensorSpec> chosen;
    for (size_t i : shards[shard]) {
      chosen.push_back(specs[i]);
      index.entries.push_back({specs[i].name, uint32_t(shard)});
    }
    TRY(TensorWriter writer, TensorWriter::create(prefix + index.files.back(), std::move(chosen),
                                                  metadata, options.write));
    for (const PlacedSpec& placed : writer.order()) {
      uint64_t before = writer.appended_bytes();
      TRY_VOID(source(shards[shard][placed.spec],
                      [&](Bytes bytes) -> Result<void> { return writer.append(bytes); }));
      if (writer.appended_bytes() - before != placed.end - placed.begin)
        return error(Code::invalid_argument, "tensor {}: {} bytes are given, {} are wanted",
                     quoted_name(writer.spec(placed).name), writer.appended_bytes() - before,
                     placed.end - placed.begin);
    }
    TRY_VOID(writer.flush());
    writers.push_back(std::move(writer));
  }
  for (TensorWriter& writer : writers) TRY_VOID(writer.finish());
  if (shards.size() == 1) return prefix + index.files[0];
  std::sort(index.entries.begin(), index.entries.end(),
            [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  std::string path = prefix + stem + ".safetensors.index.json", text = print_shard_index(index);
  TRY(OutputFile file, OutputFile::create(path));
  TRY_VOID(file.write({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  TRY_VOID(file.commit(options.write.durable));
  return path;
}

}  // namespace sconce
