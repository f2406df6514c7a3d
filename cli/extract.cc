// sconce extract: payloads, named data and weights out of a program or a .ptd.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include "base/checked.h"
#include "base/file.h"
#include "cli.h"
#include "formats/bpte/bpte.h"
#include "formats/ptd/ptd.h"
#include "formats/xnnpack/xnnpack.h"
#include "model_tensors.h"
#include "pte_text.h"

namespace sconce::cli {
namespace {

// Bytes that become a file of their own.
struct Blob {
  std::string file;  // made here: nothing of the program's can be a path
  std::string what;  // "delegate", "named data", "program"
  std::string name;  // method and id, or key, as the program has it
  Bytes bytes;
};

struct Contents {
  std::vector<Blob> blobs;
  std::vector<NamedTensor> tensors;
};

// Letters, digits, '.', '_' and '-' of a name, other bytes as '_'; never hidden, never long.
std::string file_part(const std::string& name) {
  std::string part;
  for (char c : name.substr(0, 80)) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.' || c == '_' || c == '-';
    part += plain ? c : '_';
  }
  return part;
}

// Weights of XNNPACK whose elements are whole bytes; the others stay as they are, as named data.
std::optional<DType> plain_dtype(XnnDType dtype) {
  switch (dtype) {
    case XnnDType::f32: return DType::f32;
    case XnnDType::f16: return DType::f16;
    case XnnDType::bf16: return DType::bf16;
    case XnnDType::qint8:
    case XnnDType::qcint8: return DType::i8;
    case XnnDType::quint8: return DType::u8;
    case XnnDType::qint32:
    case XnnDType::qcint32:
    case XnnDType::int32: return DType::i32;
    default: return std::nullopt;
  }
}

class Collector {
 public:
  Result<Contents> program(Bytes file, const std::string& path) {
    TRY(Bytes inside, program_in(file).with_context(path));
    if (inside.data() != file.data()) blob("program.pte", "program", "", inside);
    TRY(program_, read_pte(inside).with_context(path));
    for (const PteMethod& method : program_.methods) {
      tensors_of(method);
      for (size_t i = 0; i < method.delegates.size(); i++) delegate(method, i);
    }
    for (const PteNamedData& data : program_.named_data)
      blob(fmt::format("named.{}.{}.bin", named_++, file_part(data.key)), "named data", data.key,
           data.data);
    return std::move(contents_);
  }

  Result<Contents> data_file(Bytes file, const std::string& path) {
    TRY(std::vector<PtdEntry> entries, read_ptd(file).with_context(path));
    for (const PtdEntry& entry : entries) {
      if (entry.is_tensor)
        tensor(entry.key, entry.dtype, entry.sizes, entry.dim_order, entry.bytes);
      else
        blob(fmt::format("named.{}.{}.bin", named_++, file_part(entry.key)), "named data",
             entry.key, entry.bytes);
    }
    return std::move(contents_);
  }

 private:
  void blob(std::string file, std::string what, std::string name, Bytes bytes) {
    contents_.blobs.push_back({std::move(file), std::move(what), std::move(name), bytes});
  }

  void tensor(const std::string& wanted, DType dtype, const std::vector<int32_t>& sizes,
              const std::vector<uint8_t>& dim_order, Bytes bytes) {
    NamedTensor made;
    made.name = wanted;
    for (int n = 2; !names_.insert(made.name).second; n++)
      made.name = fmt::format("{}.{}", wanted, n);
    made.dtype = dtype;
    made.sizes.assign(sizes.begin(), sizes.end());
    made.bytes = bytes;
    if (!std::is_sorted(dim_order.begin(), dim_order.end())) {
      made.owned = reordered(bytes, dtype, sizes, dim_order, {});
      made.bytes = made.owned;
    }
    contents_.tensors.push_back(std::move(made));
  }

