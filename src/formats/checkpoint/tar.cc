// The tar format of torch before 0.1.10. Members: "storages" (a count, then for each storage a
// pickle of key, location and type, its count and its elements; then the views of storages),
// "tensors" (a count, then for each a pickle of key, storage and type, and its geometry), "pickle"
// (the value; persistent ids are the keys of tensors) and "sys_info".
#include <algorithm>
#include <map>

#include "base/checked.h"
#include "formats/checkpoint/containers.h"
#include "formats/checkpoint/globals.h"
#include "formats/checkpoint/view.h"

namespace sconce {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMemberCountMax = 64;

std::string_view field(Bytes header, uint64_t offset, uint64_t bytes) {
  std::string_view text(reinterpret_cast<const char*>(header.data()) + offset, bytes);
  return text.substr(0, text.find('\0'));
}

// Octal digits, then spaces or NULs.
std::optional<uint64_t> octal(Bytes header, uint64_t offset, uint64_t bytes) {
  uint64_t value = 0;
  bool digits = false, ended = false;
  for (uint64_t i = offset; i < offset + bytes; i++) {
    uint8_t c = header[i];
    if (c == ' ' || c == 0) {
      ended = digits;
      continue;
    }
    if (c < '0' || c > '7' || ended || value >> 60) return std::nullopt;
    value = value * 8 + (c - '0');
    digits = true;
  }
  return digits ? std::optional(value) : std::nullopt;
}

bool has_checksum(Bytes header) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < kBlock; i++) sum += i >= 148 && i < 156 ? ' ' : header[i];
  return octal(header, 148, 8) == sum;
}

Result<std::map<std::string, Bytes, std::less<>>> read_members(Bytes file) {
  std::map<std::string, Bytes, std::less<>> members;
  uint64_t at = 0;
  while (at + kBlock <= file.size()) {
    Bytes header = file.subspan(at, kBlock);
    if (std::all_of(header.begin(), header.end(), [](uint8_t byte) { return byte == 0; })) break;
    if (!has_checksum(header))
      return error(Code::invalid_file, "tar header at {}: wrong checksum", at);
    auto size = octal(header, 124, 12);
    if (!size) return error(Code::invalid_file, "tar header at {}: no size", at);
    std::string name(field(header, 0, 100));
    uint8_t type = header[156];
    uint64_t data = at + kBlock;
    if (!range_inside(data, *size, file.size()))
      return error(Code::invalid_file, "tar member \"{}\" has {} bytes at {}, the file ends at {}",
                   name, *size, data, file.size());
    if (type != '0' && type != 0 && type != 'x')
      return error(Code::unsupported, "tar member \"{}\" at {} is of type {:#04x}, wanted a file",
                   name, at, type);
    Bytes bytes = file.subspan(data, *size);
    if (type == 'x') {  // extended header: times are of no interest, names and sizes would be
      std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      for (std::string_view keyword : {" path=", " size=", " linkpath="})
        if (text.find(keyword) != std::string_view::npos)
          return error(Code::unsupported, "tar header at {} is extended by{}", at, keyword);
    } else {
      if (members.size() >= kMemberCountMax)
        return error(Code::too_large, "more than {} tar members", kMemberCountMax);
      if (!members.emplace(name, bytes).second)
        return error(Code::invalid_file, "two tar members are named \"{}\"", name);
    }
    at = align_up(data + *size, kBlock);
  }
  return members;
}

struct View {
  uint32_t storage = 0;
  uint64_t begin = 0, count = 0;
};

class Archive {
 public:
  explicit Archive(const CheckpointOptions& options) : options_(options) {
    plain_.limits = options.limits;
  }

  Result<void> read_storages(Bytes file);
  Result<void> read_tensors(Bytes file);
  Result<Checkpoint> read_value(Bytes file);

 private:
  // The next pickle, which is a tuple or a list of integers or types.
  Result<std::vector<PickleValue>> fields(Bytes file, uint64_t* at, const char* what, size_t count);
  Result<uint64_t> count(Bytes file, uint64_t* at, const char* what);
  Result<int64_t> integer(const PickleValue& value, const char* what) const {
    if (value.kind != PickleKind::integer) return error(Code::invalid_file, "{} is no int", what);
    return value.integer;
  }

