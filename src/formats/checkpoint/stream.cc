// The stream format: five pickles (magic number, version, system, value, keys), then the storages
// in the order of the keys, each with its count before it. Elements are little endian on every
// machine, whatever the third pickle says of it.
#include <algorithm>

#include "base/checked.h"
#include "formats/checkpoint/containers.h"

namespace sconce {
namespace {

// 0x1950a86a20f9469cfc6c, little endian.
constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kVersion = 1001;

}  // namespace

Result<PickleTree> read_next_pickle(Bytes file, uint64_t* at, const char* what,
                                    const PickleOptions& options) {
  auto tree = read_pickle(file.subspan(*at), options);
  if (!tree.ok())
    return std::move(tree.error())
        .with_context(*at == 0 ? std::string(what) : fmt::format("{} at {}", what, *at));
  *at += tree->end;
  return tree;
}

Result<Bytes> read_next_bytes(Bytes file, uint64_t* at, uint64_t bytes, std::string_view what) {
  if (!range_inside(*at, bytes, file.size()))
    return error(Code::invalid_file, "{} has {} bytes at {}, the file ends at {}", what, bytes, *at,
                 file.size());
  Bytes result = file.subspan(*at, bytes);
  *at += bytes;
  return result;
}

Result<uint64_t> read_next_number(Bytes file, uint64_t* at, std::string_view what) {
  TRY(Bytes bytes, read_next_bytes(file, at, 8, what));
  uint64_t number = 0;
  for (int i = 0; i < 8; i++) number |= uint64_t(bytes[i]) << (8 * i);
  return number;
}

Result<Checkpoint> read_stream_checkpoint(Bytes file, const CheckpointOptions& options) {
  PickleOptions plain;
  plain.limits = options.limits;
  plain.ignore_unknown = options.ignore_unknown;
  uint64_t at = 0;
  TRY(PickleTree first, read_next_pickle(file, &at, "neither zip nor tar, and as a pickle", plain));
  if (first.values[first.root].kind != PickleKind::big_integer ||
      first.text(first.root) != kMagic) {
    if (at != file.size())
      return error(Code::invalid_file,
                   "not a checkpoint: the first pickle holds {}, wanted the magic number, and ends "
                   "at {} of {}",
                   print_pickle_value(first, first.root, 60), at, file.size());
    Checkpoint checkpoint;
    checkpoint.format = CheckpointFormat::plain;
    checkpoint.tree = std::move(first);
    return checkpoint;
  }
  plain.ignore_unknown = false;
  TRY(PickleTree version, read_next_pickle(file, &at, "version pickle", plain));
  if (version.values[version.root].kind != PickleKind::integer ||
      version.values[version.root].integer != kVersion)
    return error(Code::unsupported, "version is {}, wanted {}",
                 print_pickle_value(version, version.root, 60), kVersion);
  TRY(PickleTree system, read_next_pickle(file, &at, "system pickle", plain));

  Checkpoint checkpoint;
  checkpoint.format = CheckpointFormat::stream;
  PickleOptions pickle_options;
  pickle_options.limits = options.limits;
  pickle_options.persistent_ids = PersistentIds::stream;
  pickle_options.ignore_unknown = options.ignore_unknown;
  checkpoint.pickle_name = fmt::format("value pickle at {}", at);
  TRY(checkpoint.tree, read_next_pickle(file, &at, "value pickle", pickle_options));
  TRY(PickleTree keys, read_next_pickle(file, &at, "key pickle", plain));
  if (keys.values[keys.root].kind != PickleKind::list)
    return error(Code::invalid_file, "key pickle: not a list of keys");

  const auto& storages = checkpoint.tree.storages;
  std::vector<std::pair<std::string_view, uint32_t>> by_key;
  for (uint32_t i = 0; i < storages.size(); i++) by_key.emplace_back(storages[i].key, i);
  std::sort(by_key.begin(), by_key.end());
  checkpoint.storages.resize(storages.size());
  std::vector<bool> found(storages.size());
  for (ValueId key : keys.items(keys.root)) {
    if (keys.values[key].kind != PickleKind::text)
      return error(Code::invalid_file, "key pickle: {} is not a key",
                   print_pickle_value(keys, key, 60));
    auto place = std::lower_bound(by_key.begin(), by_key.end(),
                                  std::pair<std::string_view, uint32_t>(keys.text(key), 0));
    std::string name = fmt::format("storage {:.60}", keys.text(key));
    if (place == by_key.end() || place->first != keys.text(key))
      return error(Code::invalid_file, "key pickle: no tensor has {}", name);
    const PickleStorage& storage = storages[place->second];
    if (found[place->second]) return error(Code::invalid_file, "key pickle: {} twice", name);
    found[place->second] = true;
    uint64_t count_at = at;
    TRY(uint64_t count, read_next_number(file, &at, name));
    if (count != storage.count)
      return error(Code::invalid_file, "{} at {} has {} elements, the tensors say {}", name,
                   count_at, count, storage.count);
    TRY(Bytes bytes, read_next_bytes(file, &at, count * storage.type->bytes, name));
    checkpoint.storages[place->second] = {name, bytes, bytes.size()};
  }
  for (size_t i = 0; i < found.size(); i++)
    if (!found[i])
      return error(Code::invalid_file, "key pickle: storage {:.60} of {} is missing",
                   storages[i].key, checkpoint.pickle_name);
  if (at != file.size())
    return error(Code::invalid_file, "{} bytes after the last storage, which ends at {}",
                 file.size() - at, at);
  return checkpoint;
}

}  // namespace sconce
