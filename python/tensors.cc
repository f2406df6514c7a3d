// The Python extension `sconce._tensors`: files of tensors, over include/sconce/tensor_file.h.
//
// It gives bytes, names and shapes; python/sconce/tensors makes arrays of numpy and torch of them.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>

#include "tensors.h"

namespace nb = nanobind;
using namespace sconce;

static nb::object error_type;

void raise(const Error& error, const char* doing) {
  std::string text = doing + error.text;
  nb::object instance = error_type(text);
  instance.attr("code") = int(error.code);
  PyErr_SetObject(error_type.ptr(), instance.ptr());
  throw nb::python_error();
}

nb::tuple shape_tuple(Span<const uint64_t> shape) {
  nb::list sizes;
  for (uint64_t size : shape) sizes.append(size);
  return nb::tuple(sizes);
}

nb::object metadata_dict(const Header& header) {
  if (!header.has_metadata()) return nb::none();
  nb::dict result;
  for (const auto& [key, value] : header.metadata()) result[name_str(key)] = name_str(value);
  return result;
}

namespace {

// What frameworks call the types of the format. F6_* have no name there.
struct FrameworkName {
  const char* name;
  ElementType type;
};
constexpr FrameworkName kFrameworkNames[] = {
    {"bool", ElementType::b8},
    {"int8", ElementType::i8},
    {"uint8", ElementType::u8},
    {"int16", ElementType::i16},
    {"uint16", ElementType::u16},
    {"int32", ElementType::i32},
    {"uint32", ElementType::u32},
    {"int64", ElementType::i64},
    {"uint64", ElementType::u64},
    {"float16", ElementType::f16},
    {"float32", ElementType::f32},
    {"float64", ElementType::f64},
    {"bfloat16", ElementType::bf16},
    {"float8_e4m3fn", ElementType::f8e4m3},
    {"float8_e4m3fnuz", ElementType::f8e4m3fnuz},
    {"float8_e5m2", ElementType::f8e5m2},
    {"float8_e5m2fnuz", ElementType::f8e5m2fnuz},
    {"float8_e8m0fnu", ElementType::f8e8m0},
    {"float4_e2m1fn_x2", ElementType::f4},
    {"complex64", ElementType::c64},
};

// A tensor in memory that the caller keeps alive while it is written.
struct PySpec {
  ElementType type;
  std::vector<uint64_t> shape;
  uint64_t data = 0, bytes = 0;