  const CheckpointOptions& options_;
  PickleOptions plain_;
  std::vector<PickleStorage> storages_;
  std::vector<StorageRecord> records_;
  std::map<int64_t, View> views_;
  std::map<int64_t, PickleTensor> tensors_;
};

Result<std::vector<PickleValue>> Archive::fields(Bytes file, uint64_t* at, const char* what,
                                                 size_t count) {
  TRY(PickleTree tree, read_next_pickle(file, at, what, plain_));
  Span<const ValueId> items = tree.items(tree.root);
  if (tree.values[tree.root].kind != PickleKind::tuple || items.size() != count)
    return error(Code::invalid_file, "{} before {}: {}, wanted a tuple of {}", what, *at,
                 print_pickle_value(tree, tree.root, 60), count);
  std::vector<PickleValue> values;
  for (ValueId item : items) values.push_back(tree.values[item]);
  return values;
}

Result<uint64_t> Archive::count(Bytes file, uint64_t* at, const char* what) {
  TRY(PickleTree tree, read_next_pickle(file, at, what, plain_));
  const PickleValue& root = tree.values[tree.root];
  // Each takes more than a byte.
  if (root.kind != PickleKind::integer || root.integer < 0 ||
      uint64_t(root.integer) > file.size() - *at)
    return error(Code::invalid_file, "{} is {}", what, print_pickle_value(tree, tree.root, 60));
  return uint64_t(root.integer);
}

Result<void> Archive::read_storages(Bytes file) {
  uint64_t at = 0;
  TRY(uint64_t storage_count, count(file, &at, "number of storages"));
  for (uint64_t i = 0; i < storage_count; i++) {
    TRY(auto row, fields(file, &at, "storage", 3));  // key, location, type
    TRY(int64_t key, integer(row[0], "key of a storage"));
    if (row[2].kind != PickleKind::global || row[2].global->kind != GlobalKind::storage_type)
      return error(Code::invalid_file, "storage {}: its type is no class of storages", key);
    const TorchType* type = row[2].global->type;
    std::string name = fmt::format("storage {}", key);
    TRY(uint64_t elements, read_next_number(file, &at, name));
    uint64_t bytes_wanted = 0;
    if (!checked_multiply<uint64_t>(elements, type->bytes, &bytes_wanted))
      return error(Code::invalid_file, "{} before {}: {} elements", name, at, elements);
    TRY(Bytes bytes, read_next_bytes(file, &at, bytes_wanted, name));
    View view{uint32_t(storages_.size()), 0, elements};
    if (!views_.emplace(key, view).second)
      return error(Code::invalid_file, "two storages have the key {}", key);
    storages_.push_back({std::to_string(key), type, elements});
    records_.push_back({name, bytes, bytes.size()});
  }
  TRY(PickleTree tree, read_next_pickle(file, &at, "views of storages", plain_));
  if (tree.values[tree.root].kind != PickleKind::list)
    return error(Code::invalid_file, "views of storages: not a list");
  for (ValueId item : tree.items(tree.root)) {  // key, key of the whole, offset, count
    Span<const ValueId> row = tree.items(item);
    if (tree.values[item].kind != PickleKind::tuple || row.size() != 4)
      return error(Code::invalid_file, "view of a storage: not a tuple of 4");
    int64_t numbers[4];
    for (int i = 0; i < 4; i++) {
      TRY(numbers[i], integer(tree.values[row[i]], "view of a storage"));
    }
    auto whole = views_.find(numbers[1]);
    if (whole == views_.end())
      return error(Code::invalid_file, "view {} is of storage {}, which is not there", numbers[0],
                   numbers[1]);
    if (numbers[2] < 0 || numbers[3] < 0 ||
        !range_inside(uint64_t(numbers[2]), uint64_t(numbers[3]), whole->second.count))
      return error(Code::invalid_file, "view {}: {} elements at {} pass the {} of storage {}",
                   numbers[0], numbers[3], numbers[2], whole->second.count, numbers[1]);
    View view{whole->second.storage, whole->second.begin + uint64_t(numbers[2]),
              uint64_t(numbers[3])};
    if (!views_.emplace(numbers[0], view).second)
      return error(Code::invalid_file, "two storages have the key {}", numbers[0]);
  }
  if (at != file.size())
    return error(Code::invalid_file, "{} bytes after the views", file.size() - at);
  return {};
}

