// sconce inspect: what is in a file, whatever its format.
#include <cstring>
#include <sstream>

#include "base/file.h"
#include "cli.h"
#include "formats/bpte/bpte.h"
#include "formats/pt2/pt2.h"
#include "formats/ptd/ptd.h"
#include "formats/pte/pte.h"
#include "formats/xnnpack/xnnpack.h"
#include "named_tensors.h"
#include "pte_text.h"
#include "targets/cpu/run/tuning.h"
#include "tile/program_bytes.h"

namespace sconce::cli {
namespace {

struct MapRow {
  uint64_t offset, bytes;
  uint32_t first, last;
  int32_t value;
};

// Who uses the planned memory when: by instruction.
std::vector<MapRow> memory_map(const PteMethod& method) {
  std::vector<MapRow> rows(method.values.size(), MapRow{0, 0, UINT32_MAX, 0, -1});
  auto touch = [&](int32_t value, uint32_t step) {
    if (value < 0 || size_t(value) >= rows.size()) return;
    auto visit = [&](int32_t v) {
      rows[size_t(v)].first = std::min(rows[size_t(v)].first, step);
      rows[size_t(v)].last = std::max(rows[size_t(v)].last, step);
    };
    visit(value);
    if (auto* list = std::get_if<PteTensorList>(&method.values[size_t(value)]))
      for (int32_t v : list->items) visit(v);
    if (auto* list = std::get_if<PteOptionalTensorList>(&method.values[size_t(value)]))
      for (int32_t v : list->items)
        if (v >= 0) visit(v);
  };
  uint32_t step = 0;
  for (int32_t v : method.inputs) touch(v, 0);
  for (const PteChain& chain : method.chains)
    for (const PteInstruction& instruction : chain.instructions) {
      if (auto* call = std::get_if<PteKernelCall>(&instruction))
        for (int32_t v : call->args) touch(v, step);
      if (auto* call = std::get_if<PteDelegateCall>(&instruction))
        for (int32_t v : call->args) touch(v, step);
      if (auto* move = std::get_if<PteMove>(&instruction)) {
        touch(move->from, step);
        touch(move->to, step);
      }
      if (auto* jump = std::get_if<PteJumpFalse>(&instruction)) touch(jump->condition, step);
      step++;
    }
  for (int32_t v : method.outputs) touch(v, step);
  std::vector<MapRow> used;
  for (size_t v = 0; v < rows.size(); v++) {
    auto* t = std::get_if<PteTensor>(&method.values[v]);
    if (!t || !t->placement || rows[v].first == UINT32_MAX) continue;
    used.push_back(
        {t->placement->offset, tensor_size(*t), rows[v].first, rows[v].last, int32_t(v)});
  }
  std::sort(used.begin(), used.end(), [](const MapRow& a, const MapRow& b) {
    return std::tie(a.offset, a.first) < std::tie(b.offset, b.first);
  });
  return used;
}

std::string tile_text(const tile::Program& program) {
  std::string text;
  for (size_t n = 0; n < program.steps.size(); n++)
    text +=
        fmt::format("step {}: kernel {}{}{}\n", n, program.kernels[program.steps[n].kernel].name,
                    program.steps[n].source.empty() ? "" : ", ", program.steps[n].source);
  for (const tile::Kernel& kernel : program.kernels) text += tile::print(kernel);
  return text;
}

// Schedules are told by the machines that they are for.
void print_named_data(const PteNamedData& data) {
  fmt::print("named data {}: {}\n", data.key, human_bytes(data.data.size()));
  if (data.key != kSchedulesName) return;
  auto all =
      tile::parse_schedules({reinterpret_cast<const char*>(data.data.data()), data.data.size()});
  if (!all.ok()) fmt::print("  no reader takes them: {}\n", all.error().text);
  for (size_t i = 0; all.ok() && i < all->size(); i++) {
    const tile::Machine& machine = (*all)[i].machine;
    fmt::print("  schedules of {} kernels for {} {}, {} thread{}\n", (*all)[i].steps.size(),
               machine.micro_architecture, machine.isa, machine.threads,
               machine.threads == 1 ? "" : "s");
  }
}

// A payload that cannot be read is told, and no reason to stop.
void print_payload(const PteDelegate& delegate) {
  std::string text;
  if (delegate.id == kXnnBackendId) {
    auto graph = read_xnnpack(delegate.data);
    text = graph.ok() ? print_xnnpack(*graph) : graph.error().text;
  } else if (delegate.id == tile::kBackendId) {
    auto program = tile::read_program(delegate.data);
    text = program.ok() ? tile_text(*program) : program.error().text;
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) fmt::print("    {}\n", line);
}

void inspect_pte(const std::string& path, Bytes bytes, bool json, bool map, bool instructions) {
  PteProgram program = value_or_exit(read_pte(bytes).with_context(path), json);
  PteLayout layout = value_or_exit(read_pte_layout(bytes).with_context(path), json);
  if (json) {
    fmt::print("{{\"format\": \"pte\", \"bytes\": {}, \"program_bytes\": {}, \"segments\": [",
               bytes.size(), layout.program_bytes);
    const char* comma = "";
    for (const auto& s : layout.segments) {
      fmt::print("{}{{\"offset\": {}, \"bytes\": {}, \"what\": {}}}", comma, s.offset, s.bytes,
                 json_string(s.what));
      comma = ", ";
    }
    fmt::print("], \"constants\": {}, \"methods\": [", program.constants.size() - 1);
    comma = "";
    for (const PteMethod& m : program.methods) {
      size_t count = 0;
      for (const PteChain& c : m.chains) count += c.instructions.size();
      fmt::print(
          "{}{{\"name\": {}, \"instructions\": {}, \"values\": {}, \"memories\": [{}], \"inputs\": "
          "[",
          comma, json_string(m.name), count, m.values.size(), fmt::join(m.memories, ", "));
      const char* inner = "";
      for (int32_t v : m.inputs) {
        fmt::print("{}{}", inner, json_string(value_text(m.values[size_t(v)])));
        inner = ", ";
      }
      fmt::print("], \"outputs\": [");
      inner = "";
      for (int32_t v : m.outputs) {
        fmt::print("{}{}", inner, json_string(value_text(m.values[size_t(v)])));
        inner = ", ";
      }
      fmt::print("], \"operators\": [");
      inner = "";
      for (const PteOperator& op : m.operators) {
        fmt::print("{}{}", inner, json_string(operator_text(op)));
        inner = ", ";
      }
      fmt::print("], \"delegates\": [");
      inner = "";
      for (const PteDelegate& d : m.delegates) {
        fmt::print("{}{}", inner, json_string(d.id));
        inner = ", ";
      }
      fmt::print("]");
      if (map) {
        fmt::print(", \"memory_map\": [");
        inner = "";
        for (const MapRow& r : memory_map(m)) {
          fmt::print(
              "{}{{\"value\": {}, \"offset\": {}, \"bytes\": {}, \"first\": {}, \"last\": {}}}",
              inner, r.value, r.offset, r.bytes, r.first, r.last);
          inner = ", ";
        }
        fmt::print("]");
      }
      fmt::print("}}");
      comma = ", ";
    }
    fmt::print("], \"named_data\": [");
    comma = "";
    for (const PteNamedData& d : program.named_data) {
      fmt::print("{}{{\"key\": {}, \"bytes\": {}}}", comma, json_string(d.key), d.data.size());
      comma = ", ";
    }
    fmt::print("]}}\n");
    return;
  }
  fmt::print("{}: ExecuTorch program, {}\n", path, human_bytes(bytes.size()));
  fmt::print("  {:>12}  {:>10}  tables\n", 0, human_bytes(layout.program_bytes));
  for (const auto& s : layout.segments)
    fmt::print("  {:>12}  {:>10}  {}\n", s.offset, human_bytes(s.bytes), s.what);
  for (const PteMethod& m : program.methods) {
    size_t count = 0;
    for (const PteChain& c : m.chains) count += c.instructions.size();
    fmt::print("\nmethod {}: {} instructions, {} values, working memory", m.name, count,
               m.values.size());
    for (uint64_t bytes_planned : m.memories) fmt::print(" {}", human_bytes(bytes_planned));
    if (m.memories.empty()) fmt::print(" none");
    fmt::print("\n");
    for (size_t i = 0; i < m.inputs.size(); i++)
      fmt::print("  input {:<3} {}\n", i, value_text(m.values[size_t(m.inputs[i])]));
    for (size_t i = 0; i < m.outputs.size(); i++)
      fmt::print("  output {:<2} {}\n", i, value_text(m.values[size_t(m.outputs[i])]));
    for (const PteDelegate& d : m.delegates) {
      fmt::print("  delegate {} ({})\n", d.id, human_bytes(d.data.size()));
      if (instructions) print_payload(d);
    }
    std::vector<int> uses(m.operators.size(), 0);
    for (const PteChain& c : m.chains)
      for (const PteInstruction& i : c.instructions)
        if (auto* call = std::get_if<PteKernelCall>(&i)) uses[size_t(call->operator_index)]++;
    for (size_t i = 0; i < uses.size(); i++)
      fmt::print("  {:6} x {}\n", uses[i], operator_text(m.operators[i]));
    if (instructions) {
      size_t step = 0;
      for (const PteChain& c : m.chains)
        for (size_t k = 0; k < c.instructions.size(); k++, step++) {
          const PteInstruction& instruction = c.instructions[k];
          fmt::print("  {:5}  ", step);
          if (auto* call = std::get_if<PteKernelCall>(&instruction)) {
            fmt::print("{}(", operator_text(m.operators[size_t(call->operator_index)]));
            for (size_t a = 0; a < call->args.size(); a++)
              fmt::print("{}{}: {}", a ? ", " : "", call->args[a],
                         value_text(m.values[size_t(call->args[a])]));
            fmt::print(")");
          } else if (auto* delegate = std::get_if<PteDelegateCall>(&instruction)) {
            fmt::print("delegate {}({})", delegate->delegate_index,
                       fmt::join(delegate->args, ", "));
          } else if (auto* move = std::get_if<PteMove>(&instruction)) {
            fmt::print("move {} -> {}", move->from, move->to);
          } else if (auto* jump = std::get_if<PteJumpFalse>(&instruction)) {
            fmt::print("if not {} goto {}", jump->condition, jump->destination);
          } else {
            fmt::print("free {}", std::get<PteFree>(instruction).value);
          }
          if (k < c.stacks.size() && !c.stacks[k].empty())
            fmt::print("   # {}:{}", c.stacks[k].back().file, c.stacks[k].back().line);
          fmt::print("\n");
        }
    }
    if (map) {
      // One line a tensor: where it lies, and when it is alive, as a bar over the instructions.
      constexpr size_t kColumns = 48;
      size_t steps = std::max<size_t>(count, 1);
      fmt::print("  memory map: offset, bytes, alive from the first to the last instruction\n");
      for (const MapRow& r : memory_map(m)) {
        std::string bar(kColumns, '.');
        for (size_t c = r.first * kColumns / (steps + 1);
             c <= r.last * kColumns / (steps + 1) && c < kColumns; c++)
          bar[c] = '#';
        fmt::print("  {:>12} {:>12} {} {}\n", r.offset, r.bytes, bar,
                   value_text(m.values[size_t(r.value)]));
      }
    }
  }
  for (const PteNamedData& d : program.named_data) print_named_data(d);
}

std::string value_text(const BpteValue& value) {
  if (auto* i = std::get_if<int64_t>(&value)) return fmt::format("int {}", *i);
  if (auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (auto* d = std::get_if<double>(&value)) return fmt::format("float {}", *d);
  const auto& tensor = std::get<BpteTensor>(value);
  return tensor_text(
      {.scalar_type = int8_t(tensor.dtype), .sizes = tensor.sizes, .dim_order = tensor.dim_order});
}

void inspect_bpte(const std::string& path, Bytes bytes, bool json, bool map, bool instructions) {
  BpteFile bundle = value_or_exit(read_bpte(bytes).with_context(path), json);
  auto list = [](const std::vector<BpteValue>& values, auto text) {
    std::string all;
    for (const BpteValue& value : values) all += (all.empty() ? "" : ", ") + text(value);
    return all;
  };
  auto quoted = [](const BpteValue& value) { return json_string(value_text(value)); };
  auto plain = [](const BpteValue& value) { return value_text(value); };
  if (json)
    fmt::print("{{\"format\": \"bpte\", \"bytes\": {}, \"suites\": [", bytes.size());
  else
    fmt::print("{}: bundle of a program with test cases, {}\n", path, human_bytes(bytes.size()));
  const char* comma = "";
  for (const BpteSuite& suite : bundle.suites) {
    if (json)
      fmt::print("{}{{\"method\": {}, \"cases\": [", comma, json_string(suite.method));
    else
      fmt::print("method {}: {} case{}\n", suite.method, suite.cases.size(),
                 suite.cases.size() == 1 ? "" : "s");
    const char* inner = "";
    for (size_t i = 0; i < suite.cases.size(); i++) {
      const BpteCase& test = suite.cases[i];
      if (json)
        fmt::print("{}{{\"inputs\": [{}], \"outputs\": [{}]}}", inner, list(test.inputs, quoted),
                   list(test.outputs, quoted));
      else
        fmt::print("  case {:<4} {} -> {}\n", i, list(test.inputs, plain),
                   test.outputs.empty() ? "nothing is expected" : list(test.outputs, plain));
      inner = ", ";
    }
    if (json) fmt::print("]}}");
    comma = ", ";
  }
  fmt::print("{}", json ? "], \"program\": " : "\n");
  inspect_pte(path, bundle.program, json, map, instructions);
  if (json) fmt::print("}}\n");
}

void inspect_ptd(const std::string& path, Bytes bytes, bool json) {
  std::vector<PtdEntry> entries = value_or_exit(read_ptd(bytes).with_context(path), json);
  if (json)
    fmt::print("{{\"format\": \"ptd\", \"bytes\": {}, \"entries\": [", bytes.size());
  else
    fmt::print("{}: ExecuTorch data, {} entries, {}\n", path, entries.size(),
               human_bytes(bytes.size()));
  const char* comma = "";
  for (const PtdEntry& entry : entries) {
    std::string type = entry.is_tensor ? tensor_text({.scalar_type = int8_t(entry.dtype),
                                                      .sizes = entry.sizes,
                                                      .dim_order = entry.dim_order})
                                       : std::string("opaque");
    if (json)
      fmt::print("{}{{\"key\": {}, \"type\": {}, \"bytes\": {}}}", comma, json_string(entry.key),
                 json_string(type), entry.bytes.size());
    else
      fmt::print("  {:40} {}  {}\n", entry.key, type, human_bytes(entry.bytes.size()));
    comma = ", ";
  }
  if (json) fmt::print("]}}\n");
}

std::string meta_text(const pt2::TensorMeta& meta) {
  std::string text = fmt::format("{}[", dtype_name(meta.dtype));
  for (size_t i = 0; i < meta.sizes.size(); i++) {
    if (i) text += ", ";
    text += meta.sizes[i].is_constant() ? fmt::format("{}", meta.sizes[i].hint.value_or(0))
                                        : std::string(meta.sizes[i].expr);
  }
  return text + "]";
}

void inspect_pt2(const std::string& path, Bytes bytes, bool json) {
  pt2::Archive archive = value_or_exit(pt2::read_archive(bytes).with_context(path), json);
  if (json)
    fmt::print("{{\"format\": \"pt2\", \"bytes\": {}, \"programs\": [", bytes.size());
  else
    fmt::print("{}: torch.export archive, {}\n", path, human_bytes(bytes.size()));
  const char* comma = "";
  for (const pt2::Program& p : archive.programs) {
    uint64_t weights = 0;
    for (const pt2::Weight& w : p.weights) weights += w.bytes.size();
    if (json) {
      fmt::print(
          "{}{{\"name\": {}, \"torch\": {}, \"nodes\": {}, \"weights\": {}, \"weight_bytes\": {}}}",
          comma, json_string(p.name), json_string(p.torch_version), p.graph.nodes.size(),
          p.weights.size(), weights);
      comma = ", ";
      continue;
    }
    fmt::print("program {}: written by torch {} (schema {}.{}), {} nodes, {} weights of {}\n",
               p.name, p.torch_version, p.schema_major, p.schema_minor, p.graph.nodes.size(),
               p.weights.size(), human_bytes(weights));
    for (const pt2::InputSpec& spec : p.inputs) {
      if (spec.kind != pt2::InputSpec::Kind::user_input &&
          spec.kind != pt2::InputSpec::Kind::constant_input)
        continue;
      const pt2::TensorMeta* meta = spec.arg.kind == pt2::Argument::Kind::tensor
                                        ? pt2::find_tensor(p.graph, spec.arg.name)
                                        : nullptr;
      fmt::print("  input {}: {}\n", spec.arg.name,
                 meta ? meta_text(*meta) : pt2::kind_name(spec.arg.kind));
    }
    for (const pt2::OutputSpec& spec : p.outputs) {
      const pt2::TensorMeta* meta = spec.arg.kind == pt2::Argument::Kind::tensor
                                        ? pt2::find_tensor(p.graph, spec.arg.name)
                                        : nullptr;
      fmt::print("  output {}: {}\n", spec.arg.name,
                 meta ? meta_text(*meta) : pt2::kind_name(spec.arg.kind));
    }
    for (const auto& range : p.range_constraints)
      fmt::print("  {} is {} to {}\n", range.name,
                 range.value.min ? fmt::format("{}", *range.value.min) : "any",
                 range.value.max ? fmt::format("{}", *range.value.max) : "any");
  }
  if (json) fmt::print("]}}\n");
}

}  // namespace

void add_inspect(CLI::App& app) {
  struct Options {
    std::string file;
    bool json = false, map = false, instructions = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show what is in a .pte, .bpte, .ptd, .pt2, .safetensors or .npy");
  command->add_option("file", options->file, "The file")->required();
  command->add_flag("--memory-map", options->map,
                    "Of a .pte: which tensor lies where, and when it is alive");
  command->add_flag(
      "--instructions", options->instructions,
      "Of a .pte: every instruction with its arguments; what XNNPACK payloads hold, and "
      "the kernels of ours");
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example:\n  sconce inspect model.pte --memory-map");
  command->callback([options] {
    const std::string& path = options->file;
    MappedFile file = value_or_exit(map_file(path), options->json);
    Bytes bytes = file.bytes();
    if (is_bpte(bytes))
      return inspect_bpte(path, bytes, options->json, options->map, options->instructions);
    if (bytes.size() >= 8 && memcmp(bytes.data() + 4, "FT", 2) == 0)
      return inspect_ptd(path, bytes, options->json);
    if (bytes.size() >= 8 && memcmp(bytes.data() + 4, "ET", 2) == 0)
      return inspect_pte(path, bytes, options->json, options->map, options->instructions);
    if (bytes.size() >= 4 && memcmp(bytes.data(), "PK\3\4", 4) == 0)
      return inspect_pt2(path, bytes, options->json);
    TensorFile tensors = value_or_exit(load_tensors(path), options->json);
    if (options->json)
      fmt::print("{{\"format\": {}, \"bytes\": {}, \"tensors\": [",
                 json_string(path.ends_with(".npy") ? "npy" : "safetensors"), bytes.size());
    else
      fmt::print("{}: {} tensors, {}\n", path, tensors.tensors.size(), human_bytes(bytes.size()));
    const char* comma = "";
    for (const NamedTensor& t : tensors.tensors) {
      if (options->json)
        fmt::print("{}{{\"name\": {}, \"dtype\": \"{}\", \"sizes\": [{}], \"bytes\": {}}}", comma,
                   json_string(t.name), dtype_name(t.dtype), fmt::join(t.sizes, ", "),
                   t.bytes.size());
      else
        fmt::print("  {:40} {:5} [{}]  {}\n", t.name, dtype_name(t.dtype), fmt::join(t.sizes, ", "),
                   human_bytes(t.bytes.size()));
      comma = ", ";
    }
    if (options->json) fmt::print("]}}\n");
  });
}

}  // namespace sconce::cli