  PySpec(const std::string& dtype, std::vector<uint64_t> sizes, uint64_t pointer, uint64_t length)
      : shape(std::move(sizes)), data(pointer), bytes(length) {
    const FrameworkName* found = nullptr;
    std::string known;
    for (const FrameworkName& row : kFrameworkNames) {
      if (dtype == row.name) found = &row;
      known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    if (!found)
      raise(error(Code::unsupported, "dtype {} is none of: {}", quoted_name(dtype), known), "");
    type = found->type;
    // Frameworks count pairs of 4-bit elements, the format counts elements.
    if (type == ElementType::f4 && !shape.empty() &&
        __builtin_mul_overflow(shape.back(), uint64_t(2), &shape.back()))
      raise(error(Code::too_large, "the last size, doubled, exceeds 2^64 - 1"), "");
  }
};

struct Request {
  std::vector<TensorSpec> specs;
  std::vector<Bytes> bytes;
  Metadata metadata;
};

constexpr const char* kSerializing = "Error while serializing: ";

Request read_request(nb::dict tensors, std::optional<nb::dict> metadata) {
  Request request;
  for (auto [name, value] : tensors) {
    std::string text;
    const PySpec* spec = nullptr;
    if (!nb::try_cast(name, text)) throw nb::type_error("names of tensors are to be str");
    if (!nb::try_cast(value, spec) || !spec)
      throw nb::type_error("values of the dict are to be TensorSpec");
    TensorSpec wanted{text, spec->type, spec->shape};
    uint64_t bytes = value_or_raise(
        tensor_bytes(wanted.type, wanted.shape).with_context("tensor " + quoted_name(text)),
        kSerializing);
    if (bytes != spec->bytes)
      raise(error(Code::invalid_argument,
                  "InvalidTensorView: tensor {}: {} {} takes {} bytes, {} are given",
                  quoted_name(text), element_name(wanted.type), shape_text(wanted.shape), bytes,
                  spec->bytes),
            kSerializing);
    if (bytes > 0 && spec->data == 0)
      raise(error(Code::invalid_argument, "tensor {}: its data is at address 0", quoted_name(text)),
            kSerializing);
    request.specs.push_back(std::move(wanted));
    request.bytes.emplace_back(reinterpret_cast<const uint8_t*>(spec->data), spec->bytes);
  }
  if (metadata)
    for (auto [key, value] : *metadata) {
      std::string k, v;
      if (!nb::try_cast(key, k) || !nb::try_cast(value, v))
        throw nb::type_error("metadata is to be a dict of str to str");
      request.metadata.emplace_back(k, v);
    }
  return request;
}

nb::bytes serialize(nb::dict tensors, std::optional<nb::dict> metadata) {
  Request request = read_request(tensors, metadata);
  Layout layout = value_or_raise(
      plan_layout(request.specs, request.metadata, {.empty_metadata = metadata.has_value()}),
      kSerializing);
  PyObject* made =
      PyBytes_FromStringAndSize(nullptr, Py_ssize_t(layout.head.size() + layout.data_bytes));
  if (!made) throw nb::python_error();
  char* to = PyBytes_AS_STRING(made);
  {
    nb::gil_scoped_release unlocked;
    memcpy(to, layout.head.data(), layout.head.size());
    to += layout.head.size();
    for (const PlacedSpec& placed : layout.tensors)
      if (Bytes bytes = request.bytes[placed.spec]; !bytes.empty())
        memcpy(to + placed.begin, bytes.data(), bytes.size());
  }
  return nb::steal<nb::bytes>(made);
}

void serialize_file(nb::dict tensors, nb::object path, std::optional<nb::dict> metadata,
                    uint64_t data_alignment, uint64_t metadata_room, bool durable) {
  Request request = read_request(tensors, metadata);
  auto text = nb::cast<std::string>(nb::module_::import_("os").attr("fspath")(path));
  bool has_metadata = metadata.has_value();
  auto write = [&]() -> Result<void> {
    nb::gil_scoped_release unlocked;
    WriteOptions options{{data_alignment, metadata_room, has_metadata}, durable};
    TRY(TensorWriter writer,
        TensorWriter::create(text, std::move(request.specs), request.metadata, options));
    for (const PlacedSpec& placed : writer.order())
      TRY_VOID(writer.append(request.bytes[placed.spec]));
    return writer.finish();
  };
  if (auto done = write(); !done.ok()) raise(done.error(), kSerializing);
}

AcceptMode accept_mode(const std::string& name) {
  if (name == "strict") return AcceptMode::strict;
  if (name == "standard") return AcceptMode::standard;
  if (name == "reference") return AcceptMode::reference;
  raise(error(Code::invalid_argument, "accept is {}, wanted strict, standard or reference",
              quoted_name(name)),
        "");
}

nb::list deserialize(nb::bytes data, const std::string& accept) {
  Bytes bytes(static_cast<const uint8_t*>(data.data()), data.size());
  Header header = value_or_raise(parse_header(bytes, bytes.size(), accept_mode(accept)),
                                 "Error while deserializing: ");
  nb::list items;
  for (const TensorInfo& info : header.tensors()) {
    Bytes part = bytes.subspan(header.data_offset() + info.begin, info.bytes());
    nb::dict item;
    item["shape"] = nb::list(shape_tuple(info.shape));
    item["dtype"] = name_str(element_name(info.type));
    item["data"] = nb::steal(PyByteArray_FromStringAndSize(
        reinterpret_cast<const char*>(part.data()), Py_ssize_t(part.size())));
    items.append(nb::make_tuple(name_str(info.name), item));
  }
  return items;
}

// Memory of a loaded file; arrays made of it keep it alive.
struct PyMemory {
  std::shared_ptr<TensorFile> file;
  std::shared_ptr<LoadedTensors> loaded;
};

class PyFile {
 public:
  PyFile(const std::string& path, const std::string& accept) {
    OpenOptions options{accept_mode(accept)};
    auto opened = [&] {
      nb::gil_scoped_release unlocked;
      return TensorFile::open(path, options);
    }();
    file_ = std::make_shared<TensorFile>(
        value_or_raise(std::move(opened), "Error while deserializing header: "));
  }