  const PteNamedData* find_named(const std::string& key) const {
    for (const PteNamedData& data : program_.named_data)
      if (data.key == key) return &data;
    return nullptr;
  }

  // Each constant and each initial value once, as its largest tensor has it.
  void tensors_of(const PteMethod& method) {
    for (const PteValue& value : method.values) {
      auto* t = std::get_if<PteTensor>(&value);
      if (!t || !is_dtype(t->scalar_type)) continue;
      if (t->external) {
        const PteNamedData* data = find_named(t->name);
        if (data && data->data.size() >= tensor_size(*t) && named_tensors_.insert(t->name).second)
          tensor(t->name, DType(t->scalar_type), t->sizes, t->dim_order,
                 data->data.first(size_t(tensor_size(*t))));
        continue;
      }
      if (!t->data_index) continue;
      bool initial = t->placement.has_value();
      Bytes bytes = (initial ? program_.initial_values : program_.constants)[t->data_index];
      if (tensor_size(*t) != bytes.size() || !stored_.insert({initial, t->data_index}).second)
        continue;
      std::string name = t->name;
      if (name.empty())
        name = fmt::format("{}.{}", initial ? "initial_value" : "constant", t->data_index);
      tensor(name, DType(t->scalar_type), t->sizes, t->dim_order, bytes);
    }
  }

  void delegate(const PteMethod& method, size_t index) {
    const PteDelegate& from = method.delegates[index];
    blob(fmt::format("delegate.{}.{}.{}.{}.bin", delegates_++, file_part(method.name), index,
                     file_part(from.id)),
         "delegate", fmt::format("{}: {} {}", method.name, index, from.id), from.data);
    if (from.id != kXnnBackendId) return;
    auto graph = read_xnnpack(from.data);
    if (!graph.ok()) return;  // its bytes are there all the same
    for (const XnnValue& value : graph->values) {
      auto dtype = plain_dtype(value.dtype);
      if (!value.constant || !dtype) continue;
      const XnnConstant& constant = graph->constants[value.constant];
      std::string name = fmt::format("{}.delegate.{}.{}", method.name, index, value.id);
      Bytes bytes = constant.bytes;
      if (constant.named) {
        const PteNamedData* data = find_named(constant.key);
        if (!data || !named_tensors_.insert(constant.key).second) continue;
        bytes = data->data;
        name = constant.key;
      }
      uint64_t wanted = dtype_bytes(*dtype);
      bool fits = true;
      for (uint32_t dim : value.dims)
        fits &= dim <= INT32_MAX && checked_multiply<uint64_t>(wanted, dim, &wanted);
      if (!fits || wanted != bytes.size()) continue;
      tensor(name, *dtype, {value.dims.begin(), value.dims.end()}, {}, bytes);
    }
  }

  PteProgram program_;
  Contents contents_;
  std::set<std::string> names_, named_tensors_;
  std::set<std::pair<bool, uint32_t>> stored_;
  size_t delegates_ = 0, named_ = 0;
};

std::string manifest_text(const Contents& contents) {
  std::string text = "{\"files\": [";
  const char* comma = "";
  for (const Blob& blob : contents.blobs) {
    text += fmt::format("{}\n  {{\"file\": {}, \"what\": {}, \"name\": {}, \"bytes\": {}}}", comma,
                        json_string(blob.file), json_string(blob.what), json_string(blob.name),
                        blob.bytes.size());
    comma = ",";
  }
  return text + "\n]}\n";
}

// A folder that is there whole or not at all: made beside its place, then renamed.
Result<void> save_folder(const std::string& path, const Contents& contents) {
  namespace fs = std::filesystem;
  std::error_code failed;
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "dir/"
  if (fs::exists(target, failed) &&
      !(fs::is_directory(target, failed) && fs::is_empty(target, failed)))
    return error(Code::invalid_argument, "{}: is there already, and is no empty folder", path);
  fs::path made =
      target.parent_path() / fmt::format(".{}.{}.partial", target.filename().string(), getpid());
  if (!fs::create_directory(made, failed))
    return error(Code::io, "{}: {}", made.string(), failed ? failed.message() : "is there already");
  auto fill = [&]() -> Result<void> {
    for (const Blob& blob : contents.blobs)
      TRY_VOID(save_file((made / blob.file).string(), blob.bytes));
    std::string manifest = manifest_text(contents);
    TRY_VOID(save_file((made / "manifest.json").string(),
                       Bytes(reinterpret_cast<const uint8_t*>(manifest.data()), manifest.size())));
    fs::rename(made, target, failed);
    if (failed) return error(Code::io, "{}: {}", path, failed.message());
    return {};
  };
  Result<void> filled = fill();
  if (!filled.ok()) fs::remove_all(made, failed);
  return filled;
}

}  // namespace

