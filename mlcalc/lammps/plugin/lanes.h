// SPDX-License-Identifier: GPL-2.0-only
// Rows of float32 features, a vector of the processor at a time: matrix products and activations.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

namespace mlcalc {

#ifdef __AVX512F__
constexpr int WIDTH = 16;
#else
constexpr int WIDTH = 8;
#endif
constexpr int LINE = 16;    // floats of a cache line: the width of every row is a multiple of it

typedef float Lanes __attribute__((vector_size(4 * WIDTH), may_alias));
typedef int Ints __attribute__((vector_size(4 * WIDTH)));

struct alignas(4 * LINE) Line { float values[LINE]; };

// Rows that begin at a cache line.
class Rows {
 public:
  void resize(size_t n_rows, int row_width)
  {
    width = row_width;
    if (lines.size() * LINE < n_rows * width) lines.resize(n_rows * width / LINE);
  }
  void clear(size_t n_rows) { std::memset(lines.data(), 0, n_rows * width * sizeof(float)); }
  float *operator[](size_t row) { return lines.data()->values + row * width; }

  int width = 0;

 private:
  std::vector<Line> lines;
};

inline Lanes load(const float *place) { return *reinterpret_cast<const Lanes *>(place); }
inline void store(float *place, Lanes value) { *reinterpret_cast<Lanes *>(place) = value; }
inline void add(float *place, Lanes value) { store(place, load(place) + value); }
inline Lanes splat(float number) { return number - Lanes{}; }

inline float total(Lanes a)
{
  float sum = 0.0f;
  for (int k = 0; k < WIDTH; ++k) sum += a[k];
  return sum;
}

inline Lanes root(Lanes a)
{
  for (int k = 0; k < WIDTH; ++k) a[k] = std::sqrt(a[k]);
  return a;
}

// A filter and its derivative by s, from the four coefficients of its piece, which lie ``step`` floats apart.
inline Lanes cubic(const float *piece, int step, float s)
{
  return load(piece) + s * (load(piece + step) + s * (load(piece + 2 * step) + s * load(piece + 3 * step)));
}

inline Lanes cubic_slope(const float *piece, int step, float s)
{
  return load(piece + step) + 2.0f * s * (load(piece + 2 * step) + 1.5f * s * load(piece + 3 * step));
}

template <int R, int V> inline void multiply_tile(const float *a, const float *b, float *c, int inner, int outer)
{
  Lanes sum[R][V] = {};
  for (int k = 0; k < inner; ++k) {
    Lanes row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + size_t(k) * outer + v * WIDTH);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) sum[r][v] += a[size_t(r) * inner + k] * row[v];
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(c + size_t(r) * outer + v * WIDTH, sum[r][v]);
}

template <int V> inline void multiply_columns(const float *a, const float *b, float *c, int rows, int inner, int outer)
{
  constexpr int R = 6;    // 12 sums, 2 rows of b and an element of a: as many as 16 registers hold
  int r = 0;
  for (; r + R <= rows; r += R) multiply_tile<R, V>(a + size_t(r) * inner, b, c + size_t(r) * outer, inner, outer);
  for (; r < rows; ++r) multiply_tile<1, V>(a + size_t(r) * inner, b, c + size_t(r) * outer, inner, outer);
}

// c = a·b; a (rows, inner), b (inner, outer), c (rows, outer). Every sum runs over ``inner`` in ascending order, however many rows.
inline void multiply(const float *a, const float *b, float *c, int rows, int inner, int outer)
{
  int column = 0;
  for (; column + 2 * WIDTH <= outer; column += 2 * WIDTH)
    multiply_columns<2>(a, b + column, c + column, rows, inner, outer);
  if (column < outer) multiply_columns<1>(a, b + column, c + column, rows, inner, outer);
}

// ln((1 + exp x) / 2) and the logistic function, by the series of mlcalc/architectures/kernels/activation.py.
inline void softplus_and_logistic(Lanes x, Lanes &softplus, Lanes &logistic)
{
  constexpr float LN_2 = 0.6931471805599453f, LOG2_E = 1.4426950408889634f;
  Lanes y = (x > 0.0f ? -x : x) * LOG2_E;
  y = y < -126.0f ? splat(-126.0f) : y;
  const Ints n = __builtin_convertvector(y - 0.5f, Ints);    // the nearest whole number, since y ≤ 0
  const Lanes s = (y - __builtin_convertvector(n, Lanes)) * LN_2;
  Lanes e = splat(1.0f / 5040.0f);
  for (const float term : {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f}) e = e * s + term;
  const Ints bits = (n + 127) << 23;
  Lanes power;
  std::memcpy(&power, &bits, sizeof power);
  e *= power;
  const Lanes t = e / (2.0f + e), t2 = t * t;
  Lanes log = splat(2.0f / 15.0f);
  for (int k = 13; k > 0; k -= 2) log = log * t2 + 2.0f / float(k);
  const Lanes small = e / (1.0f + e);
  softplus = log * t - LN_2 + (x > 0.0f ? x : splat(0.0f));
  logistic = x > 0.0f ? 1.0f - small : small;
}

// value = act(u + b), slope = act′(u + b); u, value, slope (rows, width), b (width,). ``value`` may be u.
inline void activate(const float *u, const float *bias, bool silu, float *value, float *slope, int rows, int width)
{
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < width; c += WIDTH) {
      const size_t place = size_t(r) * width + c;
      const Lanes x = load(u + place) + load(bias + c);
      Lanes softplus, logistic;
      softplus_and_logistic(x, softplus, logistic);
      store(value + place, silu ? x * logistic : softplus);
      store(slope + place, silu ? logistic + x * (logistic - logistic * logistic) : logistic);
    }
}

}    // namespace mlcalc
