// Double-precision functions of our own, by plain IEEE operations only: libm differs from machine to machine.
#include "kernels.h"

#pragma STDC FP_CONTRACT OFF

double kernel_log(double x) {
    int64_t bits;
    __builtin_memcpy(&bits, &x, 8);
    if (bits <= 0 || bits >= 0x7ff0000000000000) return x > 0 ? x : x == 0 ? -__builtin_inf() : __builtin_nan("");
    int64_t exponent = 0;
    if (bits < 0x0010000000000000) {  // subnormal
        x = x * 0x1p54;
        exponent = -54;
        __builtin_memcpy(&bits, &x, 8);
    }
    exponent += (bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
    double m;
    __builtin_memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m = m * 0.5;
        exponent += 1;
    }
    // log m = 2 artanh((m - 1) / (m + 1)), |s| < 0.1716: 13 terms leave less than 1e-20.
    double s = (m - 1) / (m + 1), z = s * s, sum = 0;
    for (int n = 25; n >= 1; n -= 2) sum = sum * z + 1.0 / n;
    return (double)exponent * 0.6931471805599453 + 2 * s * sum;
}

static double exp_double(double x) {
    if (x < -700) return 0;
    if (x > 700) x = 700;
    double n = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0;
    double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10, sum = 1;
    for (int i = 16; i >= 1; i--) sum = 1 + r * sum / i;
    int64_t bits = ((int64_t)n + 1023) << 52;
    double scale;
    __builtin_memcpy(&scale, &bits, 8);
    return sum * scale;
}

double kernel_pow(double base, double exponent) { return exp_double(exponent * kernel_log(base)); }

void kernel_sincos(double angle, double *sine, double *cosine) {
    // pi / 2 in three parts of 33 bits: exact products up to 2^20 quarter turns.
    double turns = (angle * 0.6366197723675814 + 6755399441055744.0) - 6755399441055744.0;
    double r = angle - turns * 1.57079632673412561417e+00;
    r = r - turns * 6.07710050630396597660e-11;
    r = r - turns * 2.02226624879595063154e-21;
    double z = r * r, s = 1, c = 1;
    for (int i = 20; i >= 2; i -= 2) {
        s = 1 - s * z / (double)(i * (i + 1));
        c = 1 - c * z / (double)(i * (i - 1));
    }
    s = s * r;
    switch ((int64_t)turns & 3) {
        case 0: *sine = s; *cosine = c; break;
        case 1: *sine = c; *cosine = -s; break;
        case 2: *sine = -s; *cosine = -c; break;
        default: *sine = -c; *cosine = s; break;
    }
}
