// The archive: which entries there are, their versions, and the weights behind the names. The JSON
// inside is read by program.cc, the container by zip.cc.
#include "formats/pt2/pt2.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/checked.h"
#include "formats/pt2/program.h"
#include "formats/pt2/storage.h"
#include "formats/zip/zip.h"

namespace sconce::pt2 {
namespace {

constexpr std::string_view kArchiveVersion = "0";
constexpr std::string_view kModels = "models/", kJson = ".json";
constexpr std::string_view kWeights = "data/weights/", kConstants = "data/constants/";
constexpr std::string_view kExtra = "extra/";

std::string_view text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T>
const T* find(Span<const Named<T>> table, std::string_view name) {
  auto found = std::lower_bound(
      table.begin(), table.end(), name,
      [](const Named<T>& item, std::string_view wanted) { return item.name < wanted; });
  return found != table.end() && found->name == name ? &found->value : nullptr;
}

const Weight* find(Span<const Weight> weights, std::string_view name) {
  auto found = std::lower_bound(
      weights.begin(), weights.end(), name,
      [](const Weight& weight, std::string_view wanted) { return weight.name < wanted; });
  return found != weights.end() && found->name == name ? &*found : nullptr;
}

class ArchiveReader {
 public:
  ArchiveReader(Bytes file, const ReadOptions& options, Storage& storage)
      : file_(file), options_(options), storage_(storage) {}

  Result<void> read(Archive* out) {
    TRY(zip_, read_zip(file_));
    TRY_VOID(check_versions());
    std::vector<const ZipEntry*> models;
    for (const ZipEntry& entry : zip_.entries) {
      std::string_view name = inner_name(entry);
      if (name.starts_with(kModels) && name.ends_with(kJson) &&
          name.size() > kModels.size() + kJson.size())
        models.push_back(&entry);
    }
    if (models.empty())
      return error(Code::unsupported,
                   "the archive holds no exported program (no models/NAME.json)");
    Span<Program> programs = storage_.allocate<Program>(models.size());
    for (size_t i = 0; i < models.size(); i++) {
      std::string_view name = inner_name(*models[i]);
      name = name.substr(kModels.size(), name.size() - kModels.size() - kJson.size());
      TRY(programs[i], read_model(*models[i], name));
    }
    std::sort(programs.begin(), programs.end(),
              [](const Program& a, const Program& b) { return a.name < b.name; });
    out->programs = programs;
    return read_extra_files(out);
  }

 private:
  std::string_view inner_name(const ZipEntry& entry) const {
    return entry.name.starts_with(root_) ? entry.name.substr(root_.size()) : std::string_view();
  }
  const ZipEntry* find_inner(std::string_view folder, std::string_view name,
                             std::string_view suffix = "") const {
    std::string full(root_);
    return find_entry(zip_, full.append(folder).append(name).append(suffix));
  }

  // All entries stand in one folder, whose name is the writer's choice.
  Result<void> check_versions() {
    size_t slash = zip_.first_name.find('/');
    if (zip_.entries.empty() || slash == std::string_view::npos)
      return error(Code::invalid_file, "not an archive of torch.export.save: no top folder");
    root_ = zip_.first_name.substr(0, slash + 1);
    const ZipEntry* format = find_inner("", "archive_format");
    if (!format) {
      if (find_entry(zip_, "serialized_exported_program.json") ||
          find_inner("", "serialized_exported_program.json"))
        return error(Code::unsupported,
                     "archive of an older torch, whose weights are pickled; save it again with "
                     "torch 2.9 or later");
      return error(Code::invalid_file,
                   "not an archive of torch.export.save: entry \"archive_format\" is missing");
    }
    TRY_VOID(verify_crc(*format));
    if (text(format->bytes) != "pt2")
      return error(Code::invalid_file, "archive_format is \"{:.20}\", wanted \"pt2\"",
                   text(format->bytes));
    const ZipEntry* version = find_inner("", "archive_version");
    if (!version) return error(Code::invalid_file, "entry \"archive_version\" is missing");
    TRY_VOID(verify_crc(*version));
    if (text(version->bytes) != kArchiveVersion)
      return error(Code::unsupported, "archive_version is \"{:.20}\", wanted \"{}\"",
                   text(version->bytes), kArchiveVersion);
    if (const ZipEntry* order = find_inner("", "byteorder")) {
      TRY_VOID(verify_crc(*order));
      if (text(order->bytes) != "little")
        return error(Code::unsupported, "byteorder is \"{:.20}\", wanted \"little\"",
                     text(order->bytes));
    }
    return {};
  }

