"""Coefficients of the polynomials in math.h: prints them as C++ arrays, lowest power first.

Least squares at Chebyshev's points in 90 digits (mpmath), weighted by what the function's result
makes of an error; after each coefficient is rounded to f32 the higher ones are fitted again.
Run: python coefficients.py
"""

import struct

import mpmath as mp

mp.mp.dps = 90


def f32(x):
    """Nearest f32, as an exact mpf."""
    return mp.mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def fit(points, degree, fixed):
    """Weighted least squares at (x, value, weight); the `fixed` lowest coefficients stay."""
    count = degree + 1 - len(fixed)
    normal, right = mp.matrix(count, count), mp.matrix(count, 1)
    for x, value, weight in points:
        rest = value - sum(c * x**i for i, c in enumerate(fixed))
        row = [weight * x ** (j + len(fixed)) for j in range(count)]
        for i in range(count):
            right[i] += row[i] * weight * rest
            for j in range(count):
                normal[i, j] += row[i] * row[j]
    return list(mp.lu_solve(normal, right))


def fit_f32(function, weight, low, high, degree):
    low, high = mp.mpf(low), mp.mpf(high)
    # Chebyshev's points: least squares at them is close to minimax.
    xs = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / 302) for i in range(151)]
    points = [(x, function(x), weight(x)) for x in xs if abs(x) > 1e-20]
    coefficients = []
    while len(coefficients) <= degree:
        coefficients.append(f32(fit(points, degree, coefficients)[0]))
    error = max(abs(w * (sum(c * x**i for i, c in enumerate(coefficients)) - v)) for x, v, w in points)
    return coefficients, error


def show(name, function, weight, low, high, degree, adjust=lambda coefficients: None):
    coefficients, error = fit_f32(function, weight, low, high, degree)
    adjust(coefficients)
    print(f"// {mp.nstr(low, 4)} .. {mp.nstr(high, 4)}: weighted error 2^{mp.nstr(mp.log(error, 2), 4)}")
    print(f"constexpr float {name}[] = {{{', '.join(float(c).hex() + 'f' for c in coefficients)}}};")


half_ln2 = mp.log(2) / 2 * mp.mpf("1.001")
exp_rest = lambda r: (mp.exp(r) - 1 - r) / r**2
show("kExp", exp_rest, abs, -half_ln2, half_ln2, 5)
log_rest = lambda f: (mp.log(1 + f) - f + f**2 / 2) / f**3
show("kLog", log_rest, lambda f: f**2, mp.sqrt(2) / 2 - 1, mp.sqrt(2) - 1, 8)
z = lambda g: lambda x: g(mp.sqrt(x))
tanh_rest = lambda x: (mp.tanh(x) / x - 1) / x**2
show("kTanh", z(tanh_rest), lambda s: s, 0, mp.mpf("0.64") ** 2, 4)
erf_low = lambda x: mp.erf(x) / x - 1
show("kErf", z(erf_low), lambda s: mp.mpf(1), 0, mp.mpf("0.95") ** 2, 6)
log_erfc = lambda x: mp.log(mp.erfc(x))
show("kErfc", log_erfc, lambda x: mp.erfc(x), mp.mpf("0.93"), 4, 8)
# The normal distribution less a half, over x, of t = 2 (x / end)^2 - 1.
end = mp.mpf("5.5")
normal = lambda x: mp.erf(x / mp.sqrt(2)) / 2 / x
of_t = lambda g: lambda t: g(end * mp.sqrt((t + 1) / 2))


def reach_one(coefficients):
    """Raises the highest one, which matters at the end only, until the distribution is 1 there."""
    fma = lambda a, b, c: f32(a * b + c)
    t = fma(end**2, f32(2 / end**2), -1)
    while True:
        sum = coefficients[-1]
        for c in coefficients[-2::-1]:
            sum = fma(sum, t, c)
        if fma(-end, sum, mp.mpf("0.5")) <= 0:
            return
        coefficients[-1] = f32(coefficients[-1] + mp.mpf(2) ** -31)


show("kGelu", of_t(normal), of_t(lambda x: x + mp.mpf("0.02")), -1, 1, 15, reach_one)
quarter = mp.pi / 4 * mp.mpf("1.001")
sin_rest = lambda x: (mp.sin(x) / x - 1) / x**2
cos_rest = lambda x: (mp.cos(x) - 1 + x**2 / 2) / x**4
show("kSin", z(sin_rest), lambda s: s, 0, quarter**2, 3)
show("kCos", z(cos_rest), lambda s: s**2, 0, quarter**2, 3)
for name, value in (("Ln2", mp.log(2)), ("HalfPi", mp.pi / 2)):
    parts, left = [], value
    for _ in range(3):
        parts.append(f32(left))
        left -= parts[-1]
    print(f"constexpr float k{name}[] = {{{', '.join(float(p).hex() + 'f' for p in parts)}}};")
print("// 2/pi from its 1st fraction bit on")
bits = int(mp.floor(2 / mp.pi * mp.mpf(2) ** 256))
print(", ".join(f"0x{bits >> (224 - 32 * i) & 0xFFFFFFFF:08x}" for i in range(8)))
