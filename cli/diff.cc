// sconce diff: what differs between two programs.
//
// Methods are matched by name, and what they hold by meaning rather than by index: instructions by
// operator and types of arguments; constants by who uses them where the instructions are the same,
// else by name, content, and type.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include <fmt/ranges.h>

#include "base/file.h"
#include "cli.h"
#include "formats/bpte/bpte.h"
#include "formats/xnnpack/xnnpack.h"
#include "pte_text.h"
#include "tensor_difference.h"

namespace sconce::cli {
namespace {

struct Difference {
  std::string where, what;              // "method forward", "input 0"
  std::string a, b;                     // empty: not there
  std::optional<double> error_max;      // of elements
  std::vector<std::string> lines = {};  // more of it, as "- of a" and "+ of b"
};

// How many constants (or initial values, or named data) of the two files are the same.
struct Tally {
  size_t equal = 0, moved = 0, changed = 0, only_a = 0, only_b = 0;  // moved: of those equal
};

struct Report {
  std::vector<Difference> differences;
  Tally constants, initial_values, named_data;
  bool same_bytes = false;

  void add(const std::string& where, const std::string& what, std::string a, std::string b) {
    if (a != b) differences.push_back({where, what, std::move(a), std::move(b), {}});
  }
};

struct Side {
  Bytes file;
  const PteProgram* program = nullptr;
};

// --- lines --------------------------------------------------------------------------------------

// The shortest way from `a` to `b`, "- " and "+ " before lines that one of them lacks. Lines that
// both have are left out, but for their number: "  ... 12 the same".
std::vector<std::string> line_diff(const std::vector<std::string>& a,
                                   const std::vector<std::string>& b) {
  size_t start = 0, a_end = a.size(), b_end = b.size();
  while (start < a_end && start < b_end && a[start] == b[start]) start++;
  while (a_end > start && b_end > start && a[a_end - 1] == b[b_end - 1]) a_end--, b_end--;
  std::vector<std::string> out;
  size_t same = start;
  auto flush = [&] {
    if (same) out.push_back(fmt::format("  ... {} the same", same));
    same = 0;
  };
  auto put = [&](char sign, const std::string& line) {
    flush();
    out.push_back(fmt::format("{} {}", sign, line));
  };
  size_t rows = a_end - start, columns = b_end - start;
  // Beyond this, one after the other: the table would be too large.
  constexpr size_t kCellsMax = 16 << 20;
  std::vector<uint32_t> length;  // of the longest common part of what follows
  if (rows && columns && rows + 1 <= kCellsMax / (columns + 1)) {
    length.resize((rows + 1) * (columns + 1), 0);
    for (size_t i = rows; i-- > 0;)
      for (size_t k = columns; k-- > 0;)
        length[i * (columns + 1) + k] =
            a[start + i] == b[start + k]
                ? length[(i + 1) * (columns + 1) + k + 1] + 1
                : std::max(length[(i + 1) * (columns + 1) + k], length[i * (columns + 1) + k + 1]);
  }
  size_t i = 0, k = 0;
  while (i < rows || k < columns) {
    if (length.empty() || i == rows || k == columns) {
      if (i < rows)
        put('-', a[start + i++]);
      else
        put('+', b[start + k++]);
    } else if (a[start + i] == b[start + k]) {
      same++, i++, k++;
    } else if (length[(i + 1) * (columns + 1) + k] >= length[i * (columns + 1) + k + 1]) {
      put('-', a[start + i++]);
    } else {
      put('+', b[start + k++]);
    }
  }
  same += a.size() - a_end;
  flush();
  return out;
}

// --- instructions -------------------------------------------------------------------------------

// A value as an argument: lists with their items.
std::string argument_text(const PteMethod& method, int32_t index) {
  const PteValue& value = method.values[size_t(index)];
  std::string text;
  auto item = [&](const std::string& one) { text += (text.empty() ? "" : ", ") + one; };
  if (auto* tensor = std::get_if<PteTensor>(&value); tensor && tensor->external)
    return fmt::format("{} called \"{}\"", tensor_text(*tensor), tensor->name);
  if (auto* list = std::get_if<PteIntList>(&value)) {
    for (int64_t v : list->items) {
      auto* number = std::get_if<int64_t>(&method.values[size_t(v)]);
      item(number ? fmt::format("{}", *number) : "?");
    }
    return "[" + text + "]";
  }
  if (auto* list = std::get_if<PteDoubleList>(&value))
    return fmt::format("[{}]", fmt::join(list->items, ", "));
  if (auto* list = std::get_if<PteBoolList>(&value)) {
    for (uint8_t v : list->items) item(v ? "true" : "false");
    return "[" + text + "]";
  }
  if (auto* list = std::get_if<PteTensorList>(&value)) {
    for (int32_t v : list->items) item(value_text(method.values[size_t(v)]));
    return "[" + text + "]";
  }
  if (auto* list = std::get_if<PteOptionalTensorList>(&value)) {
    for (int32_t v : list->items) item(v < 0 ? "none" : value_text(method.values[size_t(v)]));
    return "[" + text + "]";
  }
  return value_text(value);
}

std::string arguments_text(const PteMethod& method, const std::vector<int32_t>& args) {
  std::string text;
  for (int32_t arg : args) text += (text.empty() ? "" : ", ") + argument_text(method, arg);
  return text;
}

std::string instruction_text(const PteMethod& method, const PteInstruction& instruction) {
  if (auto* call = std::get_if<PteKernelCall>(&instruction))
    return fmt::format("{}({})", operator_text(method.operators[size_t(call->operator_index)]),
                       arguments_text(method, call->args));
  if (auto* call = std::get_if<PteDelegateCall>(&instruction)) {
    const PteDelegate& delegate = method.delegates[size_t(call->delegate_index)];
    return fmt::format("delegate {} {}({})", call->delegate_index, delegate.id,
                       arguments_text(method, call->args));
  }
  if (auto* move = std::get_if<PteMove>(&instruction))
    return "move " + argument_text(method, move->from);
  if (auto* jump = std::get_if<PteJumpFalse>(&instruction))
    return fmt::format("if not {} goto {}", argument_text(method, jump->condition),
                       jump->destination);
  return "free " + argument_text(method, std::get<PteFree>(instruction).value);
}

std::vector<std::string> instruction_lines(const PteMethod& method) {
  std::vector<std::string> lines;
  for (const PteChain& chain : method.chains)
    for (const PteInstruction& instruction : chain.instructions)
      lines.push_back(instruction_text(method, instruction));
  return lines;
}

std::vector<int32_t> values_of(const PteInstruction& instruction) {
  if (auto* call = std::get_if<PteKernelCall>(&instruction)) return call->args;
  if (auto* call = std::get_if<PteDelegateCall>(&instruction)) return call->args;
  if (auto* move = std::get_if<PteMove>(&instruction)) return {move->from, move->to};
  if (auto* jump = std::get_if<PteJumpFalse>(&instruction)) return {jump->condition};
  return {std::get<PteFree>(instruction).value};
}

// Which value of one method is which of the other, where their instructions read the same.
struct Pairing {
  std::map<int32_t, int32_t> to_b;
  std::map<int32_t, int32_t> to_a;