  // Parses an entry. The strings stay in the Storage; `document` holds the rest.
  Result<simdjson::dom::element> parse(const ZipEntry& entry, simdjson::dom::document* document) {
    if (entry.bytes.size() > options_.json_bytes_max)
      return error(Code::too_large, "{} bytes exceed the limit of {}", entry.bytes.size(),
                   options_.json_bytes_max);
    TRY_VOID(verify_crc(entry));
    // The parser reads a little past the end: in place when the file goes on, else from a copy.
    size_t end = size_t(entry.bytes.data() - file_.data()) + entry.bytes.size();
    bool needs_copy = file_.size() - end < simdjson::SIMDJSON_PADDING;
    simdjson::dom::element root;
    auto problem =
        parser_.parse_into_document(*document, entry.bytes.data(), entry.bytes.size(), needs_copy)
            .get(root);
    if (problem)
      return error(problem == simdjson::DEPTH_ERROR ? Code::too_large : Code::invalid_file,
                   "not proper JSON: {}", simdjson::error_message(problem));
    return root;
  }

  Result<Program> read_model(const ZipEntry& entry, std::string_view name) {
    Program program;
    {
      simdjson::dom::document document;
      auto root = parse(entry, &document);
      if (!root.ok()) return std::move(root.error()).with_context(std::string(inner_name(entry)));
      auto read = read_program(*root, options_, storage_);
      if (!read.ok()) return std::move(read.error()).with_context(std::string(inner_name(entry)));
      program = *read;
      storage_.strings.push_back(std::move(document.string_buf));
    }
    program.name = name;
    TRY(program.weights, read_weights(name, kWeights, "_weights_config.json"));
    TRY(program.constants, read_weights(name, kConstants, "_constants_config.json"));
    if (auto done = check_inputs(program); !done.ok())
      return std::move(done.error()).with_context(fmt::format("model \"{}\"", name));
    return program;
  }

  Result<Span<const Weight>> read_weights(std::string_view model, std::string_view folder,
                                          std::string_view config) {
    const ZipEntry* entry = find_inner(folder, model, config);
    if (!entry) {
      if (find_inner(folder, model, ".pt"))
        return error(Code::unsupported,
                     "{}{}.pt is a pickle, which can run code; save the model again with torch "
                     "2.9 or later",
                     folder, model);
      return error(Code::invalid_file, "entry \"{}{}{}\" is missing", folder, model, config);
    }
    std::string place(inner_name(*entry));
    simdjson::dom::document document;
    auto root = parse(*entry, &document);
    if (!root.ok()) return std::move(root.error()).with_context(place);
    auto payloads = read_payloads(*root, storage_);
    if (!payloads.ok()) return std::move(payloads.error()).with_context(place);
    storage_.strings.push_back(std::move(document.string_buf));
    Span<Weight> weights = storage_.allocate<Weight>(payloads->size());
    for (size_t i = 0; i < weights.size(); i++) {
      const Named<Payload>& payload = (*payloads)[i];
      auto weight = read_weight(payload, folder);
      if (!weight.ok())
        return std::move(weight.error())
            .with_context(fmt::format("{}: \"{}\"", place, payload.name));
      weights[i] = *weight;
    }
    return Span<const Weight>(weights);
  }

  Result<Weight> read_weight(const Named<Payload>& payload, std::string_view folder) {
    const Payload& from = payload.value;
    if (from.is_pickle)
      return error(Code::unsupported,
                   "\"{}\" is a pickle, which can run code; tensor subclasses and custom objects "
                   "must become plain tensors before the export",
                   from.path);
    if (!from.meta) return error(Code::invalid_file, "tensor_meta is missing");
    const TensorMeta& meta = *from.meta;
    if (meta.layout != Layout::strided)
      return error(Code::unsupported, "layout {} is not dense (strided)", int(meta.layout));
    Weight weight;
    weight.name = payload.name;
    weight.dtype = meta.dtype;
    weight.is_parameter = from.is_parameter;
    weight.requires_grad = meta.requires_grad;
    TRY(weight.sizes, constants(meta.sizes, "size"));
    TRY(weight.strides, constants(meta.strides, "stride"));
    TRY(auto offset, constants({&meta.storage_offset, 1}, "storage_offset"));
    weight.storage_offset = offset[0];
    TRY(weight.storage, payload_bytes(folder, from.path, &weight.path));
    return place_elements(weight);
  }

