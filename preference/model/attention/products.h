// Products of small bf16 matrices on one core, their sums in float32, and what goes with them.
//
// Vectors are those of GCC and Clang, for whatever processor; where it multiplies bf16 itself, it does.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

using i64 = std::int64_t;
using u32 = std::uint32_t;
using u16 = std::uint16_t;

constexpr i64 LANES = 16;
constexpr i64 TILE = 6;  // rows whose sums registers hold, of four vectors each

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef u32 Words __attribute__((vector_size(4 * LANES), aligned(4)));
typedef u16 Halves __attribute__((vector_size(2 * LANES), aligned(2)));

static inline Floats load(const float *from) { return *(const Floats *)from; }
static inline Words load(const u32 *from) { return *(const Words *)from; }
static inline Words widened(Halves x) { return __builtin_convertvector(x, Words); }
static inline Words load(const u16 *from) { return widened(*(const Halves *)from); }
static inline void store(float *to, Floats x) { *(Floats *)to = x; }
static inline void store(u32 *to, Words x) { *(Words *)to = x; }
static inline void store(u16 *to, Halves x) { *(Halves *)to = x; }
static inline i64 filled(i64 count, i64 to) { return (count + to - 1) / to * to; }

// sum + a b, of pairs of bf16 in each lane.
static inline Floats dot(Floats sum, Words a, Words b) {
#ifdef __AVX512BF16__
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  sum += (Floats)(a << 16) * (Floats)(b << 16);
  return sum + (Floats)(a & 0xffff0000u) * (Floats)(b & 0xffff0000u);
#endif
}

// The nearest bf16, of two as near the even one. NaN stays NaN: it was bf16, or is the processor's own.
static inline Halves rounded(Floats x) {
#ifdef __AVX512BF16__
  return (Halves)_mm512_cvtneps_pbh((__m512)x);
#else
  Words bits = (Words)x;
  return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Halves);
#endif
}

// e^x for x up to 0, and 0 below -87: 2^n e^r, e^r by its series' first terms, fitted (as in Cephes).
static inline Floats exponential(Floats x) {
  const Floats magic = Floats{} + 12582912.f;  // added to it, what is not whole falls off
  Floats shifted = x * 1.44269504f + magic, n = shifted - magic;
  Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats sum = Floats{} + 1.9875691500e-4f;
  for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f})
    sum = sum * r + next;
  sum = sum * (r * r) + r + 1.f;
  Floats power = (Floats)(((Words)shifted - (Words)magic + 127) << 23);
  return x < -87.f ? Floats{} : sum * power;
}

constexpr auto plus = [](auto a, auto b) { return a + b; };
constexpr auto larger = [](auto a, auto b) { return a > b ? a : b; };

template <class Both> static inline float reduced(Floats x, Both both) {
  typedef float Eight __attribute__((vector_size(32))), Four __attribute__((vector_size(16)));
  Eight eights[2];
  std::memcpy(eights, &x, sizeof x);
  Four fours[2];
  Eight eight = both(eights[0], eights[1]);
  std::memcpy(fours, &eight, sizeof eight);
  Four four = both(fours[0], fours[1]);
  return both(both(four[0], four[2]), both(four[1], four[3]));
}

// A product's left factor, in pairs along what is summed over: how far rows and pairs are apart.
struct Left {
  const u32 *at;
  i64 row, pair;
};

// Loops are unrolled before all else, or the sums would not stay in registers.
template <int M, int V>
static inline void tile(i64 pairs, Left left, const u32 *right, i64 width, float *to, i64 columns,
                        bool add) {
  Floats sums[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; m++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) sums[m][v] = add ? load(to + m * columns + v * LANES) : Floats{};
  for (i64 k = 0; k < pairs; k++) {
    Words factors[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) factors[v] = load(right + k * width + v * LANES);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      Words factor = Words{} + left.at[m * left.row + k * left.pair];
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sums[m][v] = dot(sums[m][v], factor, factors[v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; m++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store(to + m * columns + v * LANES, sums[m][v]);
}

template <int V>
static void strip(i64 rows, i64 pairs, Left left, const u32 *right, i64 width, float *to,
                  i64 columns, bool add) {
  auto past = [&](i64 done) { rows -= done, left.at += done * left.row, to += done * columns; };
  for (; rows >= TILE; past(TILE)) tile<TILE, V>(pairs, left, right, width, to, columns, add);
  for (; rows >= 2; past(2)) tile<2, V>(pairs, left, right, width, to, columns, add);
  if (rows) tile<1, V>(pairs, left, right, width, to, columns, add);
}

// to (rows, columns) = left (rows, pairs) right (pairs, width), or that added to it.
//
// Of `right`, which is in pairs too, the first `columns` are taken, a multiple of LANES.
static void product(i64 rows, i64 columns, i64 pairs, Left left, const u32 *right, i64 width,
                    float *to, bool add = false) {
  i64 c = 0;
  for (; c + 4 * LANES <= columns; c += 4 * LANES)
    strip<4>(rows, pairs, left, right + c, width, to + c, columns, add);
  for (; c + 2 * LANES <= columns; c += 2 * LANES)
    strip<2>(rows, pairs, left, right + c, width, to + c, columns, add);
  if (c < columns) strip<1>(rows, pairs, left, right + c, width, to + c, columns, add);
}
