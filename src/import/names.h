// Names: how an exported graph spells what its nodes call, and what that is here.
#pragma once

#include <string>
#include <string_view>

namespace sconce {

// "torch.ops.aten.add.Tensor" -> "aten::add.Tensor", ".default" dropped. Other names stay.
std::string operator_name(std::string_view target);

// Name of the functional twin of an in-place operator ("aten::add_.Tensor" -> "aten::add.Tensor");
// empty when the name is not that of an in-place operator. Whether the twin exists is not checked.
std::string functional_name(const std::string& op);

// The prim operator behind a Python function on symbolic numbers; null when there is none.
const char* prim_name(std::string_view target);

// Checks that the exporter put in; their facts reach the file through the ranges of symbols.
bool is_assertion(std::string_view op);

// Operators that call graphs or operators: regions are inlined, control flow is kept, and an
// operator whose effects were ordered by a token is called without it.
enum class HigherOrder { none, region, control_flow, ordered_effect, unknown };
HigherOrder higher_order(std::string_view target);

// True when the importer takes a node with this target, in whatever form.
bool is_known_target(std::string_view target);

}  // namespace sconce
