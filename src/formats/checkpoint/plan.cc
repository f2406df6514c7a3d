// Walks the value of a checkpoint and gives its tensors names.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/checked.h"
#include "formats/checkpoint/convert.h"
#include "formats/safetensors/element_type.h"

namespace sconce {
namespace {

using Kind = PickleKind;

constexpr size_t kValueTextBytes = 4096;
constexpr uint64_t kOutputFactor = 4, kOutputBytesMin = 1 << 20;
constexpr std::string_view kBareName = "tensor";  // of a checkpoint that is one tensor

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

class Walk {
 public:
  Walk(const Checkpoint& checkpoint, uint64_t file_bytes, const ConvertOptions& options)
      : checkpoint_(checkpoint), tree_(checkpoint.tree), options_(options) {
    uint64_t limit = 0;
    if (!checked_multiply(file_bytes, kOutputFactor, &limit)) limit = UINT64_MAX;
    output_bytes_max_ =
        options.output_bytes_max ? options.output_bytes_max : std::max(limit, kOutputBytesMin);
  }

  Result<ConvertPlan> run();

 private:
  enum class Holds : uint8_t { unknown, open, no, yes };

  Kind kind(ValueId id) const { return tree_.values[id].kind; }
  bool is_tensor(ValueId id) const {
    return kind(id) == Kind::tensor || (kind(id) == Kind::array && options_.arrays);
  }
  const Placeholder& placeholder(ValueId id) const {
    return tree_.placeholders[tree_.values[id].index];
  }
  // Values directly inside one.
  std::vector<ValueId> children(ValueId id) const;
  Result<bool> holds_tensors(ValueId id, int depth);
  Result<ValueId> find_key(ValueId id, std::string_view path, int depth) const;
  std::string key_text(ValueId id) const;

  Result<void> visit(ValueId id, const std::string& path, int depth);
  Result<void> visit_pairs(Span<const ValueId> pairs, const std::string& path, int depth);
  Result<void> visit_items(Span<const ValueId> items, const std::string& path, int depth);
  Result<void> visit_placeholder(ValueId id, const std::string& path, int depth);
  Result<void> visit_object(const Placeholder& p, const std::string& path, int depth);
  Result<void> visit_module(ValueId state, const std::string& path, int depth);
  ValueId find_entry(ValueId dict, std::string_view key) const;
  Result<void> add_tensor(ValueId id, const std::string& path);
  Result<void> add_value(ValueId id, const std::string& path);
  Result<void> check_name(const std::string& name, ValueId id) const;
  void share();
  Result<void> check_repeats() const;
  Result<void> check_inflation() const;
  Result<void> add_metadata();

  Error at(ValueId id, Error problem) const {
    std::string place = checkpoint_.pickle_name;
    if (!place.empty()) place += ": ";
    return std::move(problem).with_context(
        fmt::format("{}offset {}", place, tree_.values[id].offset));
  }

