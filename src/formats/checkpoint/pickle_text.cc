// Values as text, for reports and metadata.
#include <cmath>

#include "formats/checkpoint/globals.h"
#include "formats/checkpoint/pickle.h"
#include "formats/json/json_text.h"

namespace sconce {
namespace {

class Printer {
 public:
  Printer(const PickleTree& tree, size_t bytes_max) : tree_(tree), bytes_max_(bytes_max) {}

  std::string print(ValueId id) {
    value(id, 0);
    if (cut_) out_ += "...";
    return std::move(out_);
  }

 private:
  void put(std::string_view text) {
    if (cut_) return;
    if (out_.size() + text.size() > bytes_max_) {
      cut_ = true;
      return;
    }
    out_ += text;
  }

  void quoted(std::string_view text) {
    put("\"");
    for (char c : text) {
      if (cut_) return;
      std::string one;
      json::append_escaped({&c, 1}, &one);
      put(one);
    }
    put("\"");
  }

  void items(Span<const ValueId> items, const char* open, const char* close, int depth) {
    put(open);
    for (size_t i = 0; i < items.size() && !cut_; i++) {
      if (i > 0) put(", ");
      value(items[i], depth + 1);
    }
    put(close);
  }

  void tensor(const PickleTensor& tensor, const char* what) {
    quoted(fmt::format("{} {} [{}]", what, tensor.type ? tensor.type->name : "unknown",
                       fmt::join(tensor.sizes, ", ")));
  }

  // Cuts what is too long or too deep, so that values that hold themselves end too.
  void value(ValueId id, int depth) {
    if (cut_) return;
    if (depth > 32) {
      cut_ = true;
      return;
    }
    const PickleValue& v = tree_.values[id];
    switch (v.kind) {
      case PickleKind::none: return put("null");
      case PickleKind::boolean: return put(v.integer ? "true" : "false");
      case PickleKind::integer: return put(fmt::format("{}", v.integer));
      case PickleKind::big_integer: {
        std::string hex;
        std::string_view bytes = tree_.text(id);
        for (size_t i = bytes.size(); i-- > 0;) hex += fmt::format("{:02x}", uint8_t(bytes[i]));
        return quoted("0x" + hex);
      }
      case PickleKind::floating:
        return std::isfinite(v.floating) ? put(fmt::format("{}", v.floating))
                                         : quoted(fmt::format("{}", v.floating));
      case PickleKind::text:
      case PickleKind::text_like: return quoted(tree_.text(id));
      case PickleKind::bytes: return quoted(fmt::format("{} bytes", v.count));
      case PickleKind::list:
      case PickleKind::tuple:
      case PickleKind::complex:
      case PickleKind::set: return items(tree_.items(id), "[", "]", depth);
      case PickleKind::dict: {
        Span<const ValueId> pairs = tree_.items(id);
        put("{");
        for (size_t i = 0; i + 1 < pairs.size() && !cut_; i += 2) {
          if (i > 0) put(", ");
          if (tree_.values[pairs[i]].kind == PickleKind::text)
            value(pairs[i], depth + 1);
          else
            quoted(print_pickle_value(tree_, pairs[i], 200));
          put(": ");
          value(pairs[i + 1], depth + 1);
        }
        return put("}");
      }
      case PickleKind::storage: {
        const PickleStorage& storage = tree_.storages[tree_.views[v.index].storage];
        return quoted(fmt::format("storage of {} {}", storage.count, storage.type->name));
      }
      case PickleKind::tensor: return tensor(tree_.tensors[v.index], "tensor");
      case PickleKind::array: return tensor(tree_.tensors[v.index], "numpy array");
      case PickleKind::dtype: return quoted(fmt::format("torch.{}", v.type->name));
      case PickleKind::array_dtype: return quoted(v.type ? v.type->name : "numpy dtype");
      case PickleKind::global:
        return quoted(fmt::format("{}.{}", v.global->module, v.global->name));
      case PickleKind::placeholder: {
        const Placeholder& placeholder = tree_.placeholders[v.index];
        return quoted(fmt::format("<{}{}>", tree_.unknown[placeholder.unknown].name,
                                  placeholder.called ? "()" : ""));
      }
    }
  }

  const PickleTree& tree_;
  size_t bytes_max_;
  std::string out_;
  bool cut_ = false;
};

}  // namespace

std::string print_pickle_value(const PickleTree& tree, ValueId id, size_t bytes_max) {
  return Printer(tree, bytes_max).print(id);
}

}  // namespace sconce
