// Integers of 8 bits without a sign that only stand between quantize and dequantize get one: q -
// 128 by a zero point 128 lower, the same numbers. What comes after (fold_quantization, the
// targets) then has one kind of integers. Quantizers for x86 and OpenVINO choose unsigned
// activations.
#include <algorithm>

#include "ops/def.h"
#include "passes/passes.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

constexpr int64_t kMoved = 128;
constexpr size_t kDtype = 5;  // argument of quantize and dequantize

class Signing {
 public:
  Signing(const Program& program, Graph& graph) : program_(program), graph_(graph), users_(graph) {}

  void run() {
    for (NodeId id : graph_.order) {
      const std::string& op = graph_.nodes[size_t(id)].op;
      if (op == "quantized_decomposed::quantize_per_tensor")
        sign_known(id);
      else if (op == "quantized_decomposed::choose_qparams.tensor")
        sign_chosen(id);
    }
  }

 private:
  Node& node(NodeId id) { return graph_.nodes[size_t(id)]; }
  std::optional<double> number(NodeId id, size_t argument) {
    if (node(id).arguments.size() <= argument) return std::nullopt;
    return known_number(program_, graph_, node(id).arguments[argument]);
  }
  bool is_unsigned(NodeId id, size_t dtype) { return number(id, dtype) == double(DType::u8); }
  ValueId operand(NodeId id, size_t argument) {
    auto* value = std::get_if<ValueRef>(&node(id).arguments[argument]);
    return value ? value->id : kNoValue;
  }
  bool are_known(NodeId id, size_t first, size_t last) {
    for (size_t i = first; i <= last; i++)
      if (!number(id, i)) return false;
    return true;
  }

  // All that reads the integers of a quantize makes numbers of them; by `dequantize`, whose
  // arguments from `first` to 4 are known.
  bool only_become_numbers(ValueId q, const char* dequantize, size_t first) {
    if (users_.is_output(q)) return false;
    Span<const NodeId> readers = users_.users(q);
    return std::all_of(readers.begin(), readers.end(), [&](NodeId reader) {
      return node(reader).op == dequantize && operand(reader, 0) == q &&
             is_unsigned(reader, kDtype) && are_known(reader, first, 4);
    });
  }

  void lower(NodeId id, size_t first, size_t last, size_t dtype) {
    for (size_t i = first; i <= last; i++) node(id).arguments[i] = int64_t(*number(id, i)) - kMoved;
    node(id).arguments[dtype] = int64_t(DType::i8);
  }
  void sign(NodeId quantize, size_t first) {
    const ValueId q = node(quantize).results[0];
    graph_.values[size_t(q)].type.tensor.dtype = DType::i8;
    lower(quantize, first, 4, kDtype);
    for (NodeId reader : users_.users(q)) lower(reader, first, 4, kDtype);
  }

  // x, scale, zero point, min, max, dtype
  void sign_known(NodeId id) {
    if (is_unsigned(id, kDtype) && are_known(id, 2, 4) &&
        only_become_numbers(node(id).results[0], "quantized_decomposed::dequantize_per_tensor", 2))
      sign(id, 2);
  }

  // x, min, max, least scale, dtype: the zero point is chosen between min and max, and moves with
  // them. Only quantizes, and what makes numbers of their results, may read it.
  void sign_chosen(NodeId id) {
    if (!is_unsigned(id, 4) || !are_known(id, 1, 2) || node(id).results.size() != 2) return;
    const ValueId zero = node(id).results[1];
    if (users_.is_output(zero)) return;
    std::vector<NodeId> quantizes;
    for (NodeId reader : users_.users(zero)) {
      const Node& user = node(reader);
      if (user.op == "quantized_decomposed::quantize_per_tensor.tensor") {
        if (!is_unsigned(reader, kDtype) || !are_known(reader, 3, 4) ||
            !only_become_numbers(user.results[0],
                                 "quantized_decomposed::dequantize_per_tensor.tensor", 3))
          return;
        for (NodeId back : users_.users(user.results[0]))
          if (operand(back, 2) != zero) return;
        quantizes.push_back(reader);
      } else if (user.op != "quantized_decomposed::dequantize_per_tensor.tensor" ||
                 !makes_numbers_of(operand(reader, 0), zero)) {
        return;
      }
    }
    lower(id, 1, 2, 4);
    for (NodeId quantize : quantizes) sign(quantize, 3);
  }
  // True when a quantize by this zero point made the integers.
  bool makes_numbers_of(ValueId q, ValueId zero) {
    if (q == kNoValue || !graph_.is_node(q)) return false;
    const Node& quantize = graph_.producer(q);
    auto* by = quantize.op == "quantized_decomposed::quantize_per_tensor.tensor"
                   ? std::get_if<ValueRef>(&quantize.arguments[2])
                   : nullptr;
    return by && by->id == zero;
  }

  const Program& program_;
  Graph& graph_;
  UserIndex users_;
};

}  // namespace

Result<void> make_integers_signed(Program& program, Graph& graph, const PassContext& context) {
  if (context.quantized == QuantizedGraphs::as_they_are) return {};
  Signing(program, graph).run();
  return {};
}

}  // namespace sconce