void add_extract(CLI::App& app) {
  struct Options {
    std::string file, folder, weights;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "extract", "Take payloads of delegates, named data and weights out of a program or a .ptd");
  command->add_option("file", options->file, "A .pte, .bpte or .ptd")->required();
  command->add_option("-o,--output", options->folder,
                      "A new folder for delegate payloads, named data and a manifest.json with "
                      "their names");
  command->add_option("--weights", options->weights,
                      "A .safetensors for constants, initial values of state, and weights in "
                      "named data");
  command->add_flag("--json", options->json, "Report as JSON");
  command->footer(
      "Example:\n  sconce extract model.pte -o parts --weights weights.safetensors\nTensors have "
      "the "
      "names of the model where the file keeps them, else constant.INDEX.");
  command->callback([options] {
    bool json = options->json;
    if (options->folder.empty() && options->weights.empty())
      exit_with(error(Code::invalid_argument, "nothing to write: give -o, --weights or both"),
                json);
    MappedFile file = value_or_exit(map_file(options->file), json);
    Bytes bytes = file.bytes();
    bool is_ptd = bytes.size() >= 8 && memcmp(bytes.data() + 4, "FT", 2) == 0;
    Collector collector;
    Contents contents = value_or_exit(is_ptd ? collector.data_file(bytes, options->file)
                                             : collector.program(bytes, options->file),
                                      json);
    if (!options->folder.empty()) done_or_exit(save_folder(options->folder, contents), json);
    if (!options->weights.empty())
      done_or_exit(save_tensors(options->weights, contents.tensors), json);
    uint64_t blob_bytes = 0, tensor_bytes = 0;
    for (const Blob& blob : contents.blobs) blob_bytes += blob.bytes.size();
    for (const NamedTensor& tensor : contents.tensors) tensor_bytes += tensor.bytes.size();
    if (json) {
      fmt::print("{{\"files\": [");
      const char* comma = "";
      for (const Blob& blob : contents.blobs) {
        fmt::print("{}{{\"file\": {}, \"what\": {}, \"name\": {}, \"bytes\": {}}}", comma,
                   json_string(blob.file), json_string(blob.what), json_string(blob.name),
                   blob.bytes.size());
        comma = ", ";
      }
      fmt::print("], \"tensors\": [");
      comma = "";
      for (const NamedTensor& t : contents.tensors) {
        fmt::print("{}{{\"name\": {}, \"dtype\": \"{}\", \"sizes\": [{}]}}", comma,
                   json_string(t.name), dtype_name(t.dtype), fmt::join(t.sizes, ", "));
        comma = ", ";
      }
      fmt::print("]}}\n");
      return;
    }
    if (!options->folder.empty())
      fmt::print("{}: {} files, {}\n", options->folder, contents.blobs.size() + 1,
                 human_bytes(blob_bytes));
    if (!options->weights.empty())
      fmt::print("{}: {} tensors, {}\n", options->weights, contents.tensors.size(),
                 human_bytes(tensor_bytes));
  });
}

}  // namespace sconce::cli