  Result<Span<const int64_t>> constants(Span<const SymInt> numbers, const char* what) {
    Span<int64_t> result = storage_.allocate<int64_t>(numbers.size());
    for (size_t i = 0; i < numbers.size(); i++) {
      if (!numbers[i].is_constant())
        return error(Code::invalid_file, "{} \"{}\" is symbolic, wanted a number", what,
                     numbers[i].expr);
      if (*numbers[i].hint < 0)
        return error(Code::invalid_file, "{} {} is negative", what, *numbers[i].hint);
      result[i] = *numbers[i].hint;
    }
    return Span<const int64_t>(result);
  }

  // The bytes of data/.../NAME; aligned for every element type, copied if they are not.
  Result<Bytes> payload_bytes(std::string_view folder, std::string_view name,
                              std::string_view* path) {
    const ZipEntry* entry = find_inner(folder, name);
    if (!entry)
      return error(Code::invalid_file, "entry \"{}{}\" that holds it is missing", folder, name);
    *path = inner_name(*entry);
    auto [found, is_new] = payloads_.emplace(entry, entry->bytes);
    if (!is_new) return found->second;
    if (options_.verify_weights) TRY_VOID(verify_crc(*entry));
    constexpr uintptr_t kAlignment = 16;
    if (reinterpret_cast<uintptr_t>(entry->bytes.data()) % kAlignment != 0 &&
        !entry->bytes.empty()) {
      struct alignas(kAlignment) Block {
        uint8_t bytes[kAlignment];
      };
      Span<Block> blocks =
          storage_.allocate<Block>((entry->bytes.size() + kAlignment - 1) / kAlignment);
      std::memcpy(blocks.data(), entry->bytes.data(), entry->bytes.size());
      found->second = {blocks[0].bytes, entry->bytes.size()};
    }
    return found->second;
  }

  // Sets `bytes`: what sizes, strides and offset select from the storage.
  static Result<Weight> place_elements(Weight weight) {
    int64_t element = int64_t(dtype_bytes(weight.dtype)), last = 0, begin, end;
    bool fits = true, empty = false;
    for (size_t i = 0; i < weight.sizes.size(); i++) {
      int64_t reach = 0;
      if (weight.sizes[i] == 0)
        empty = true;
      else
        fits = fits && checked_multiply(weight.sizes[i] - 1, weight.strides[i], &reach) &&
               checked_add(last, reach, &last);
    }
    fits = fits && checked_multiply(weight.storage_offset, element, &begin);
    if (empty && fits && uint64_t(begin) <= weight.storage.size()) {
      weight.bytes = weight.storage.subspan(size_t(begin), 0);
      return weight;
    }
    fits = fits && checked_add(last, int64_t(1), &last) && checked_multiply(last, element, &end) &&
           checked_add(begin, end, &end);
    if (!fits || uint64_t(end) > weight.storage.size()) {
      if (weight.storage.empty())
        return error(Code::unsupported,
                     "\"{}\" has no bytes: the model was exported with fake tensors", weight.path);
      return error(Code::invalid_file,
                   "sizes [{}] with strides [{}] from element {} pass the end of \"{}\", {} bytes",
                   fmt::join(weight.sizes, ", "), fmt::join(weight.strides, ", "),
                   weight.storage_offset, weight.path, weight.storage.size());
    }
    weight.bytes = weight.storage.subspan(size_t(begin), size_t(end - begin));
    return weight;
  }

  // Every parameter, buffer and constant has its data, of the type and sizes the graph expects.
  static Result<void> check_inputs(const Program& program) {
    for (const InputSpec& spec : program.inputs) {
      bool has_data = spec.kind == InputSpec::Kind::parameter ||
                      spec.kind == InputSpec::Kind::buffer ||
                      spec.kind == InputSpec::Kind::tensor_constant;
      if (!has_data) continue;
      const Weight* weight = find_data(program, spec);
      if (!weight)
        return error(Code::invalid_file, "no data for \"{}\", which input \"{}\" needs",
                     spec.target, spec.arg.name);
      const TensorMeta* meta = find_tensor(program.graph, spec.arg.name);
      CHECK(meta);  // names were resolved
      bool agrees = meta->dtype == weight->dtype && meta->sizes.size() == weight->sizes.size();
      for (size_t i = 0; agrees && i < weight->sizes.size(); i++)
        agrees = !meta->sizes[i].is_constant() || *meta->sizes[i].hint == weight->sizes[i];
      if (!agrees)
        return error(Code::invalid_file,
                     "data of \"{}\" is {} [{}], which differs from input \"{}\" of the graph",
                     spec.target, dtype_name(weight->dtype), fmt::join(weight->sizes, ", "),
                     spec.arg.name);
    }
    return {};
  }

