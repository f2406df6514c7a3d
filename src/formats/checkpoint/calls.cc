// What names mean, and what calling those of the list (globals.h) would give: plain values.
#include "formats/checkpoint/interpreter.h"

#include <algorithm>
#include <bit>

#include "formats/checkpoint/utf8.h"
#include "formats/checkpoint/view.h"
#include "tensor/half.h"

namespace sconce::pickle {

using Kind = PickleKind;

const TorchType* array_type_of(std::string_view name) {
  constexpr struct {
    std::string_view array, torch;
  } kTypes[] = {
      {"b1", "bool"},    {"?", "bool"},       {"i1", "int8"},        {"u1", "uint8"},
      {"i2", "int16"},   {"u2", "uint16"},    {"i4", "int32"},       {"u4", "uint32"},
      {"i8", "int64"},   {"u8", "uint64"},    {"f2", "float16"},     {"f4", "float32"},
      {"f8", "float64"}, {"c8", "complex64"}, {"c16", "complex128"},
  };
  for (const auto& type : kTypes)
    if (type.array == name) return find_torch_type(type.torch);
  return nullptr;
}

// ---- Names ----

Result<ValueId> Interpreter::global(std::string_view module, std::string_view name) {
  if (module.size() + name.size() > limits_.global_bytes_max)
    return fail(Code::too_large, "global of {} bytes exceeds the limit of {}",
                module.size() + name.size(), limits_.global_bytes_max);
  const GlobalRow* row = find_global(module, name);
  std::string full = readable(module) + "." + readable(name);
  PickleValue result;
  if (row) {
    if (seen_.insert(row).second) tree_.globals.emplace_back(full, uint32_t(op_at_));
    result.kind = row->kind == GlobalKind::dtype       ? Kind::dtype
                  : row->kind == GlobalKind::text_like ? Kind::text_like
                                                       : Kind::global;
    if (row->kind == GlobalKind::dtype) {
      result.type = row->type;
    } else if (row->kind == GlobalKind::text_like) {
      result.data = row->name.data();
      result.count = uint32_t(row->name.size());
    } else {
      result.global = row;
    }
    return add(result);
  }
  bool is_script =
      options_.script_classes && (module == "__torch__" || module.starts_with("__torch__."));
  if (!options_.ignore_unknown && !is_script)
    return fail(Code::unsupported,
                "global {} is not on the list of what a checkpoint may name. Nothing was run. Look "
                "at the file with --scan; its tensors alone can be had with --ignore-unknown",
                full);
  auto [at, added] = unknown_index_.try_emplace(full, uint32_t(tree_.unknown.size()));
  if (added) tree_.unknown.push_back({full, uint32_t(op_at_), opcode_name(opcode_), 0, 0});
  tree_.unknown[at->second].named_count++;
  result.kind = Kind::placeholder;
  result.index = uint32_t(tree_.placeholders.size());
  tree_.placeholders.push_back({.unknown = at->second});
  return add(result);
}

// ---- Calls ----

Result<ValueId> Interpreter::call_placeholder(ValueId callable, ValueId arguments) {
  uint32_t unknown = tree_.placeholders[value(callable).index].unknown;
  tree_.unknown[unknown].called_count++;
  PickleValue result;
  result.kind = Kind::placeholder;
  result.index = uint32_t(tree_.placeholders.size());
  tree_.placeholders.push_back({.unknown = unknown, .called = true, .arguments = arguments});
  return add(result);
}

Result<ValueId> Interpreter::call(ValueId callable, ValueId arguments, bool is_new) {
  if (kind(arguments) != Kind::tuple)
    return broken("arguments are {}, wanted a tuple", kind_name(kind(arguments)));
  if (kind(callable) == Kind::placeholder) return call_placeholder(callable, arguments);
  if (kind(callable) != Kind::global)
    return broken("{} cannot be called", kind_name(kind(callable)));
  const GlobalRow& row = *value(callable).global;
  callee_ = fmt::format("{}.{}", row.module, row.name);
  return call_listed(row, arguments, is_new);
}

Result<Span<const ValueId>> Interpreter::arguments_of(ValueId id, size_t min, size_t max) const {
  Span<const ValueId> items = tree_.items(id);
  if (items.size() < min || items.size() > max)
    return broken("{}: {} arguments, wanted {}", callee_, items.size(),
                  min == max ? fmt::format("{}", min) : fmt::format("{} to {}", min, max));
  return items;
}

Result<int64_t> Interpreter::integer(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::integer) return wrong(what, id, "an int of 64 bits");
  return value(id).integer;
}

