// Integers of 8 bits without a sign that only stand between quantize and dequantize get one: q -
// 128 by a zero point 128 lower, the same numbers. What comes after (fold_quantization, the
// targets) then has one kind of integers. Quantizers for x86 and OpenVINO choose unsigned
// activations.
//
// torchao adds 128 to bytes that a processor multiplies faster without a sign, and takes 128 times
// the sums of columns from the products: these are products of the bytes as they were.
#include <algorithm>
#include <cstring>

#include "ops/def.h"
#include "passes/match.h"
#include "passes/passes.h"
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
      else if (op == "aten::sub.Tensor")
        sign_product(id);
    }
  }

 private:
  Node& node(NodeId id) { return graph_.nodes[size_t(id)]; }
  std::optional<double> number(NodeId id, size_t argument) {
    if (node(id).arguments.size() <= argument) return std::nullopt;
    return known_number(program_, graph_, node(id).arguments[argument]);
  }
  bool is_unsigned(NodeId id, size_t dtype) { return number(id, dtype) == double(DType::u8); }
  ValueId operand(NodeId id, size_t argument) { return Matcher::value(node(id), argument); }
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
  bool makes_numbers_of(ValueId q, ValueId zero) const {
    const Node* quantize = made_by(q, "quantized_decomposed::quantize_per_tensor.tensor");
    return quantize && Matcher::value(*quantize, 2) == zero;
  }

  // What makes a value, when it is this operator.
  const Node* made_by(ValueId id, const char* op) const {
    if (id == kNoValue || !graph_.is_node(id)) return nullptr;
    const Node& made = graph_.producer(id);
    return made.op == op ? &made : nullptr;
  }
  DType dtype(ValueId id) const { return graph_.type(id).tensor.dtype; }
  const ConstantData* constant(ValueId id) const {
    if (id == kNoValue || graph_.values[size_t(id)].origin != Origin::constant) return nullptr;
    return &program_.constants[size_t(graph_.values[size_t(id)].index)];
  }

  // _int_mm(u8(i32(q) + 128), w) - 128 * sums of w's columns
  void sign_product(NodeId id) {
    Node& difference = node(id);
    if (number(id, 2) != 1.0) return;
    const ValueId product = Matcher::value(difference, 0);
    const Node* mm = made_by(product, "aten::_int_mm");
    const ConstantData* taken = constant(Matcher::value(difference, 1));
    const Node* narrowed = mm ? made_by(Matcher::value(*mm, 0), "aten::_to_copy") : nullptr;
    const Node* moved =
        narrowed ? made_by(Matcher::value(*narrowed, 0), "aten::add.Tensor") : nullptr;
    const Node* widened = moved ? made_by(Matcher::value(*moved, 0), "aten::_to_copy") : nullptr;
    const ConstantData* weight = mm ? constant(Matcher::value(*mm, 1)) : nullptr;
    if (!widened || !weight || !taken || dtype(narrowed->results[0]) != DType::u8 ||
        dtype(moved->results[0]) != DType::i32 || dtype(Matcher::value(*widened, 0)) != DType::i8 ||
        known_number(program_, graph_, moved->arguments[1]) != double(kMoved) ||
        known_number(program_, graph_, moved->arguments[2]) != 1.0 ||
        !are_moved_sums(*weight, *taken))
      return;
    const std::vector<Argument> factors{ValueRef{Matcher::value(*widened, 0)}, mm->arguments[1]};
    difference.op = "aten::_int_mm";
    difference.arguments = factors;
  }
  // 128 times the sums of the columns of a matrix of i8.
  static bool are_moved_sums(const ConstantData& matrix, const ConstantData& sums) {
    if (matrix.type.dtype != DType::i8 || matrix.type.sizes.size() != 2 ||
        sums.type.dtype != DType::i32)
      return false;
    const size_t rows = size_t(matrix.type.sizes[0].value),
                 columns = size_t(matrix.type.sizes[1].value);
    if (sums.bytes.size() != columns * sizeof(int32_t) || sums.type.sizes.empty() ||
        sums.type.sizes.back() != matrix.type.sizes[1])
      return false;
    for (size_t c = 0; c < columns; c++) {
      int64_t sum = 0;
      for (size_t r = 0; r < rows; r++) sum += int8_t(matrix.bytes[r * columns + c]);
      int32_t given;
      memcpy(&given, sums.bytes.data() + c * sizeof(given), sizeof(given));
      if (given != sum * kMoved) return false;
    }
    return true;
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