  Result<void> read_extra_files(Archive* out) {
    size_t count = 0;
    for (const ZipEntry& entry : zip_.entries) count += inner_name(entry).starts_with(kExtra);
    Span<Named<Bytes>> files = storage_.allocate<Named<Bytes>>(count);
    count = 0;
    for (const ZipEntry& entry : zip_.entries) {
      if (!inner_name(entry).starts_with(kExtra)) continue;
      TRY_VOID(verify_crc(entry));
      files[count++] = {inner_name(entry).substr(kExtra.size()), entry.bytes};
    }
    out->extra_files = files;
    return {};
  }

  Bytes file_;
  const ReadOptions& options_;
  Storage& storage_;
  ZipArchive zip_;
  std::string_view root_;  // "model/": folder that holds everything
  simdjson::dom::parser parser_;
  std::unordered_map<const ZipEntry*, Bytes> payloads_;  // where each was put
};

}  // namespace

void StorageDelete::operator()(Storage* storage) const { delete storage; }

Result<Archive> read_archive(Bytes file, const ReadOptions& options) {
  Archive archive;
  archive.storage.reset(new Storage);
  ArchiveReader reader(file, options, *archive.storage);
  TRY_VOID(reader.read(&archive));
  return archive;
}

const TensorMeta* find_tensor(const Graph& graph, std::string_view name) {
  return find(graph.tensor_values, name);
}
const SymInt* find_sym_int(const Graph& graph, std::string_view name) {
  return find(graph.sym_int_values, name);
}
const SymFloat* find_sym_float(const Graph& graph, std::string_view name) {
  return find(graph.sym_float_values, name);
}
const SymBool* find_sym_bool(const Graph& graph, std::string_view name) {
  return find(graph.sym_bool_values, name);
}
const Range* find_range(const Program& program, std::string_view symbol) {
  return find(program.range_constraints, symbol);
}
const Weight* find_weight(const Program& program, std::string_view name) {
  return find(program.weights, name);
}
const Weight* find_constant(const Program& program, std::string_view name) {
  return find(program.constants, name);
}

const Weight* find_data(const Program& program, const InputSpec& spec) {
  switch (spec.kind) {
    case InputSpec::Kind::parameter: return find_weight(program, spec.target);
    case InputSpec::Kind::buffer:
      return spec.persistent ? find_weight(program, spec.target)
                             : find_constant(program, spec.target);
    case InputSpec::Kind::tensor_constant: return find_constant(program, spec.target);
    default: return nullptr;
  }
}

bool is_contiguous(const Weight& weight) {
  int64_t stride = 1;
  for (size_t i = weight.sizes.size(); i-- > 0;) {
    if (weight.sizes[i] == 0) return true;
    if (weight.sizes[i] != 1 && weight.strides[i] != stride) return false;
    stride *= weight.sizes[i];
  }
  return true;
}

const char* kind_name(Argument::Kind kind) {
  using Kind = Argument::Kind;
  switch (kind) {
    case Kind::none: return "none";
    case Kind::tensor: return "tensor";
    case Kind::sym_int: return "sym_int";
    case Kind::sym_float: return "sym_float";
    case Kind::sym_bool: return "sym_bool";
    case Kind::custom_obj: return "custom_obj";
    case Kind::token: return "token";
    case Kind::integer: return "integer";
    case Kind::floating: return "floating";
    case Kind::boolean: return "boolean";
    case Kind::complex: return "complex";
    case Kind::string: return "string";
    case Kind::dtype: return "dtype";
    case Kind::layout: return "layout";
    case Kind::memory_format: return "memory_format";
    case Kind::device: return "device";
    case Kind::op: return "op";
    case Kind::graph: return "graph";
    case Kind::tensors: return "tensors";
    case Kind::optional_tensors: return "optional_tensors";
    case Kind::tensor_lists: return "tensor_lists";
    case Kind::integers: return "integers";
    case Kind::integer_lists: return "integer_lists";
    case Kind::floats: return "floats";
    case Kind::float_lists: return "float_lists";
    case Kind::booleans: return "booleans";
    case Kind::strings: return "strings";
    case Kind::sym_ints: return "sym_ints";
    case Kind::sym_floats: return "sym_floats";
    case Kind::sym_bools: return "sym_bools";
    case Kind::dictionary: return "dictionary";
  }
  return "?";
}

}  // namespace sconce::pt2
