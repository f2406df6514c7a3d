#include "formats/checkpoint/checkpoint.h"

#include <algorithm>

#include "base/checked.h"
#include "formats/checkpoint/containers.h"
#include "formats/zip/zip.h"

namespace sconce {
namespace {

constexpr uint8_t kZipStart[] = {'P', 'K', 3, 4};
constexpr uint64_t kSmallRecordBytesMax = 64;  // of records that hold a word or a number

// The records of a zip archive, all of them in one folder.
struct Records {
  ZipArchive archive;
  std::string top;

  const ZipEntry* find(std::string_view name) const {
    return find_entry(archive, top + std::string(name));
  }
  bool has_folder(std::string_view name) const {
    for (const ZipEntry& entry : archive.entries)
      if (entry.name.starts_with(top + std::string(name))) return true;
    return false;
  }
};

Result<Records> read_records(Bytes file) {
  Records records;
  TRY(records.archive, read_zip(file, {.allow_deflate = true}));
  std::string_view first = records.archive.first_name;
  records.top = first.substr(0, first.find('/') + 1);
  if (records.top.size() < 2)
    return error(Code::invalid_file,
                 "not a checkpoint: record \"{}\" is in no folder, wanted NAME/data.pkl", first);
  for (const ZipEntry& entry : records.archive.entries)
    if (!entry.name.starts_with(records.top))
      return error(Code::invalid_file, "record \"{}\" is outside the folder \"{}\" of the others",
                   entry.name, records.top);
  return records;
}

// A record that holds a word.
Result<std::string> small_record(const ZipEntry& entry, bool verify) {
  if (entry.inflated_bytes > kSmallRecordBytesMax)
    return error(Code::invalid_file, "record \"{}\" has {} bytes, wanted at most {}", entry.name,
                 entry.inflated_bytes, kSmallRecordBytesMax);
  if (entry.deflated) {
    TRY(auto bytes, inflate_entry(entry, kSmallRecordBytesMax));
    return std::string(bytes.begin(), bytes.end());
  }
  if (verify) TRY_VOID(verify_crc(entry));
  return std::string(entry.bytes.begin(), entry.bytes.end());
}

Error missing_pickle(const Records& records) {
  std::string_view hint = "";
  if (records.find("archive_format") || records.has_folder("models/"))
    hint = ": an archive of torch.export.save, which sconce compile reads";
  else if (records.find("model.json"))
    hint = ": TorchScript of torch < 1.4; save it again with a newer torch";
  return error(Code::unsupported, "no record \"{}data.pkl\"{}", records.top, hint);
}

}  // namespace

const char* format_name(CheckpointFormat format) {
  switch (format) {
    case CheckpointFormat::zip: return "zip archive of torch.save";
    case CheckpointFormat::script: return "TorchScript archive";
    case CheckpointFormat::stream: return "stream of torch.save before 1.6";
    case CheckpointFormat::archive: return "tar archive of torch.save before 0.1.10";
    case CheckpointFormat::plain: return "plain pickle";
  }
  return "?";
}

Result<Checkpoint> read_zip_checkpoint(Bytes file, const CheckpointOptions& options) {
  TRY(Records records, read_records(file));
  const ZipEntry* pickle = records.find("data.pkl");
  if (!pickle) return missing_pickle(records);
  Checkpoint checkpoint;
  checkpoint.pickle_name = pickle->name;
  bool is_script = records.find("constants.pkl") || records.has_folder("code/");
  checkpoint.format = is_script ? CheckpointFormat::script : CheckpointFormat::zip;
  Bytes bytes = pickle->bytes;
  if (pickle->deflated) {
    TRY(auto inflated, inflate_entry(*pickle, options.pickle_inflated_bytes_max));
    checkpoint.owned.push_back(std::move(inflated));
    bytes = checkpoint.owned.back();
  } else if (options.verify_checksums) {
    TRY_VOID(verify_crc(*pickle));
  }
  if (const ZipEntry* order = records.find("byteorder")) {
    TRY(std::string text, small_record(*order, options.verify_checksums));
    if (text != "little" && text != "big")
      return error(Code::invalid_file, "record \"{}\" is \"{:.20}\", wanted little or big",
                   order->name, text);
    checkpoint.big_endian = text == "big";
  }
  PickleOptions pickle_options;
  pickle_options.limits = options.limits;
  pickle_options.persistent_ids = PersistentIds::zip;
  pickle_options.ignore_unknown = options.ignore_unknown;
  pickle_options.script_classes = is_script;
  auto tree = read_pickle(bytes, pickle_options);
  if (!tree.ok()) return std::move(tree.error()).with_context(checkpoint.pickle_name);
  if (tree->end != bytes.size())
    return error(Code::invalid_file, "{}: {} bytes after STOP at offset {}", checkpoint.pickle_name,
                 bytes.size() - tree->end, tree->end - 1);
  checkpoint.tree = std::move(*tree);

  std::vector<std::string_view> used;
  for (const PickleStorage& storage : checkpoint.tree.storages) {
    const ZipEntry* entry = records.find("data/" + storage.key);
    auto in_storage = [&](Error problem) {
      return std::move(problem).with_context(
          fmt::format("{}: offset {}", checkpoint.pickle_name, storage.offset));
    };
    if (!entry)
      return in_storage(error(Code::invalid_file,
                              "storage \"{:.80}\" has no record \"{}data/{:.80}\"", storage.key,
                              records.top, storage.key));
    if (entry->inflated_bytes != storage.count * storage.type->bytes)
      return in_storage(error(Code::invalid_file,
                              "record \"{}\" has {} bytes, storage \"{:.80}\" of {} {} wants {}",
                              entry->name, entry->inflated_bytes, storage.key, storage.count,
                              storage.type->name, storage.count * storage.type->bytes));
    checkpoint.storages.push_back({std::string(entry->name), entry->bytes, entry->inflated_bytes,
                                   entry->deflated, options.verify_checksums, entry->crc});
    used.push_back(entry->name);
  }
  std::sort(used.begin(), used.end());
  for (const ZipEntry& entry : records.archive.entries)
    if (entry.name.substr(records.top.size()).starts_with("data/") &&
        !std::binary_search(used.begin(), used.end(), entry.name))
      checkpoint.unused.emplace_back(entry.name);
  return checkpoint;
}

Result<Checkpoint> read_checkpoint(Bytes file, const CheckpointOptions& options) {
  if (file.empty()) return error(Code::invalid_file, "the file is empty");
  if (file.size() >= sizeof(kZipStart) && std::equal(kZipStart, kZipStart + 4, file.begin()))
    return read_zip_checkpoint(file, options);
  if (is_tar(file)) return read_tar_checkpoint(file, options);
  return read_stream_checkpoint(file, options);
}

}  // namespace sconce