Result<std::vector<int64_t>> Interpreter::integers(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::tuple && kind(id) != Kind::list) return wrong(what, id, "a tuple of ints");
  Span<const ValueId> items = tree_.items(id);
  if (items.size() > limits_.rank_max)
    return fail(Code::too_large, "{}: {} has {} dimensions, at most {} are possible", callee_, what,
                items.size(), limits_.rank_max);
  std::vector<int64_t> numbers;
  for (ValueId item : items) {
    TRY(int64_t number, integer(item, what));
    numbers.push_back(number);
  }
  return numbers;
}

Result<std::string_view> Interpreter::string(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::text) return wrong(what, id, "a text");
  return tree_.text(id);
}

Result<Bytes> Interpreter::raw_bytes(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::bytes && !(kind(id) == Kind::text && value(id).flag))
    return wrong(what, id, "bytes");
  std::string_view text = tree_.text(id);
  return Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

// Bytes of all elements, or an error; `strides` empty: dense, filled in C order.
static bool fill_strides(const std::vector<int64_t>& sizes, bool fortran,
                         std::vector<int64_t>* strides, uint64_t* count) {
  strides->assign(sizes.size(), 0);
  uint64_t product = 1;
  for (size_t i = 0; i < sizes.size(); i++) {
    size_t dim = fortran ? i : sizes.size() - 1 - i;
    if (sizes[dim] < 0 || product > uint64_t(INT64_MAX)) return false;
    (*strides)[dim] = int64_t(product);
    if (!checked_multiply(product, uint64_t(sizes[dim]), &product)) return false;
  }
  *count = product;
  return true;
}

// storage, offset, size, stride, ...: checked to lie in the storage.
Result<PickleTensor> Interpreter::view_tensor(Span<const ValueId> arguments,
                                              const TorchType* type) {
  if (kind(arguments[0]) != Kind::storage) return wrong("storage", arguments[0], "a storage");
  const PickleStorageView view = tree_.views[value(arguments[0]).index];
  const PickleStorage& storage = tree_.storages[view.storage];
  TRY(int64_t begin, integer(arguments[1], "offset"));
  PickleTensor tensor;
  TRY(tensor.sizes, integers(arguments[2], "size"));
  TRY(tensor.strides, integers(arguments[3], "stride"));
  tensor.type = type ? type : storage.type;
  tensor.storage = view.storage;
  // The storage in elements of the tensor.
  uint64_t view_begin = view.begin, limit = 0;
  if (tensor.type != storage.type) {
    if (!storage.untyped)
      return broken("{}: tensor of {} over a storage of {}", callee_, tensor.type->name,
                    storage.type->name);
    limit = view.count / tensor.type->bytes;
    if (view_begin % tensor.type->bytes != 0)
      return broken("{}: view at byte {} of a storage is not aligned to {}", callee_, view_begin,
                    tensor.type->name);
    view_begin /= tensor.type->bytes;
  } else {
    limit = view.count;
  }
  std::string problem = find_view_problem(begin, tensor.sizes, tensor.strides, limit);
  if (!problem.empty())
    return broken("{}: storage \"{}\": {}", callee_, readable(storage.key), problem);
  bool empty = std::find(tensor.sizes.begin(), tensor.sizes.end(), 0) != tensor.sizes.end();
  tensor.begin = empty ? 0 : view_begin + uint64_t(begin);
  return tensor;
}

void Interpreter::set_metadata(PickleTensor& tensor, ValueId metadata) {
  if (kind(metadata) != Kind::dict) return;
  Span<const ValueId> pairs = tree_.items(metadata);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    bool on = kind(pairs[i + 1]) == Kind::boolean && value(pairs[i + 1]).integer;
    if (tree_.text(pairs[i]) == "conj") tensor.conjugate = on;
    if (tree_.text(pairs[i]) == "neg") tensor.negative = on;
  }
}

// A small pickle may copy a long list again and again.
Result<void> Interpreter::count_copies(uint64_t items) {
  copied_items_ += items;
  if (copied_items_ > limits_.value_count_max)
    return fail(Code::too_large, "more than {} items are copied or compared",
                limits_.value_count_max);
  return {};
}

