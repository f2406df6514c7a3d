// What BUILD completes, and what persistent ids stand for: storages.
#include "formats/checkpoint/interpreter.h"

#include "formats/checkpoint/view.h"

namespace sconce::pickle {

using Kind = PickleKind;

// ---- BUILD ----

Result<void> Interpreter::build(ValueId target, ValueId state) {
  switch (kind(target)) {
    case Kind::placeholder: {
      Placeholder& placeholder = tree_.placeholders[value(target).index];
      placeholder.state = state;
      return {};
    }
    case Kind::dict:  // attributes, as _metadata of a state_dict
      tree_.attributes.push_back(state);
      return {};
    case Kind::tensor: return build_tensor(target, state);
    case Kind::array: return build_array(target, state);
    case Kind::array_dtype: {  // (version, byte order, ...)
      callee_ = "numpy.dtype";
      if (kind(state) != Kind::tuple || tree_.items(state).size() < 2)
        return wrong("state", state, "a tuple that holds the byte order");
      ValueId order = tree_.items(state)[1];
      if (kind(order) != Kind::text && kind(order) != Kind::bytes)
        return wrong("byte order", order, "a text");
      std::string_view text = tree_.text(order);
      if (text != "<" && text != ">" && text != "|" && text != "=")
        return broken("{}: byte order is \"{}\"", callee_, readable(text));
      value(target).flag = text == ">";
      return {};
    }
    default:
      return broken("target is {}, wanted a dict, a tensor or an array", kind_name(kind(target)));
  }
}

// torch < 0.4: (storage, offset, size, stride) of a tensor; (data, ...) of a Variable or Parameter.
// Later: (requires_grad, ..., hooks), which has nothing for us.
Result<void> Interpreter::build_tensor(ValueId target, ValueId state) {
  callee_ = "torch.Tensor";
  uint32_t index = value(target).index;
  if (kind(state) == Kind::dict) {
    tree_.attributes.push_back(state);
    return {};
  }
  if (kind(state) != Kind::tuple) return wrong("state", state, "a tuple");
  Span<const ValueId> items = tree_.items(state);
  if (!tree_.tensors[index].unbuilt) {
    if (items.size() == 3) return {};
    return broken("{}: a state of {} values for a tensor that is complete", callee_, items.size());
  }
  if (items.size() == 4) {
    TRY(PickleTensor tensor, view_tensor(items, nullptr));
    tensor.offset = tree_.tensors[index].offset;
    tree_.tensors[index] = std::move(tensor);
    return {};
  }
  if (items.size() == 5 && kind(items[0]) == Kind::tensor) {
    uint32_t from = value(items[0]).index;
    if (tree_.tensors[from].unbuilt) return broken("{}: data without elements", callee_);
    PickleTensor copy = tree_.tensors[from];
    tree_.tensors[index] = std::move(copy);
    return {};
  }
  return broken("{}: a state of {} values, wanted (storage, offset, size, stride)", callee_,
                items.size());
}

// (version, shape, dtype, is Fortran, data)
Result<void> Interpreter::build_array(ValueId target, ValueId state) {
  callee_ = "numpy.ndarray";
  uint32_t index = value(target).index;
  if (kind(state) != Kind::tuple) return wrong("state", state, "a tuple");
  Span<const ValueId> items = tree_.items(state);
  if (items.size() < 4 || items.size() > 5)
    return broken("{}: a state of {} values, wanted (version, shape, dtype, order, data)", callee_,
                  items.size());
  Span<const ValueId> fields = items.last(4);  // old files have no version
  if (!tree_.tensors[index].unbuilt) return broken("{}: built twice", callee_);
  PickleTensor tensor;
  tensor.offset = tree_.tensors[index].offset;
  TRY(tensor.sizes, integers(fields[0], "shape"));
  if (kind(fields[1]) != Kind::array_dtype) return wrong("dtype", fields[1], "a numpy dtype");
  bool fortran = (kind(fields[2]) == Kind::boolean || kind(fields[2]) == Kind::integer) &&
                 value(fields[2]).integer;
  Bytes data;
  if (value(fields[1]).type) {
    TRY(data, raw_bytes(fields[3], "data"));
  }
  TRY_VOID(finish_array(tensor, value(fields[1]), data, fortran));
  tree_.tensors[index] = std::move(tensor);
  return {};
}

// ---- Persistent ids ----

Result<ValueId> Interpreter::persistent(ValueId id) {
  callee_ = "persistent id";
  if (options_.persistent_ids == PersistentIds::none)
    return broken("there are no storages here that a persistent id could name");
  if (options_.persistent_ids == PersistentIds::archive && kind(id) == Kind::integer) {
    auto found = options_.tensors->find(value(id).integer);
    if (found == options_.tensors->end())
      return broken("the archive has no tensor {}", value(id).integer);
    return add_tensor(found->second);
  }
  if (kind(id) != Kind::tuple) return wrong("it", id, "a tuple");
  Span<const ValueId> fields = tree_.items(id);
  if (options_.persistent_ids == PersistentIds::archive) {  // (class, file, source)
    if (fields.size() != 3) return broken("{}: {} values, wanted 3", callee_, fields.size());
    return fields[0];
  }
  if (fields.empty()) return broken("{}: an empty tuple", callee_);
  TRY(std::string_view tag, string(fields[0], "tag"));
  if (tag == "storage") return persistent_storage(fields);
  if (tag == "module" && options_.persistent_ids == PersistentIds::stream && fields.size() == 4)
    return fields[1];
  return broken("{}: the tag is \"{}\", wanted \"storage\"", callee_, readable(tag));
}

Result<ValueId> Interpreter::persistent_storage(Span<const ValueId> fields) {
  bool stream = options_.persistent_ids == PersistentIds::stream;
  size_t wanted = stream ? 6 : 5;
  if (fields.size() != wanted)
    return broken("{}: a storage of {} values, wanted {}", callee_, fields.size(), wanted);
  if (kind(fields[1]) != Kind::global || value(fields[1]).global->kind != GlobalKind::storage_type)
    return wrong("type", fields[1], "a class of storages");
  const GlobalRow& type = *value(fields[1]).global;
  TRY(std::string_view key, string(fields[2], "key"));
  if (key.size() > limits_.key_bytes_max)
    return fail(Code::too_large, "{}: the key of a storage has {} bytes, at most {} are possible",
                callee_, key.size(), limits_.key_bytes_max);
  TRY(int64_t count, integer(fields[4], "count"));
  uint64_t bytes = 0;
  if (count < 0 || !checked_multiply<uint64_t>(uint64_t(count), type.type->bytes, &bytes) ||
      bytes > uint64_t(INT64_MAX))
    return broken("{}: storage \"{}\" of {} elements", callee_, readable(key), count);
  auto [at, added] = storage_index_.try_emplace(std::string(key), uint32_t(tree_.storages.size()));
  if (added) {
    tree_.storages.push_back(
        {std::string(key), type.type, uint64_t(count), !type.note.empty(), uint32_t(op_at_)});
  }
  const PickleStorage& storage = tree_.storages[at->second];
  if (storage.type != type.type || storage.count != uint64_t(count) ||
      storage.untyped != !type.note.empty())
    return broken("{}: storage \"{}\" is {} of {} here, {} of {} at offset {}", callee_,
                  readable(key), count, type.type->name, storage.count, storage.type->name,
                  storage.offset);
  PickleStorageView view{at->second, 0, uint64_t(count)};
  if (stream && kind(fields[5]) != Kind::none) {  // (key, offset, count)
    if (kind(fields[5]) != Kind::tuple || tree_.items(fields[5]).size() != 3)
      return wrong("view", fields[5], "(key, offset, count)");
    Span<const ValueId> part = tree_.items(fields[5]);
    TRY(int64_t begin, integer(part[1], "offset of the view"));
    TRY(int64_t part_count, integer(part[2], "count of the view"));
    if (begin < 0 || part_count < 0 ||
        !range_inside(uint64_t(begin), uint64_t(part_count), uint64_t(count)))
      return broken("{}: a view of {} elements at {} passes the {} of storage \"{}\"", callee_,
                    part_count, begin, count, readable(key));
    view.begin = uint64_t(begin);
    view.count = uint64_t(part_count);
  }
  PickleValue result;
  result.kind = Kind::storage;
  result.index = uint32_t(tree_.views.size());
  tree_.views.push_back(view);
  return add(result);
}

}  // namespace sconce::pickle