  const Checkpoint& checkpoint_;
  const PickleTree& tree_;
  const ConvertOptions& options_;
  uint64_t output_bytes_max_ = 0, visit_count_ = 0, name_bytes_ = 0;
  std::vector<Holds> holds_;
  std::set<ValueId> on_path_;  // objects that are being visited
  ConvertPlan plan_;
};

std::vector<ValueId> Walk::children(ValueId id) const {
  Span<const ValueId> items = tree_.items(id);
  std::vector<ValueId> result(items.begin(), items.end());
  if (kind(id) == Kind::placeholder) {
    const Placeholder& p = placeholder(id);
    result.insert(result.end(), p.items.begin(), p.items.end());
    result.insert(result.end(), p.pairs.begin(), p.pairs.end());
    if (p.arguments) result.push_back(p.arguments);
    if (p.state) result.push_back(p.state);
  }
  return result;
}

// Each value is looked at once, however often it is shared. Fails for one that holds itself.
Result<bool> Walk::holds_tensors(ValueId id, int depth) {
  if (is_tensor(id)) return true;
  if (holds_[id] == Holds::no || holds_[id] == Holds::yes) return holds_[id] == Holds::yes;
  // Modules often know their parents; of an object the way in is enough.
  if (holds_[id] == Holds::open && kind(id) == Kind::placeholder) return false;
  if (holds_[id] == Holds::open)
    return at(id, error(Code::unsupported, "a value holds itself; a file of tensors cannot"));
  if (depth > options_.depth_max)
    return at(id, error(Code::too_large, "values nest deeper than {}", options_.depth_max));
  holds_[id] = Holds::open;
  bool found = false;
  for (ValueId child : children(id)) {
    TRY(bool in_child, holds_tensors(child, depth + 1));
    found |= in_child;
  }
  holds_[id] = found ? Holds::yes : Holds::no;
  return found;
}

std::string Walk::key_text(ValueId id) const {
  return kind(id) == Kind::text ? std::string(tree_.text(id)) : print_pickle_value(tree_, id, 200);
}

// The last of that key, as Python has it; 0 when there is none.
ValueId Walk::find_entry(ValueId dict, std::string_view key) const {
  if (kind(dict) != Kind::dict) return 0;
  Span<const ValueId> pairs = tree_.items(dict);
  for (size_t i = pairs.size(); i >= 2; i -= 2)
    if (kind(pairs[i - 2]) == Kind::text && tree_.text(pairs[i - 2]) == key) return pairs[i - 1];
  return 0;
}

// Keys may hold dots themselves, so each key that the path begins with is tried.
Result<ValueId> Walk::find_key(ValueId id, std::string_view path, int depth) const {
  std::vector<std::pair<std::string, ValueId>> entries;
  auto add_pairs = [&](Span<const ValueId> pairs) {
    for (size_t i = 0; i + 1 < pairs.size(); i += 2)
      entries.emplace_back(key_text(pairs[i]), pairs[i + 1]);
  };
  auto add_items = [&](Span<const ValueId> items) {
    for (size_t i = 0; i < items.size(); i++) entries.emplace_back(std::to_string(i), items[i]);
  };
  if (kind(id) == Kind::dict) {
    add_pairs(tree_.items(id));
  } else if (kind(id) == Kind::placeholder) {
    add_pairs(placeholder(id).pairs);
    add_items(placeholder(id).items);
    if (kind(placeholder(id).state) == Kind::dict) add_pairs(tree_.items(placeholder(id).state));
  } else {
    add_items(tree_.items(id));
  }
  std::set<std::string_view> seen;  // of equal keys Python has the last
  for (size_t i = entries.size(); i-- > 0;) {
    const auto& [key, value] = entries[i];
    if (!seen.insert(key).second) continue;
    if (key == path) return value;
    if (depth < 16 && path.size() > key.size() && path.starts_with(key) &&
        path[key.size()] == '.') {
      auto found = find_key(value, path.substr(key.size() + 1), depth + 1);
      if (found.ok()) return found;
    }
  }
  std::string names;
  for (size_t i = 0; i < entries.size() && i < 12; i++) names += (i ? ", " : "") + entries[i].first;
  if (entries.size() > 12) names += ", ...";
  return error(Code::not_found, "no key \"{}\"; there are: {}", path, names);
}

Result<void> Walk::visit(ValueId id, const std::string& path, int depth) {
  if (++visit_count_ > options_.visit_count_max)
    return at(id, error(Code::too_large, "values expand to more than {}: \"{:.80}\"",
                        options_.visit_count_max, path));
  if (depth > options_.depth_max)
    return at(id, error(Code::too_large, "values nest deeper than {}", options_.depth_max));
  if (is_tensor(id)) return add_tensor(id, path);
  TRY(bool holds, holds_tensors(id, depth));
  // Settings are listed one by one, but long lists of numbers as one.
  if (!holds && (kind(id) != Kind::dict || tree_.items(id).empty())) return add_value(id, path);
  switch (kind(id)) {
    case Kind::dict: return visit_pairs(tree_.items(id), path, depth);
    case Kind::list:
    case Kind::tuple:
    case Kind::set: return visit_items(tree_.items(id), path, depth);
    case Kind::placeholder: return visit_placeholder(id, path, depth);
    default: return add_value(id, path);
  }
}

Result<void> Walk::visit_pairs(Span<const ValueId> pairs, const std::string& path, int depth) {
  for (size_t i = 0; i + 1 < pairs.size(); i += 2)
    TRY_VOID(visit(pairs[i + 1], join(path, key_text(pairs[i])), depth + 1));
  return {};
}

Result<void> Walk::visit_items(Span<const ValueId> items, const std::string& path, int depth) {
  for (size_t i = 0; i < items.size(); i++)
    TRY_VOID(visit(items[i], join(path, std::to_string(i)), depth + 1));
  return {};
}

// An object of a class that is unknown, or of TorchScript: what it holds, not what it is.
Result<void> Walk::visit_placeholder(ValueId id, const std::string& path, int depth) {
  const Placeholder& p = placeholder(id);
  if (!on_path_.insert(id).second) return {};
  auto done = visit_object(p, path, depth);
  on_path_.erase(id);
  return done;
}

Result<void> Walk::visit_object(const Placeholder& p, const std::string& path, int depth) {
  TRY_VOID(visit_pairs(p.pairs, path, depth));
  TRY_VOID(visit_items(p.items, path, depth));
  if (p.arguments) {
    Span<const ValueId> arguments = tree_.items(p.arguments);
    for (size_t i = 0; i < arguments.size(); i++) {
      TRY(bool holds, holds_tensors(arguments[i], depth));
      if (holds) TRY_VOID(visit(arguments[i], join(path, std::to_string(i)), depth + 1));
    }
  }
  if (!p.state) return {};
  ValueId state = p.state;
  // (state, slots)
  if (kind(state) == Kind::tuple && tree_.items(state).size() == 2 &&
      kind(tree_.items(state)[0]) == Kind::dict)
    state = tree_.items(state)[0];
  if (kind(state) == Kind::dict) {
    if (find_entry(state, "_parameters") && find_entry(state, "_modules"))
      return visit_module(state, path, depth);
    return visit_pairs(tree_.items(state), path, depth);
  }
  return visit(state, path, depth + 1);
}

// A torch.nn.Module pickled whole: the names that its state_dict would have.
Result<void> Walk::visit_module(ValueId state, const std::string& path, int depth) {
  ValueId left_out = find_entry(state, "_non_persistent_buffers_set");
  std::set<std::string_view> names;
  for (ValueId name : left_out ? tree_.items(left_out) : Span<const ValueId>())
    names.insert(tree_.text(name));
  for (std::string_view part : {"_parameters", "_buffers", "_modules"}) {
    ValueId entries = find_entry(state, part);
    if (!entries) continue;
    Span<const ValueId> pairs = tree_.items(entries);
    for (size_t i = 0; kind(entries) == Kind::dict && i + 1 < pairs.size(); i += 2) {
      if (kind(pairs[i + 1]) == Kind::none ||
          (part == "_buffers" && names.count(tree_.text(pairs[i]))))
        continue;
      TRY_VOID(visit(pairs[i + 1], join(path, key_text(pairs[i])), depth + 1));
    }
  }
  return {};
}

Result<void> Walk::check_name(const std::string& name, ValueId id) const {
  if (name.find('\0') != std::string::npos)
    return at(id, error(Code::invalid_file, "the name of a tensor holds a NUL: \"{:.80}\"",
                        name.substr(0, name.find('\0'))));
  if (name == "__metadata__")
    return at(id, error(Code::invalid_file,
                        "a tensor is named __metadata__, which safetensors files reserve"));
  return {};
}

Result<void> Walk::add_tensor(ValueId id, const std::string& path) {
  FoundTensor found;
  found.name = path.empty() ? std::string(kBareName) : path;
  found.tensor = tree_.values[id].index;
  TRY_VOID(check_name(found.name, id));
  name_bytes_ += found.name.size();
  if (plan_.tensors.size() >= options_.tensor_count_max || name_bytes_ > options_.name_bytes_max)
    return at(id, error(Code::too_large, "more than {} tensors, or {} bytes of names",
                        options_.tensor_count_max, options_.name_bytes_max));
  const PickleTensor& tensor = tree_.tensors[found.tensor];
  found.problem = tensor.unsupported;
  if (found.problem.empty() && tensor.type->safetensors.empty()) {
    bool quantised = tensor.type->name.starts_with("q");
    found.problem = fmt::format("has dtype {}{}, which safetensors files do not have",
                                tensor.type->name, quantised ? " (quantised)" : "");
  }
  if (!found.problem.empty()) {
    if (!options_.skip_unsupported)
      return at(id, error(Code::unsupported, "tensor \"{:.200}\" {}", found.name, found.problem));
    plan_.tensors.push_back(std::move(found));
    return {};
  }
  uint64_t count = 1;
  bool fits = true;
  for (int64_t size : tensor.sizes) {
    found.shape.push_back(uint64_t(size));
    fits = fits && checked_multiply(count, uint64_t(size), &count);
  }
  if (tensor.type->safetensors == "F4") {  // two values in each of torch's elements
    if (found.shape.empty()) found.shape.push_back(1);
    fits = fits && checked_multiply<uint64_t>(found.shape.back(), 2, &found.shape.back());
  }
  if (!fits || !checked_multiply<uint64_t>(count, tensor.type->bytes, &found.bytes))
    return at(id, error(Code::too_large, "tensor \"{:.200}\" [{}] has more than 2^64 bytes",
                        found.name, fmt::join(tensor.sizes, ", ")));
  plan_.tensors.push_back(std::move(found));
  return {};
}

Result<void> Walk::add_value(ValueId id, const std::string& path) {
  FoundValue found{path, print_pickle_value(tree_, id, kValueTextBytes)};
  name_bytes_ += found.name.size() + found.text.size();
  if (name_bytes_ > options_.name_bytes_max)
    return at(id, error(Code::too_large, "more than {} bytes of names and values",
                        options_.name_bytes_max));
  plan_.values.push_back(std::move(found));
  return {};
}

// Finds names of the same part of the same storage; the first in the order of bytes is kept.
void Walk::share() {
  using Part = std::tuple<const uint8_t*, uint32_t, uint64_t, const TorchType*, int,
                          std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Part, std::vector<size_t>> parts;
  for (size_t i = 0; i < plan_.tensors.size(); i++) {
    const FoundTensor& found = plan_.tensors[i];
    const PickleTensor& tensor = tree_.tensors[found.tensor];
    if (!found.problem.empty() || found.bytes == 0) continue;
    std::vector<int64_t> strides = tensor.strides;
    for (size_t dim = 0; dim < strides.size(); dim++)
      if (tensor.sizes[dim] == 1) strides[dim] = 0;  // of no meaning
    const uint8_t* data = tensor.storage == kNoStorage ? tensor.bytes.data() : nullptr;
    parts[Part(data, tensor.storage, tensor.begin, tensor.type,
               tensor.conjugate | tensor.negative << 1, tensor.sizes, strides)]
        .push_back(i);
  }
  for (const auto& [part, group] : parts) {
    size_t kept = group[0];
    for (size_t i : group)
      if (plan_.tensors[i].name < plan_.tensors[kept].name) kept = i;
    for (size_t i : group)
      if (i != kept) plan_.tensors[i].same_as = plan_.tensors[kept].name;
  }
}

Result<void> Walk::check_repeats() const {
  std::vector<const std::string*> names;
  for (const FoundTensor& found : plan_.tensors) names.push_back(&found.name);
  std::sort(names.begin(), names.end(),
            [](const std::string* a, const std::string* b) { return *a < *b; });
  for (size_t i = 1; i < names.size(); i++)
    if (*names[i] == *names[i - 1])
      return error(Code::invalid_file,
                   "two tensors are named \"{:.200}\"; --key picks one of their branches",
                   *names[i]);
  return {};
}

// A deflated storage is inflated whole, also when a tensor has one element of it.
Result<void> Walk::check_inflation() const {
  uint64_t total = 0;
  for (const StorageRecord& record : checkpoint_.storages) {
    if (!record.deflated) continue;
    if (!checked_add(total, record.inflated_bytes, &total) || total > output_bytes_max_)
      return error(
          Code::too_large,
          "records inflate to more than {} bytes, the limit for this file, at \"{}\" of {} "
          "bytes; --output-limit raises it",
          output_bytes_max_, record.name, record.inflated_bytes);
  }
  return {};
}

Result<void> Walk::add_metadata() {
  std::map<std::string, std::string> metadata;
  for (const FoundTensor& found : plan_.tensors)
    if (!found.same_as.empty()) metadata[found.name] = found.same_as;
  if (options_.keep_values) {
    for (const FoundValue& value : plan_.values) {
      if (value.name.find('\0') != std::string::npos) continue;
      if (!metadata.emplace(value.name, value.text).second)
        return error(Code::invalid_file, "a value and a shared tensor are both named \"{:.200}\"",
                     value.name);
    }
  }
  metadata.emplace("format", "pt");  // transformers asks for it
  plan_.metadata.assign(metadata.begin(), metadata.end());
  return {};
}

Result<ConvertPlan> Walk::run() {
  holds_.assign(tree_.values.size(), Holds::unknown);
  ValueId root = tree_.root;
  if (!options_.key.empty()) {
    TRY(root, find_key(root, options_.key, 0));
  }
  TRY_VOID(visit(root, "", 0));
  TRY_VOID(check_repeats());
  if (!options_.repeat_shared) share();
  for (const FoundTensor& found : plan_.tensors) {
    if (!found.problem.empty() || !found.same_as.empty()) continue;
    if (!checked_add(plan_.output_bytes, found.bytes, &plan_.output_bytes) ||
        plan_.output_bytes > output_bytes_max_)
      return error(
          Code::too_large,
          "tensors pass {} bytes, the limit for this file, at \"{:.200}\" [{}] of {} bytes; "
          "--output-limit raises it",
          output_bytes_max_, found.name, fmt::join(found.shape, ", "), found.bytes);
  }
  TRY_VOID(check_inflation());
  TRY_VOID(add_metadata());
  return std::move(plan_);
}

}  // namespace

Result<ConvertPlan> plan_conversion(const Checkpoint& checkpoint, uint64_t file_bytes,
                                    const ConvertOptions& options) {
  return Walk(checkpoint, file_bytes, options).run();
}

}  // namespace sconce
