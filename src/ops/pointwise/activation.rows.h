// Activations with numbers: ROW_ACTIVATION(symbol, name, schema arguments, kinds, count of numbers, rule,
// expression in x and the numbers p, q, r). ROW_ACTIVATION_OWN as in unary.rows.h.
ROW_ACTIVATION(leaky_relu, "leaky_relu", "Tensor self, Scalar negative_slope=0.01", "n", 1, real, x > T(0) ? x : x * p)
ROW_ACTIVATION(elu, "elu", "Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1", "nnn", 3, real, elu(x, p, q, r))
ROW_ACTIVATION_OWN(celu, "celu", "Tensor self, Scalar alpha=1.", "n", 1, real, elu(x, p, T(1), T(1) / p), decompose_celu)
ROW_ACTIVATION_OWN(softplus, "softplus", "Tensor self, Scalar beta=1, Scalar threshold=20", "nn", 2, real, softplus(x, p, q), decompose_softplus)
ROW_ACTIVATION_OWN(threshold, "threshold", "Tensor self, Scalar threshold, Scalar value", "nn", 2, number, x <= p ? q : x, decompose_threshold)
ROW_ACTIVATION_OWN(hardshrink, "hardshrink", "Tensor self, Scalar lambd=0.5", "n", 1, real, x >= -p && x <= p ? T(0) : x, decompose_hardshrink)
ROW_ACTIVATION_OWN(softshrink, "softshrink", "Tensor self, Scalar lambd=0.5", "n", 1, real, softshrink(x, p), decompose_softshrink)