  nb::list keys() const {
    // Of one file without the records of all its tensors: there may be 100,000.
    if (!file_->has_index()) return name_list(file_->shards()[0].header.by_name());
    std::vector<const TensorRecord*> records;
    for (const TensorRecord& tensor : file_->tensors()) records.push_back(&tensor);
    return name_list(records);
  }
  nb::list offset_keys() const {
    nb::list names;
    for (const TensorShard& shard : file_->shards())
      for (const TensorInfo& info : shard.header.tensors())
        if (file_->shards().size() == 1 ||
            &shard == &file_->shards()[file_->find(info.name)->shard])
          names.append(name_str(info.name));
    return names;
  }
  nb::object metadata() const {
    if (file_->shards().empty()) return nb::none();
    return metadata_dict(file_->shards()[0].header);
  }
  nb::list warnings() const {
    nb::list texts;
    for (const std::string& text : file_->warnings()) texts.append(text);
    return texts;
  }
  // (dtype, shape, bytes), None when there is no such tensor.
  nb::object info(const std::string& name) const {
    std::optional<TensorRecord> tensor = file_->find(name);
    if (!tensor) return nb::none();
    return nb::make_tuple(name_str(element_name(tensor->type)), shape_tuple(tensor->shape),
                          tensor->bytes);
  }
  // Fills `out`, of as many bytes as the tensor.
  void read_into(const std::string& name, ByteArray out) const {
    TensorRecord tensor = find(name);
    if (out.size() != tensor.bytes)
      raise(error(Code::invalid_argument, "{} bytes for tensor {}, which has {}", out.size(),
                  quoted_name(name), tensor.bytes),
            "");
    auto done = [&] {
      nb::gil_scoped_release unlocked;
      return file_->read(tensor, out.data());
    }();
    if (!done.ok()) raise(done.error(), "");
  }
  // A part as bytes: (start, stop, select) for each of the leading dimensions.
  nb::tuple slice(const std::string& name,
                  const std::vector<std::tuple<uint64_t, uint64_t, bool>>& ranges) const {
    TensorRecord tensor = find(name);
    std::vector<SliceRange> wanted;
    for (auto [start, stop, select] : ranges) wanted.push_back({start, stop, select});
    Slice slice = value_or_raise(plan_slice(tensor.type, tensor.shape, wanted));
    PyObject* made = PyByteArray_FromStringAndSize(nullptr, Py_ssize_t(slice.bytes));
    if (!made) throw nb::python_error();
    nb::object out = nb::steal(made);
    auto* to = reinterpret_cast<uint8_t*>(PyByteArray_AS_STRING(made));
    {
      nb::gil_scoped_release unlocked;
      copy_slice(slice, file_->bytes(tensor), to);
    }
    return nb::make_tuple(out, shape_tuple(slice.shape));
  }
  PyMemory load(const std::string& method, uint32_t threads) const {
    LoadOptions options;
    options.threads = threads;
    options.method = method == "map"    ? LoadMethod::map
                     : method == "read" ? LoadMethod::read
                                        : LoadMethod::automatic;
    auto loaded = [&] {
      nb::gil_scoped_release unlocked;
      return file_->load(options);
    }();
    return {file_, std::make_shared<LoadedTensors>(value_or_raise(std::move(loaded)))};
  }

