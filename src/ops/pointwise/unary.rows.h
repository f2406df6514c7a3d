// One row per unary pointwise operator: ROW_UNARY(name, rule, expression in x).
//
// rule: same      integers stay integers
//       floating  integers and bool become f32
// The expression sees `x` of compute type T (float, double; int64_t only under `same`).
ROW_UNARY(relu, same, x < T(0) ? T(0) : x)
ROW_UNARY(neg, same, T(0) - x)
ROW_UNARY(exp, floating, std::exp(x))
