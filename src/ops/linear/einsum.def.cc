// einsum: parsed here, contracted pair by pair as (batched) matrix products.
#include <algorithm>

#include "ops/linear/decompose.h"

namespace sconce {
namespace {

// Labels are characters of the equation, or kEllipsis + position for dimensions that "..." covers.
using Label = int;
constexpr Label kEllipsis = 1000;

struct Operand {
  ValueId id;
  std::vector<Label> labels;
};

bool contains(const std::vector<Label>& labels, Label label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

class Einsum {
 public:
  Einsum(Build& build) : build_(build) {}

  // False when the equation does not fit the operands.
  bool read(std::string equation, const std::vector<ValueRef>& tensors) {
    std::erase(equation, ' ');
    size_t arrow = equation.find("->");
    std::string left = equation.substr(0, arrow);
    std::vector<std::string> parts(1);
    for (char c : left) {
      if (c == ',') parts.emplace_back();
      else parts.back() += c;
    }
    if (parts.size() != tensors.size()) return false;
    int covered_max = 0;
    std::vector<int> covered;
    for (size_t i = 0; i < parts.size(); i++) {
      size_t dots = parts[i].find("...");
      int named = int(parts[i].size()) - (dots == std::string::npos ? 0 : 3);
      int rest = build_.rank(tensors[i].id) - named;
      if (rest < 0 || (dots == std::string::npos && rest != 0)) return false;
      covered.push_back(rest);
      covered_max = std::max(covered_max, rest);
    }
    auto labels_of = [&](const std::string& part, int covered_here, std::vector<Label>* labels) {
      for (size_t k = 0; k < part.size(); k++) {
        if (part[k] == '.') {
          if (part.compare(k, 3, "...") != 0) return false;
          for (int e = covered_max - covered_here; e < covered_max; e++)
            labels->push_back(kEllipsis + e);
          k += 2;
        } else if (isalpha(part[k])) {
          labels->push_back(part[k]);
        } else {
          return false;
        }
      }
      return true;
    };
    for (size_t i = 0; i < parts.size(); i++) {
      Operand operand{tensors[i].id, {}};
      if (!labels_of(parts[i], covered[i], &operand.labels)) return false;
      operands_.push_back(std::move(operand));
    }
    if (arrow != std::string::npos) return labels_of(equation.substr(arrow + 2), covered_max, &out_);
    // Without an arrow: "...", then labels that occur once, in order of the alphabet.
    for (int e = 0; e < covered_max; e++) out_.push_back(kEllipsis + e);
    std::sort(left.begin(), left.end());
    for (size_t k = 0; k < left.size(); k++)
      if (isalpha(left[k]) && (k == 0 || left[k - 1] != left[k]) &&
          (k + 1 == left.size() || left[k + 1] != left[k]))
        out_.push_back(left[k]);
    return true;
  }

  std::optional<ValueId> run(const std::vector<int64_t>& path) {
    for (Operand& operand : operands_) take_diagonals(operand);
    size_t at = 0;
    while (operands_.size() > 1) {
      size_t i = 0, j = 1;
      if (at + 1 < path.size()) {
        if (path[at] < 0 || path[at + 1] < 0) return std::nullopt;
        i = size_t(path[at]), j = size_t(path[at + 1]);
        at += 2;
        if (i == j || i >= operands_.size() || j >= operands_.size()) return std::nullopt;
      }
      Operand a = operands_[i], b = operands_[j];
      operands_.erase(operands_.begin() + int64_t(std::max(i, j)));
      operands_.erase(operands_.begin() + int64_t(std::min(i, j)));
      Operand product = contract(a, b);
      operands_.insert(path.empty() ? operands_.begin() : operands_.end(), product);
    }
    Operand result = operands_[0];
    sum_unneeded(result, out_);
    std::vector<int64_t> order;
    for (Label label : out_) {
      auto found = std::find(result.labels.begin(), result.labels.end(), label);
      if (found == result.labels.end()) return std::nullopt;
      order.push_back(found - result.labels.begin());
    }
    return std::is_sorted(order.begin(), order.end()) ? result.id : build_.permute(result.id, order);
  }

 private:
  // A label that stands twice means the diagonal.
  void take_diagonals(Operand& operand) {
    for (size_t i = 0; i < operand.labels.size(); i++)
      for (size_t j = i + 1; j < operand.labels.size(); j++) {
        if (operand.labels[i] != operand.labels[j]) continue;
        Label label = operand.labels[i];
        operand.id = build_.call1("aten::diagonal",
                                  {Build::v(operand.id), int64_t{0}, int64_t(i), int64_t(j)});
        operand.labels.erase(operand.labels.begin() + int64_t(j));
        operand.labels.erase(operand.labels.begin() + int64_t(i));
        operand.labels.push_back(label);
        i = size_t(-1);
        break;
      }
  }

  void sum_unneeded(Operand& operand, const std::vector<Label>& needed) {
    std::vector<int64_t> dims;
    std::vector<Label> kept;
    for (size_t i = 0; i < operand.labels.size(); i++) {
      if (contains(needed, operand.labels[i])) kept.push_back(operand.labels[i]);
      else dims.push_back(int64_t(i));
    }
    if (dims.empty()) return;
    operand.id = build_.call1("aten::sum.dim_IntList",
                              {Build::v(operand.id), Build::ints(dims), false, None{}});
    operand.labels = kept;
  }

  // Dimensions of size one that broadcast against the other operand are taken away.
  void drop_broadcast(Operand& operand, const Operand& other) {
    for (size_t i = operand.labels.size(); i-- > 0;) {
      auto found = std::find(other.labels.begin(), other.labels.end(), operand.labels[i]);
      if (found == other.labels.end()) continue;
      SymInt mine = build_.size(operand.id, int(i));
      SymInt theirs = build_.size(other.id, int(found - other.labels.begin()));
      if (mine == SymInt(1) && !(theirs == SymInt(1))) {
        operand.id = squeeze(build_, operand.id, int64_t(i));
        operand.labels.erase(operand.labels.begin() + int64_t(i));
      }
    }
  }

  // Dimensions in the order of `labels`.
  ValueId arrange(const Operand& operand, const std::vector<Label>& labels) {
    std::vector<int64_t> order;
    for (Label label : labels)
      order.push_back(std::find(operand.labels.begin(), operand.labels.end(), label) -
                      operand.labels.begin());
    return std::is_sorted(order.begin(), order.end()) ? operand.id : build_.permute(operand.id, order);
  }
  std::vector<SymInt> sizes_for(const Operand& operand, const std::vector<Label>& labels) {
    std::vector<SymInt> sizes;
    for (Label label : labels)
      sizes.push_back(build_.size(
          operand.id, int(std::find(operand.labels.begin(), operand.labels.end(), label) -
                          operand.labels.begin())));
    return sizes;
  }
  SymInt product(const std::vector<SymInt>& sizes) {
    return size_product(build_, sizes, 0, sizes.size());
  }
  ValueId reshape(ValueId id, const std::vector<SymInt>& sizes) {
    if (build_.tensor(id).sizes == sizes) return id;
    return build_.call1("aten::reshape", {Build::v(id), build_.ints(sizes)});
  }

  Operand contract(Operand a, Operand b) {
    drop_broadcast(a, b);
    drop_broadcast(b, a);
    std::vector<Label> needed = out_;
    for (const Operand& other : operands_)
      needed.insert(needed.end(), other.labels.begin(), other.labels.end());
    auto with = [](std::vector<Label> labels, const std::vector<Label>& more) {
      labels.insert(labels.end(), more.begin(), more.end());
      return labels;
    };
    sum_unneeded(a, with(needed, b.labels));
    sum_unneeded(b, with(needed, a.labels));
    std::vector<Label> batch, summed, only_a, only_b;
    for (Label label : a.labels) {
      if (!contains(b.labels, label)) only_a.push_back(label);
      else (contains(needed, label) ? batch : summed).push_back(label);
    }
    for (Label label : b.labels)
      if (!contains(a.labels, label)) only_b.push_back(label);
    std::vector<SymInt> batch_sizes = sizes_for(a, batch), a_sizes = sizes_for(a, only_a);
    std::vector<SymInt> b_sizes = sizes_for(b, only_b), summed_sizes = sizes_for(a, summed);
    Operand result{kNoValue, with(with(batch, only_a), only_b)};
    if (summed.empty()) {  // nothing is summed: a product with broadcasting
      std::vector<SymInt> left = batch_sizes, right = batch_sizes;
      left.insert(left.end(), a_sizes.begin(), a_sizes.end());
      left.insert(left.end(), b_sizes.size(), SymInt(1));
      right.insert(right.end(), a_sizes.size(), SymInt(1));
      right.insert(right.end(), b_sizes.begin(), b_sizes.end());
      ValueId x = reshape(arrange(a, with(batch, only_a)), left);
      ValueId y = reshape(arrange(b, with(batch, only_b)), right);
      result.id = build_.mul(x, y);
      return result;
    }
    // Sums of integers are i64; a matrix product wants one type.
    DType dtype = build_.dtype(a.id) == build_.dtype(b.id) ? build_.dtype(a.id) : DType::i64;
    a.id = build_.cast(a.id, dtype);
    b.id = build_.cast(b.id, dtype);
    SymInt n = product(batch_sizes), rows = product(a_sizes), columns = product(b_sizes);
    SymInt depth = product(summed_sizes);
    ValueId x = arrange(a, with(with(batch, only_a), summed));
    ValueId y = arrange(b, with(with(batch, summed), only_b));
    std::vector<SymInt> sizes = batch_sizes;
    sizes.insert(sizes.end(), a_sizes.begin(), a_sizes.end());
    sizes.insert(sizes.end(), b_sizes.begin(), b_sizes.end());
    ValueId z;
    if (batch.empty())
      z = build_.call1("aten::mm", {Build::v(reshape(x, {rows, depth})),
                                    Build::v(reshape(y, {depth, columns}))});
    else
      z = build_.call1("aten::bmm", {Build::v(reshape(x, {n, rows, depth})),
                                     Build::v(reshape(y, {n, depth, columns}))});
    result.id = reshape(z, sizes);
    return result;
  }

  Build& build_;
  std::vector<Operand> operands_;
  std::vector<Label> out_;
};

Results einsum(Build& build, const Node& node) {
  auto* equation = std::get_if<std::string>(&node.arguments[0]);
  auto* tensors = std::get_if<std::vector<ValueRef>>(&node.arguments[1]);
  if (!equation || !tensors || tensors->empty()) return std::nullopt;
  std::vector<int64_t> path;
  if (!is_none(node, 2)) {
    auto given = known_list(node, 2);
    if (!given) return std::nullopt;
    path = *given;
  }
  Einsum sum(build);
  if (!sum.read(*equation, *tensors)) return std::nullopt;
  auto result = sum.run(path);
  if (!result) return std::nullopt;
  return one(*result);
}

}  // namespace

OP(einsum) = {.schema = "aten::einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor",
              .decompose = einsum};

}  // namespace sconce