Result<ValueId> Interpreter::call_listed(const GlobalRow& row, ValueId arguments, bool is_new) {
  switch (row.kind) {
    case GlobalKind::dict_type: {
      // (), (pairs) or (factory): only pairs have items of their own.
      TRY(auto items, arguments_of(arguments, 0, row.name == "defaultdict" ? 2 : 1));
      std::vector<ValueId> pairs;
      for (ValueId item : items) {
        if (kind(item) == Kind::dict) {
          Span<const ValueId> all = tree_.items(item);
          pairs.insert(pairs.end(), all.begin(), all.end());
        } else if (kind(item) == Kind::list) {
          for (ValueId pair : tree_.items(item)) {
            if (kind(pair) != Kind::list && kind(pair) != Kind::tuple)
              return wrong("item", pair, "a pair");
            Span<const ValueId> both = tree_.items(pair);
            if (both.size() != 2)
              return broken("{}: an item has {} values, wanted a pair", callee_, both.size());
            pairs.insert(pairs.end(), both.begin(), both.end());
          }
        } else if (kind(item) != Kind::global && kind(item) != Kind::none &&
                   kind(item) != Kind::placeholder) {
          return wrong("argument", item, "a dict or a list of pairs");
        }
      }
      TRY_VOID(count_copies(pairs.size()));
      TRY_VOID(check_keys(pairs));
      return add_container(Kind::dict, pairs);
    }
    case GlobalKind::list_type:
    case GlobalKind::set_type:
    case GlobalKind::tuple_type: {
      TRY(auto given, arguments_of(arguments, 0, row.name == "deque" ? 2 : 1));
      std::vector<ValueId> items;
      if (!given.empty()) {
        if (kind(given[0]) != Kind::list && kind(given[0]) != Kind::tuple &&
            kind(given[0]) != Kind::set)
          return wrong("argument", given[0], "a list or a tuple");
        Span<const ValueId> all = tree_.items(given[0]);
        items.assign(all.begin(), all.end());
      }
      TRY_VOID(count_copies(items.size()));
      if (row.kind == GlobalKind::tuple_type) return add_tuple(items);
      return add_container(row.kind == GlobalKind::list_type ? Kind::list : Kind::set, items);
    }
    case GlobalKind::bytes_type: {
      TRY(auto items, arguments_of(arguments, 0, 2));
      if (items.empty()) return add_text({}, Kind::bytes);
      // bytearray(text, 'latin-1') of Python 2's protocol; a number would be a size to allocate.
      if (items.size() == 2) return encode(items);
      TRY(Bytes bytes, raw_bytes(items[0], "argument"));
      return add_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, Kind::bytes);
    }
    case GlobalKind::complex_type: {
      TRY(auto items, arguments_of(arguments, 2, 2));
      for (ValueId item : items)
        if (kind(item) != Kind::floating) return wrong("part", item, "a float");
      return add_tuple(items, Kind::complex);
    }
    case GlobalKind::encode: {
      TRY(auto items, arguments_of(arguments, 1, 2));
      return encode(items);
    }
    case GlobalKind::device: {
      TRY(auto items, arguments_of(arguments, 1, 2));
      TRY(std::string_view type, string(items[0], "type"));
      if (items.size() == 1 || kind(items[1]) == Kind::none) return add_text(type, Kind::text_like);
      TRY(int64_t index, integer(items[1], "index"));
      return add_owned(fmt::format("{}:{}", type, index), Kind::text_like);
    }
    case GlobalKind::layout: {
      TRY(auto items, arguments_of(arguments, 1, 1));
      TRY(std::string_view name, string(items[0], "name"));
      return add_text(name, Kind::text_like);
    }
    case GlobalKind::reconstructor: {
      TRY(auto items, arguments_of(arguments, 3, 3));
      if (kind(items[2]) != Kind::none && kind(items[0]) != Kind::placeholder)
        return fail(Code::unsupported, "{}: a base with a value", callee_);
      TRY(ValueId none, add_tuple({}));
      return call(tree_.items(arguments)[0], none, true);
    }
    case GlobalKind::rebuild_tensor: {  // storage, offset, size, stride[, grad, hooks[, metadata]]
      bool v2 = row.name == "_rebuild_tensor_v2";
      TRY(auto items, arguments_of(arguments, v2 ? 6 : 4, v2 ? 7 : 4));
      TRY(PickleTensor tensor, view_tensor(items, nullptr));
      if (items.size() == 7) set_metadata(tensor, items[6]);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::rebuild_tensor_v3: {  // ..., grad, hooks, dtype[, metadata]
      TRY(auto items, arguments_of(arguments, 7, 8));
      if (kind(items[6]) != Kind::dtype) return wrong("dtype", items[6], "a dtype");
      TRY(PickleTensor tensor, view_tensor(items, value(items[6]).type));
      if (items.size() == 8) set_metadata(tensor, items[7]);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::rebuild_parameter: {  // data, grad, hooks[, state]
      bool has_state = row.name == "_rebuild_parameter_with_state";
      TRY(auto items, arguments_of(arguments, has_state ? 4 : 3, has_state ? 4 : 3));
      if (kind(items[0]) == Kind::placeholder) return items[0];
      if (kind(items[0]) != Kind::tensor) return wrong("data", items[0], "a tensor");
      return items[0];
    }
    case GlobalKind::rebuild_from_type: {  // function, type, arguments, state
      TRY(auto items, arguments_of(arguments, 4, 4));
      ValueId function = items[0], type = items[1], inner = items[2];
      if (kind(type) == Kind::placeholder)
        tree_.unknown[tree_.placeholders[value(type).index].unknown].called_count++;
      else if (kind(type) != Kind::global || value(type).global->kind != GlobalKind::tensor_type)
        return wrong("type", type, "a class of tensors");
      if (kind(function) == Kind::global && value(function).global->kind == row.kind)
        return broken("{}: calls itself", callee_);
      return call(function, inner);
    }
    case GlobalKind::rebuild_from_cpu_tensor:
    case GlobalKind::rebuild_from_array: {  // data, dtype, device, grad
      TRY(auto items, arguments_of(arguments, 4, 4));
      Kind wanted = row.kind == GlobalKind::rebuild_from_array ? Kind::array : Kind::tensor;
      if (kind(items[0]) != wanted) return wrong("data", items[0], kind_name(wanted));
      if (kind(items[1]) != Kind::dtype) return wrong("dtype", items[1], "a dtype");
      PickleTensor tensor = tree_.tensors[value(items[0]).index];
      const TorchType* type = value(items[1]).type;
      if (tensor.unbuilt) return broken("{}: the array has no elements yet", callee_);
      if (tensor.unsupported.empty() && tensor.type != type)
        tensor.unsupported = fmt::format("is kept as {} and would have to be cast to {}",
                                         tensor.type->name, type->name);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::rebuild_unsupported: {
      PickleTensor tensor;
      tensor.unsupported = fmt::format("is {}", row.note);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::build_list: {
      TRY(auto items, arguments_of(arguments, 1, 1));
      if (kind(items[0]) != Kind::list) return wrong("argument", items[0], "a list");
      return items[0];
    }
    case GlobalKind::restore_type_tag: {
      TRY(auto items, arguments_of(arguments, 2, 2));
      return items[0];
    }
    case GlobalKind::tensor_type: {  // torch < 0.4, BUILD fills it
      TRY(auto items, arguments_of(arguments, 0, 2));
      if (!items.empty() && kind(items[0]) == Kind::tensor) return items[0];
      if (!items.empty() || !is_new)
        return fail(Code::unsupported,
                    "{}: a tensor made by calling its class, wanted one of the functions that "
                    "torch.save writes (torch._utils._rebuild_tensor_v2)",
                    callee_);
      PickleTensor tensor;
      tensor.unbuilt = true;
      tensor.type = row.type;
      tensor.unsupported = "was never given its elements";
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::array_dtype: {  // name, align, copy
      TRY(auto items, arguments_of(arguments, 1, 3));
      TRY(std::string_view name, string(items[0], "name"));
      PickleValue result;
      result.kind = Kind::array_dtype;
      if (name.size() > 1 &&
          (name[0] == '<' || name[0] == '>' || name[0] == '|' || name[0] == '=')) {
        result.flag = name[0] == '>';
        name.remove_prefix(1);
      }
      result.type = array_type_of(name);
      return add(result);
    }
    case GlobalKind::array_reconstruct: {  // ndarray, (0,), b'b'
      TRY(auto items, arguments_of(arguments, 3, 3));
      if (kind(items[0]) != Kind::global || value(items[0]).global->kind != GlobalKind::array_type)
        return wrong("type", items[0], "numpy.ndarray");
      PickleTensor tensor;
      tensor.unbuilt = true;
      tensor.unsupported = "was never given its elements";
      return add_tensor(std::move(tensor), Kind::array);
    }
    case GlobalKind::array_from_buffer: {  // bytes, dtype, shape, order
      TRY(auto items, arguments_of(arguments, 4, 4));
      TRY(Bytes data, raw_bytes(items[0], "buffer"));
      if (kind(items[1]) != Kind::array_dtype) return wrong("dtype", items[1], "a numpy dtype");
      PickleTensor tensor;
      TRY(tensor.sizes, integers(items[2], "shape"));
      TRY(std::string_view order, string(items[3], "order"));
      if (order != "C" && order != "F")
        return broken("{}: order is \"{}\", wanted C or F", callee_, readable(order));
      TRY_VOID(finish_array(tensor, value(items[1]), data, order == "F"));
      return add_tensor(std::move(tensor), Kind::array);
    }
    case GlobalKind::array_scalar: {  // dtype, bytes
      TRY(auto items, arguments_of(arguments, 2, 2));
      return array_scalar(items);
    }
    case GlobalKind::dtype:
    case GlobalKind::text_like:
    case GlobalKind::storage_type:
    case GlobalKind::plain_type:
    case GlobalKind::array_type: break;
  }
  return fail(Code::unsupported, "{} is a name here, it may not be called", callee_);
}

// encode(text, "latin1"): each character is a byte.
Result<ValueId> Interpreter::encode(Span<const ValueId> arguments) {
  TRY(std::string_view text, string(arguments[0], "text"));
  std::string_view encoding = "utf-8";
  if (arguments.size() == 2) {
    TRY(encoding, string(arguments[1], "encoding"));
  }
  if (encoding == "utf-8" || encoding == "utf8" || encoding == "ascii")
    return add_text(text, Kind::bytes);
  if (encoding != "latin1" && encoding != "latin-1" && encoding != "iso-8859-1")
    return fail(Code::unsupported, "{}: encoding \"{}\", wanted latin1", callee_,
                readable(encoding));
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); i++) {
    uint8_t first = uint8_t(text[i]);
    if (first >= 0x80) {  // the text is UTF-8: two bytes up to U+07FF
      if (first > 0xc3)
        return broken("{}: a character past U+00FF cannot be encoded as latin1", callee_);
      first = uint8_t(first << 6 | (uint8_t(text[++i]) & 0x3f));
    }
    bytes += char(first);
  }
  return add_owned(std::move(bytes), Kind::bytes);
}

Result<void> Interpreter::finish_array(PickleTensor& tensor, const PickleValue& dtype, Bytes data,
                                       bool fortran) {
  tensor.unbuilt = false;
  tensor.unsupported.clear();
  if (!dtype.type) {
    tensor.unsupported = "is an array of something else than plain numbers";
    return {};
  }
  tensor.type = dtype.type;
  tensor.big_endian = dtype.flag;
  tensor.bytes = data;
  uint64_t count = 0, bytes = 0;
  if (!fill_strides(tensor.sizes, fortran, &tensor.strides, &count) ||
      !checked_multiply<uint64_t>(count, dtype.type->bytes, &bytes))
    return broken("{}: shape [{}] is not possible", callee_, fmt::join(tensor.sizes, ", "));
  if (bytes != data.size())
    return broken("{}: {} [{}] takes {} bytes, {} are given", callee_, dtype.type->name,
                  fmt::join(tensor.sizes, ", "), bytes, data.size());
  return {};
}

Result<ValueId> Interpreter::array_scalar(Span<const ValueId> arguments) {
  if (kind(arguments[0]) != Kind::array_dtype) return wrong("dtype", arguments[0], "a numpy dtype");
  const PickleValue dtype = value(arguments[0]);
  if (!dtype.type) {  // a date, a text: kept as what it says
    if (kind(arguments[1]) == Kind::text || kind(arguments[1]) == Kind::bytes) return arguments[1];
    return add_text("numpy scalar", Kind::text_like);
  }
  TRY(Bytes data, raw_bytes(arguments[1], "value"));
  if (data.size() != dtype.type->bytes)
    return broken("{}: {} takes {} bytes, {} are given", callee_, dtype.type->name,
                  dtype.type->bytes, data.size());
  PickleTensor tensor;
  TRY_VOID(finish_array(tensor, dtype, data, false));
  if (data.size() > 8 || dtype.type->name.starts_with("complex"))
    return add_tensor(std::move(tensor), Kind::array);
  uint64_t bits = 0;
  for (size_t i = 0; i < data.size(); i++)
    bits |= uint64_t(data[i]) << (8 * (dtype.flag ? data.size() - 1 - i : i));
  std::string_view name = dtype.type->name;
  if (name == "float64") return add_floating(std::bit_cast<double>(bits));
  if (name == "float32") return add_floating(std::bit_cast<float>(uint32_t(bits)));
  if (name == "float16") return add_floating(to_float(f16_t{uint16_t(bits)}));
  if (name == "bool") return bits ? kTrue : kFalse;
  if (name == "uint64" && bits >> 63) return add_tensor(std::move(tensor), Kind::array);
  PickleValue result;
  result.kind = Kind::integer;
  int unused = 64 - int(data.size()) * 8;
  result.integer = name[0] == 'u' ? int64_t(bits) : int64_t(bits << unused) >> unused;
  return add(result);
}

}  // namespace sconce::pickle