  // False when either is somebody else's already. Numbers and lists of them were compared as text.
  bool pair(const PteMethod& a, int32_t x, const PteMethod& b, int32_t y) {
    const PteValue &value = a.values[size_t(x)], &other = b.values[size_t(y)];
    if (value.index() != other.index()) return false;
    auto pair_lists = [&](const std::vector<int32_t>& i, const std::vector<int32_t>& k) {
      if (i.size() != k.size()) return false;
      for (size_t n = 0; n < i.size(); n++) {
        if ((i[n] < 0) != (k[n] < 0)) return false;
        if (i[n] >= 0 && !pair(a, i[n], b, k[n])) return false;
      }
      return true;
    };
    if (auto* list = std::get_if<PteTensorList>(&value))
      return pair_lists(list->items, std::get<PteTensorList>(other).items);
    if (auto* list = std::get_if<PteOptionalTensorList>(&value))
      return pair_lists(list->items, std::get<PteOptionalTensorList>(other).items);
    auto* tensor = std::get_if<PteTensor>(&value);
    if (!tensor) return true;
    auto is_constant = [](const PteTensor& t) { return t.data_index && !t.placement; };
    if (is_constant(*tensor) != is_constant(std::get<PteTensor>(other))) return false;
    if (is_constant(*tensor)) {  // one file may hold twice what the other holds once
      to_b.emplace(x, y);
      return true;
    }
    auto [forward, fresh] = to_b.emplace(x, y);
    auto [backward, fresh_too] = to_a.emplace(y, x);
    return forward->second == y && backward->second == x;
  }
};

// The instruction whose arguments are other values than before; none when all agree.
std::optional<size_t> first_rewired(const PteMethod& a, const PteMethod& b, Pairing& pairing) {
  for (size_t i = 0; i < a.inputs.size(); i++) pairing.pair(a, a.inputs[i], b, b.inputs[i]);
  size_t step = 0;
  for (size_t c = 0; c < a.chains.size(); c++)
    for (size_t i = 0; i < a.chains[c].instructions.size(); i++, step++) {
      auto x = values_of(a.chains[c].instructions[i]), y = values_of(b.chains[c].instructions[i]);
      for (size_t k = 0; k < x.size(); k++)
        if (!pairing.pair(a, x[k], b, y[k])) return step;
    }
  for (size_t i = 0; i < a.outputs.size(); i++)
    if (!pairing.pair(a, a.outputs[i], b, b.outputs[i])) return step;
  return std::nullopt;
}

// --- tensors of the files -----------------------------------------------------------------------

struct Stored {
  const PteTensor* tensor = nullptr;  // the largest that names it
  std::string name;
  Bytes bytes;
  uint64_t offset = 0;  // in the file
  bool paired = false;
};

// By data index.
std::map<uint32_t, Stored> stored_tensors(const Side& side, bool initial) {
  std::map<uint32_t, Stored> all;
  for (const PteMethod& method : side.program->methods)
    for (const PteValue& value : method.values) {
      auto* tensor = std::get_if<PteTensor>(&value);
      if (!tensor || !tensor->data_index || tensor->external || bool(tensor->placement) != initial)
        continue;
      Stored& stored = all[tensor->data_index];
      stored.bytes =
          (initial ? side.program->initial_values : side.program->constants)[tensor->data_index];
      if (!stored.bytes.empty()) stored.offset = uint64_t(stored.bytes.data() - side.file.data());
      if (!stored.tensor || tensor_size(*tensor) > tensor_size(*stored.tensor))
        stored.tensor = tensor;
      if (stored.name.empty()) stored.name = tensor->name;
    }
  return all;
}

bool equal(Bytes a, Bytes b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

bool same_type(const PteTensor& a, const PteTensor& b) { return tensor_text(a) == tensor_text(b); }

// The largest difference of elements; none where they cannot be compared.
std::optional<double> error_between(int8_t scalar_type, Bytes a, Bytes b) {
  if (!is_dtype(scalar_type) || a.size() != b.size()) return std::nullopt;
  NamedTensor x, y;
  x.dtype = y.dtype = DType(scalar_type);
  if (a.size() % dtype_bytes(x.dtype)) return std::nullopt;
  x.bytes = a, y.bytes = b;
  return compare_tensors(x, y, 0, 0).error_max;
}

void compare_pair(Stored& x, Stored& y, const std::string& where, const std::string& what,
                  Tally& tally, Report& report) {
  x.paired = y.paired = true;
  if (same_type(*x.tensor, *y.tensor) && equal(x.bytes, y.bytes)) {
    tally.equal++;
    tally.moved += x.offset != y.offset;
    return;
  }
  tally.changed++;
  std::optional<double> apart;
  if (same_type(*x.tensor, *y.tensor))
    apart = error_between(x.tensor->scalar_type, x.bytes, y.bytes);
  report.differences.push_back(
      {where, what, tensor_text(*x.tensor), tensor_text(*y.tensor), apart});
}

using DataPairs = std::set<std::pair<uint32_t, uint32_t>>;

void compare_stored(const Side& a, const Side& b, bool initial, const DataPairs& used_alike,
                    Tally& tally, Report& report) {
  const std::string where = initial ? "initial values" : "constants";
  std::map<uint32_t, Stored> xs = stored_tensors(a, initial), ys = stored_tensors(b, initial);
  auto label = [](uint32_t index, const Stored& stored) {
    return stored.name.empty() ? fmt::format("#{}", index) : stored.name;
  };
  for (auto [i, k] : used_alike) compare_pair(xs[i], ys[k], where, label(i, xs[i]), tally, report);
  // By name, by content, by type: each finds what those before it left.
  auto match = [&](auto key_of) {
    std::multimap<std::string, std::pair<const uint32_t, Stored>*> waiting;
    for (auto& y : ys)
      if (std::string key = key_of(y.second); !y.second.paired && !key.empty())
        waiting.emplace(key, &y);
    for (auto& [i, x] : xs) {
      if (x.paired) continue;
      auto found = waiting.find(key_of(x));
      if (found == waiting.end()) continue;
      compare_pair(x, found->second->second, where, label(i, x), tally, report);
      waiting.erase(found);
    }
  };
  match([](const Stored& s) { return s.name; });
  match([](const Stored& s) {  // a hash that lies makes a wrong pair, which then counts as changed
    std::string_view bytes(reinterpret_cast<const char*>(s.bytes.data()), s.bytes.size());
    return fmt::format("{}:{}", tensor_text(*s.tensor), std::hash<std::string_view>()(bytes));
  });
  match([](const Stored& s) { return tensor_text(*s.tensor); });
  for (auto& [i, x] : xs)
    if (!x.paired) {
      tally.only_a++;
      report.add(where, label(i, x), tensor_text(*x.tensor), "");
    }
  for (auto& [k, y] : ys)
    if (!y.paired) {
      tally.only_b++;
      report.add(where, label(k, y), "", tensor_text(*y.tensor));
    }
}

void compare_named_data(const Side& a, const Side& b, Report& report) {
  auto find = [](const Side& side, const std::string& key) -> const PteNamedData* {
    for (const PteNamedData& data : side.program->named_data)
      if (data.key == key) return &data;
    return nullptr;
  };
  auto text = [](const PteNamedData& data) { return fmt::format("{} bytes", data.data.size()); };
  Tally& tally = report.named_data;
  for (const PteNamedData& x : a.program->named_data) {
    const PteNamedData* y = find(b, x.key);
    if (!y) {
      tally.only_a++;
      report.add("named data", x.key, text(x), "");
    } else if (equal(x.data, y->data)) {
      tally.equal++;
      tally.moved += x.data.data() - a.file.data() != y->data.data() - b.file.data();
    } else {
      tally.changed++;
      report.differences.push_back({"named data", x.key, text(x), text(*y), {}});
    }
  }
  for (const PteNamedData& y : b.program->named_data)
    if (!find(a, y.key)) {
      tally.only_b++;
      report.add("named data", y.key, "", text(y));
    }
}

// --- delegates ----------------------------------------------------------------------------------

Bytes xnnpack_constant(const Side& side, const XnnGraph& graph, const XnnValue& value) {
  const XnnConstant& constant = graph.constants[value.constant];
  if (!constant.named) return constant.bytes;
  for (const PteNamedData& data : side.program->named_data)
    if (data.key == constant.key) return data.data;
  return {};
}

// Keys are hashes of contents: a changed weight is told as that, and no line about its key.
std::vector<std::string> graph_lines(const XnnGraph& graph) {
  XnnGraph nameless = graph;
  for (XnnConstant& constant : nameless.constants)
    if (constant.named) constant.key = "named";
  std::istringstream text(print_xnnpack(nameless));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

void compare_xnnpack(const Side& a, const Side& b, Bytes x, Bytes y, const std::string& where,
                     const std::string& what, Report& report) {
  auto first = read_xnnpack(x), second = read_xnnpack(y);
  auto text = [](const Result<XnnGraph>& graph) {
    return graph.ok()
               ? fmt::format("{} nodes, {} values", graph->nodes.size(), graph->values.size())
               : graph.error().text;
  };
  Difference difference{where, what, text(first), text(second), {}};
  if (first.ok() && second.ok()) {
    std::vector<std::string> lines = graph_lines(*first), others = graph_lines(*second);
    if (lines != others) {
      difference.lines = line_diff(lines, others);
    } else {
      // Equal graphs have their constants at the same values.
      for (size_t i = 0; i < first->values.size(); i++) {
        const XnnValue &v = first->values[i], &w = second->values[i];
        if (!v.constant || !w.constant) continue;
        Bytes p = xnnpack_constant(a, *first, v), q = xnnpack_constant(b, *second, w);
        if (equal(p, q)) continue;
        std::string line = fmt::format("value {}: {}[{}] changed", v.id, xnn_dtype_name(v.dtype),
                                       fmt::join(v.dims, ", "));
        std::optional<DType> dtype = v.dtype == XnnDType::f32    ? std::optional(DType::f32)
                                     : v.dtype == XnnDType::f16  ? std::optional(DType::f16)
                                     : v.dtype == XnnDType::bf16 ? std::optional(DType::bf16)
                                                                 : std::nullopt;
        auto apart = dtype ? error_between(int8_t(*dtype), p, q) : std::nullopt;
        if (apart) {
          line += fmt::format(", by up to {:.3g}", *apart);
          difference.error_max = std::max(difference.error_max.value_or(0), *apart);
        }
        difference.lines.push_back(line);
      }
      if (difference.lines.empty() && equal(x, y)) return;
      if (difference.lines.empty())
        difference.lines.push_back("nodes and weights are equal: scales or layout differ");
    }
  } else if (equal(x, y)) {
    return;
  }
  report.differences.push_back(std::move(difference));
}

void compare_delegates(const Side& a, const Side& b, const PteMethod& x, const PteMethod& y,
                       const std::string& where, Report& report) {
  size_t count = std::max(x.delegates.size(), y.delegates.size());
  for (size_t i = 0; i < count; i++) {
    const PteDelegate* p = i < x.delegates.size() ? &x.delegates[i] : nullptr;
    const PteDelegate* q = i < y.delegates.size() ? &y.delegates[i] : nullptr;
    auto text = [](const PteDelegate* d) {
      return d ? fmt::format("{}, {} bytes", d->id, d->data.size()) : std::string();
    };
    std::string what = fmt::format("delegate {}", i);
    if (!p || !q || p->id != q->id) {
      report.add(where, what, text(p), text(q));
      continue;
    }
    auto specs = [](const PteDelegate& d) {
      std::string all;
      for (const PteDelegate::Spec& spec : d.specs)
        all += fmt::format("{}{} ({} bytes)", all.empty() ? "" : ", ", spec.key, spec.value.size());
      return all.empty() ? std::string("none") : all;
    };
    bool same_specs = p->specs.size() == q->specs.size();
    for (size_t k = 0; same_specs && k < p->specs.size(); k++)
      same_specs = p->specs[k].key == q->specs[k].key && p->specs[k].value == q->specs[k].value;
    if (!same_specs)
      report.differences.push_back({where, what + " compile specs", specs(*p), specs(*q), {}});
    // Named constants of equal payloads may differ.
    if (p->id == kXnnBackendId)
      compare_xnnpack(a, b, p->data, q->data, where, what, report);
    else if (!equal(p->data, q->data))
      report.differences.push_back({where, what, text(p), text(q), {}});
  }
}

// --- methods ------------------------------------------------------------------------------------

std::map<std::string, size_t> operator_uses(const PteMethod& method) {
  std::map<std::string, size_t> uses;
  for (const PteChain& chain : method.chains)
    for (const PteInstruction& instruction : chain.instructions)
      if (auto* call = std::get_if<PteKernelCall>(&instruction))
        uses[operator_text(method.operators[size_t(call->operator_index)])]++;
  return uses;
}

size_t instruction_count(const PteMethod& method) {
  size_t count = 0;
  for (const PteChain& chain : method.chains) count += chain.instructions.size();
  return count;
}

void compare_memory(const PteMethod& a, const PteMethod& b, const Pairing* pairing,
                    const std::string& where, Report& report) {
  auto text = [](const std::vector<uint64_t>& memories) {
    return memories.empty() ? std::string("none")
                            : fmt::format("{} bytes", fmt::join(memories, " + "));
  };
  report.add(where, "planned memory", text(a.memories), text(b.memories));
  if (!pairing) return;
  size_t elsewhere = 0, planned = 0;
  std::string from, to;
  auto place = [](const PteTensor& t) {
    return t.placement ? fmt::format("memory {} at {}", t.placement->memory_id, t.placement->offset)
                       : std::string("not planned");
  };
  for (auto [i, k] : pairing->to_b) {
    auto* x = std::get_if<PteTensor>(&a.values[size_t(i)]);
    auto* y = std::get_if<PteTensor>(&b.values[size_t(k)]);
    if (!x || !y || (!x->placement && !y->placement)) continue;
    planned++;
    if (place(*x) == place(*y)) continue;
    if (elsewhere++ == 0) from = tensor_text(*x) + " in " + place(*x), to = place(*y);
  }
  if (elsewhere)
    report.differences.push_back(
        {where,
         fmt::format("{} of {} planned tensors lie elsewhere", elsewhere, planned),
         from,
         to,
         {}});
}

void compare_methods(const Side& sa, const Side& sb, const PteMethod& a, const PteMethod& b,
                     Report& report, DataPairs& constants, DataPairs& initial_values) {
  const std::string where = "method " + a.name;
  auto slots = [&](const std::vector<int32_t>& x, const std::vector<int32_t>& y, const char* what) {
    for (size_t i = 0; i < std::max(x.size(), y.size()); i++)
      report.add(where, fmt::format("{} {}", what, i),
                 i < x.size() ? argument_text(a, x[i]) : std::string(),
                 i < y.size() ? argument_text(b, y[i]) : std::string());
  };
  slots(a.inputs, b.inputs, "input");
  slots(a.outputs, b.outputs, "output");
  report.add(where, "shape of the arguments", a.input_spec, b.input_spec);
  report.add(where, "shape of the results", a.output_spec, b.output_spec);

  report.add(where, "instructions", fmt::format("{}", instruction_count(a)),
             fmt::format("{}", instruction_count(b)));
  auto uses = operator_uses(a), others = operator_uses(b);
  for (auto& [name, count] : uses)
    report.add(where, "calls of " + name, fmt::format("{}", count),
               fmt::format("{}", others.contains(name) ? others[name] : 0));
  for (auto& [name, count] : others)
    if (!uses.contains(name)) report.add(where, "calls of " + name, "0", fmt::format("{}", count));

  std::vector<std::string> lines = instruction_lines(a), other_lines = instruction_lines(b);
  bool alike = lines == other_lines && a.inputs.size() == b.inputs.size() &&
               a.outputs.size() == b.outputs.size() && a.chains.size() == b.chains.size();
  for (size_t c = 0; alike && c < a.chains.size(); c++)
    alike = a.chains[c].instructions.size() == b.chains[c].instructions.size();
  Pairing pairing;
  if (lines != other_lines) {
    std::vector<std::string> edits = line_diff(lines, other_lines);
    report.differences.push_back({where, "what the instructions do", "", "", {}, std::move(edits)});
  } else if (alike) {
    if (auto step = first_rewired(a, b, pairing)) {
      alike = false;
      report.differences.push_back(
          {where,
           *step < lines.size()
               ? fmt::format("instruction {} works on other values: {}", *step, lines[*step])
               : std::string("other values are the outputs"),
           "",
           "",
           {}});
    }
  }
  compare_delegates(sa, sb, a, b, where, report);
  compare_memory(a, b, alike ? &pairing : nullptr, where, report);
  if (!alike) return;
  for (auto [i, k] : pairing.to_b) {
    auto* x = std::get_if<PteTensor>(&a.values[size_t(i)]);
    auto* y = std::get_if<PteTensor>(&b.values[size_t(k)]);
    if (!x || !y || !x->data_index || !y->data_index || x->external || y->external ||
        bool(x->placement) != bool(y->placement))
      continue;
    (x->placement ? initial_values : constants).emplace(x->data_index, y->data_index);
  }
}

Report compare_programs(const Side& a, const Side& b) {
  Report report;
  report.same_bytes = equal(a.file, b.file);
  report.add("file", "version", fmt::format("{}", a.program->version),
             fmt::format("{}", b.program->version));
  auto find = [](const Side& side, const std::string& name) -> const PteMethod* {
    for (const PteMethod& method : side.program->methods)
      if (method.name == name) return &method;
    return nullptr;
  };
  auto text = [](const PteMethod& method) {
    return fmt::format("{} instructions", instruction_count(method));
  };
  DataPairs constants, initial_values;
  for (const PteMethod& method : a.program->methods) {
    const PteMethod* other = find(b, method.name);
    if (other)
      compare_methods(a, b, method, *other, report, constants, initial_values);
    else
      report.add("file", "method " + method.name, text(method), "");
  }
  for (const PteMethod& method : b.program->methods)
    if (!find(a, method.name)) report.add("file", "method " + method.name, "", text(method));
  compare_stored(a, b, false, constants, report.constants, report);
  compare_stored(a, b, true, initial_values, report.initial_values, report);
  compare_named_data(a, b, report);
  return report;
}

// --- output -------------------------------------------------------------------------------------

std::string shortened(const std::string& text, size_t limit) {
  return text.size() <= limit ? text : text.substr(0, limit - 3) + "...";
}

void print_json(const Report& report) {
  fmt::print("{{\"equal\": {}, \"same_bytes\": {}", report.differences.empty(), report.same_bytes);
  const std::pair<const char*, const Tally&> tallies[] = {{"constants", report.constants},
                                                          {"initial_values", report.initial_values},
                                                          {"named_data", report.named_data}};
  for (const auto& [name, t] : tallies)
    fmt::print(
        ", \"{}\": {{\"equal\": {}, \"moved\": {}, \"changed\": {}, \"only_a\": {}, \"only_b\": "
        "{}}}",
        name, t.equal, t.moved, t.changed, t.only_a, t.only_b);
  fmt::print(", \"differences\": [");
  const char* comma = "";
  for (const Difference& d : report.differences) {
    fmt::print("{}{{\"where\": {}, \"what\": {}, \"a\": {}, \"b\": {}", comma, json_string(d.where),
               json_string(d.what), json_string(d.a), json_string(d.b));
    if (d.error_max) fmt::print(", \"error_max\": {:.9g}", std::min(*d.error_max, 1e308));
    fmt::print(", \"lines\": [");
    const char* inner = "";
    for (const std::string& line : d.lines) {
      fmt::print("{}{}", inner, json_string(line));
      inner = ", ";
    }
    fmt::print("]}}");
    comma = ", ";
  }
  fmt::print("]}}\n");
}

void print_text(const Report& report, size_t rows) {
  std::string where;
  size_t in_place = 0;
  for (const Difference& d : report.differences) {
    if (d.where != where) {
      if (in_place > rows) fmt::print("  ... {} more\n", in_place - rows);
      fmt::print("{}\n", d.where);
      where = d.where;
      in_place = 0;
    }
    if (++in_place > rows) continue;
    std::string line = "  " + shortened(d.what, 100);
    if (!d.a.empty() && !d.b.empty())
      line += d.a == d.b ? fmt::format(": {} in both", shortened(d.a, 100))
                         : fmt::format(": {} -> {}", shortened(d.a, 100), shortened(d.b, 100));
    else if (!d.a.empty())
      line += fmt::format(": {}, only in the first", shortened(d.a, 100));
    else if (!d.b.empty())
      line += fmt::format(": {}, only in the second", shortened(d.b, 100));
    if (d.error_max) line += fmt::format("; values differ by up to {:.3g}", *d.error_max);
    fmt::print("{}\n", line);
    for (size_t i = 0; i < d.lines.size() && i < rows; i++)
      fmt::print("    {}\n", shortened(d.lines[i], 160));
    if (d.lines.size() > rows) fmt::print("    ... {} more\n", d.lines.size() - rows);
  }
  if (in_place > rows) fmt::print("  ... {} more\n", in_place - rows);
  auto tally = [](const char* name, const Tally& t) {
    if (t.equal + t.changed + t.only_a + t.only_b == 0) return;
    fmt::print("{}: {} equal", name, t.equal);
    if (t.moved) fmt::print(" ({} at another place)", t.moved);
    if (t.changed) fmt::print(", {} changed", t.changed);
    if (t.only_a) fmt::print(", {} only in the first", t.only_a);
    if (t.only_b) fmt::print(", {} only in the second", t.only_b);
    fmt::print("\n");
  };
  tally("constants", report.constants);
  tally("initial values", report.initial_values);
  tally("named data", report.named_data);
  if (report.same_bytes)
    fmt::print("the files are equal\n");
  else if (report.differences.empty())
    fmt::print("the programs are equal; the files are laid out differently\n");
}

}  // namespace

void add_diff(CLI::App& app) {
  struct Options {
    std::string a, b;
    size_t rows = 10;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("diff", "What differs between two programs; exit code 1 when they differ");
  command->add_option("a", options->a, "A .pte or .bpte")->required();
  command->add_option("b", options->b, "The one to compare it with")->required();
  command
      ->add_option("--rows", options->rows,
                   "Rows of text for each part of the programs and each of "
                   "their differences")
      ->capture_default_str();
  command->add_flag("--json", options->json, "As JSON, whole");
  command->footer(
      "Example:\n  sconce diff before.pte after.pte\nCompared: methods, their inputs and outputs, "
      "instructions, planned memory, delegates and\nXNNPACK graphs in them, constants by content, "
      "initial values of state, named data. Not compared:\nwhere in the file things lie, devices, "
      "and "
      "source "
      "lines.");
  command->callback([options] {
    bool json = options->json;
    struct File {
      MappedFile file;
      PteProgram program;
      Side side;
    } files[2];
    const std::string* paths[2] = {&options->a, &options->b};
    for (int i = 0; i < 2; i++) {
      files[i].file = value_or_exit(map_file(*paths[i]), json);
      Bytes bytes = value_or_exit(program_in(files[i].file.bytes()).with_context(*paths[i]), json);
      files[i].program = value_or_exit(read_pte(bytes).with_context(*paths[i]), json);
      files[i].side = {bytes, &files[i].program};
    }
    Report report = compare_programs(files[0].side, files[1].side);
    if (json)
      print_json(report);
    else
      print_text(report, options->rows);
    if (!report.differences.empty()) exit(1);
  });
}

}  // namespace sconce::cli