 private:
  TensorRecord find(const std::string& name) const {
    std::optional<TensorRecord> tensor = file_->find(name);
    if (!tensor) raise(error(Code::not_found, "File does not contain tensor {}", name), "");
    return *tensor;
  }
  std::shared_ptr<TensorFile> file_;
};

// The bytes of each shard as an array that keeps the memory alive: [(array, [(name, dtype, shape,
// offset in the array, bytes)...])...].
nb::list memory_shards(const PyMemory& memory) {
  nb::list result;
  const TensorFile& file = *memory.file;
  std::vector<std::vector<const TensorRecord*>> by_shard(file.shards().size());
  for (const TensorRecord& tensor : file.tensors()) by_shard[tensor.shard].push_back(&tensor);
  for (auto& records : by_shard) {
    std::sort(records.begin(), records.end(),
              [](const TensorRecord* a, const TensorRecord* b) { return a->offset < b->offset; });
    nb::list rows;
    uint8_t* base = nullptr;
    size_t bytes = 0;
    if (!records.empty()) {
      base = memory.loaded->data(*records.front());
      bytes = records.back()->offset + records.back()->bytes - records.front()->offset;
    }
    for (const TensorRecord* record : records)
      rows.append(nb::make_tuple(name_str(record->name), name_str(element_name(record->type)),
                                 shape_tuple(record->shape),
                                 record->offset - records.front()->offset, record->bytes));
    auto* keep = new std::shared_ptr<LoadedTensors>(memory.loaded);
    nb::capsule owner(
        keep, [](void* p) noexcept { delete static_cast<std::shared_ptr<LoadedTensors>*>(p); });
    static uint8_t nothing = 0;
    result.append(
        nb::make_tuple(nb::cast(ByteArray(bytes ? base : &nothing, {bytes}, owner)), rows));
  }
  return result;
}

}  // namespace

NB_MODULE(_tensors, m) {
  error_type =
      nb::steal(PyErr_NewException("sconce.tensors.SafetensorError", PyExc_Exception, nullptr));
  m.attr("SafetensorError") = error_type;
  nb::class_<PySpec>(m, "TensorSpec",
                     "A tensor in memory, to be written. The caller keeps the memory alive.")
      .def(nb::init<const std::string&, std::vector<uint64_t>, uint64_t, uint64_t>(), nb::kw_only(),
           nb::arg("dtype"), nb::arg("shape"), nb::arg("data_ptr"), nb::arg("data_len"))
      .def_prop_ro("dtype", [](const PySpec& s) { return name_str(element_name(s.type)); })
      .def_prop_ro("shape", [](const PySpec& s) { return s.shape; })
      .def_prop_ro("data_ptr", [](const PySpec& s) { return s.data; })
      .def_prop_ro("data_len", [](const PySpec& s) { return s.bytes; })
      .def("__repr__", [](const PySpec& s) {
        return fmt::format("TensorSpec(dtype='{}', shape={}, data_ptr={}, data_len={})",
                           element_name(s.type), shape_text(s.shape), s.data, s.bytes);
      });
  m.def("serialize", &serialize, nb::arg("tensor_dict"), nb::arg("metadata") = nb::none(),
        "The bytes of a file with these tensors, {name: TensorSpec}.");
  m.def("serialize_file", &serialize_file, nb::arg("tensor_dict"), nb::arg("filename"),
        nb::arg("metadata") = nb::none(), nb::kw_only(), nb::arg("data_alignment") = 8,
        nb::arg("metadata_room") = 0, nb::arg("durable") = false,
        "Writes a file with these tensors, {name: TensorSpec}, whole or not at all.");
  m.def("deserialize", &deserialize, nb::arg("bytes"), nb::arg("accept") = "standard",
        "[(name, {'shape', 'dtype', 'data'})] of the bytes of a file.");
  nb::class_<PyMemory>(m, "Memory").def("shards", &memory_shards);
  nb::class_<PyFile>(m, "File")
      .def(nb::init<const std::string&, const std::string&>(), nb::arg("path"),
           nb::arg("accept") = "standard")
      .def("keys", &PyFile::keys)
      .def("offset_keys", &PyFile::offset_keys)
      .def("metadata", &PyFile::metadata)
      .def("warnings", &PyFile::warnings)
      .def("info", &PyFile::info, nb::arg("name"))
      .def("read_into", &PyFile::read_into, nb::arg("name"), nb::arg("out").noconvert())
      .def("slice", &PyFile::slice, nb::arg("name"), nb::arg("ranges"))
      .def("load", &PyFile::load, nb::arg("method"), nb::arg("threads") = 0);
  add_containers(m);
}