Result<void> Archive::read_tensors(Bytes file) {
  uint64_t at = 0;
  TRY(uint64_t tensor_count, count(file, &at, "number of tensors"));
  for (uint64_t i = 0; i < tensor_count; i++) {
    TRY(auto row, fields(file, &at, "tensor", 3));  // key, key of the storage, type
    TRY(int64_t key, integer(row[0], "key of a tensor"));
    TRY(int64_t storage_key, integer(row[1], "storage of a tensor"));
    std::string name = fmt::format("tensor {}", key);
    auto view = views_.find(storage_key);
    if (view == views_.end())
      return error(Code::invalid_file, "{}: its storage {} is not there", name, storage_key);
    TRY(uint64_t rank, read_next_number(file, &at, name));
    rank &= 0xffffffff;  // the upper half is not meant
    if (rank > options_.limits.rank_max)
      return error(Code::too_large, "{}: {} dimensions, at most {} are possible", name, rank,
                   options_.limits.rank_max);
    PickleTensor tensor;
    for (auto* numbers : {&tensor.sizes, &tensor.strides}) {
      for (uint64_t dim = 0; dim < rank; dim++) {
        TRY(uint64_t number, read_next_number(file, &at, name));
        numbers->push_back(int64_t(number));
      }
    }
    TRY(uint64_t begin, read_next_number(file, &at, name));
    std::string problem =
        find_view_problem(int64_t(begin), tensor.sizes, tensor.strides, view->second.count);
    if (!problem.empty()) return error(Code::invalid_file, "{} before {}: {}", name, at, problem);
    tensor.storage = view->second.storage;
    tensor.type = storages_[tensor.storage].type;
    bool empty = std::find(tensor.sizes.begin(), tensor.sizes.end(), 0) != tensor.sizes.end();
    tensor.begin = empty ? 0 : view->second.begin + begin;
    if (!tensors_.emplace(key, std::move(tensor)).second)
      return error(Code::invalid_file, "two tensors have the key {}", key);
  }
  if (at != file.size())
    return error(Code::invalid_file, "{} bytes after the last tensor", file.size() - at);
  return {};
}

Result<Checkpoint> Archive::read_value(Bytes file) {
  PickleOptions pickle_options;
  pickle_options.limits = options_.limits;
  pickle_options.persistent_ids = PersistentIds::archive;
  pickle_options.ignore_unknown = options_.ignore_unknown;
  pickle_options.tensors = &tensors_;
  pickle_options.storages = storages_;
  Checkpoint checkpoint;
  checkpoint.format = CheckpointFormat::archive;
  TRY(checkpoint.tree, read_pickle(file, pickle_options));
  if (checkpoint.tree.end != file.size())
    return error(Code::invalid_file, "{} bytes after STOP at offset {}",
                 file.size() - checkpoint.tree.end, checkpoint.tree.end - 1);
  checkpoint.storages = std::move(records_);
  checkpoint.pickle_name = "pickle";
  return checkpoint;
}

}  // namespace

bool is_tar(Bytes file) { return file.size() >= kBlock && has_checksum(file.first(kBlock)); }

Result<Checkpoint> read_tar_checkpoint(Bytes file, const CheckpointOptions& options) {
  TRY(auto members, read_members(file));
  for (const char* name : {"storages", "tensors", "pickle"})
    if (!members.count(name))
      return error(Code::invalid_file, "not a checkpoint: the tar archive has no member \"{}\"",
                   name);
  Archive archive(options);
  auto done = archive.read_storages(members.find("storages")->second);
  if (!done.ok()) return std::move(done.error()).with_context("member storages");
  done = archive.read_tensors(members.find("tensors")->second);
  if (!done.ok()) return std::move(done.error()).with_context("member tensors");
  return archive.read_value(members.find("pickle")->second).with_context("member pickle");
}

}  // namespace sconce
