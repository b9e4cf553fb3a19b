// SPDX-License-Identifier: GPL-2.0-only
// PaiNN; symbols and formulas as in mlcalc/architectures/painn/kernel.py. Messages are x_a, x_b and the three components of
// ν = x_c∘μ, their adjoint is x̄_a, x̄_b and G.

#include <algorithm>

#include "network.h"

namespace mlcalc {

namespace {

constexpr float EPSILON = 1e-8f;    // mlcalc/architectures/painn/kernel_state.py
constexpr int SENT = 5;             // parts of a message

class PaiNN : public Network {
 public:
  explicit PaiNN(Model &given) :
      Network(given, SENT * given.features), embedding(given.weights("embedding", given.elements.size() * width)),
      first(given.weights("first", given.elements.size() * 3 * width)), d1(dense("d1", 1, 1)),
      d1_adjoint(dense("d1_adjoint", 1, 1)), d1_bias(dense("d1_bias", 0, 1)), d2(dense("d2", 1, 3)),
      d2_adjoint(dense("d2_adjoint", 1, 3)), d2_bias(dense("d2_bias", 0, 3)), m(dense("m", 1, 2)),
      m_adjoint(dense("m_adjoint", 1, 2)), d3(dense("d3", 2, 1)), d3_adjoint(dense("d3_adjoint", 2, 1)),
      d3_bias(dense("d3_bias", 0, 1)), d4(dense("d4", 1, 3)), d4_adjoint(dense("d4_adjoint", 1, 3)),
      d4_bias(dense("d4_bias", 0, 3)), filters(given.weights("filters", size_t(given.layers) * given.knots * 12 * width)),
      kept(given.layers)
  {
    one.resize(BLOCK, width);
    two.resize(BLOCK, 2 * width);
    three.resize(BLOCK, 3 * width);
    six.resize(BLOCK, 6 * width);
  }

  void start(int own, int all, const std::vector<int> &species, Edges &given) override
  {
    fit(own, all, given);
    q.resize(own, width);
    mu_adjoint.resize(own, 3 * width);
    for (auto &layer : kept) layer.resize(own, width);
    for (int i = 0; i < own; ++i) std::copy_n(embedding[0] + size_t(species[i]) * width, width, q[i]);
    for (int i = 0; i < all; ++i)    // no vectors yet: nothing reads the others
      std::copy_n(first[0] + size_t(species[i]) * 3 * width, 2 * width, sent[0][i]);
  }

  void forward(int t) override
  {
    for (int low = 0; low < n_own; low += BLOCK) {
      const int rows = std::min(BLOCK, n_own - low);
      for (int i = low; i < low + rows; ++i) receive(t, i);
      mix(t, low, rows);
      if (t + 1 < model.layers)
        prepare(t + 1, low, rows);
      else
        read_out(q[low], low, rows);
    }
  }

  // q̄ is in q, μ̄ in mu_adjoint: behind layer t on entry, before its mixing on exit.
  void backward(int t) override
  {
    if (t > 0) sent_adjoint.clear(n_all);
    if (t + 1 == model.layers) mu_adjoint.clear(n_own);
    for (int low = 0; low < n_own; low += BLOCK) {
      const int rows = std::min(BLOCK, n_own - low);
      mix_back(t, low, rows);
      for (int i = low; i < low + rows; ++i) send_back(t, i);
    }
  }

  void conclude(int t) override
  {
    for (int low = 0; low < n_own; low += BLOCK) prepare_back(t, low, std::min(BLOCK, n_own - low));
  }

 private:
  // What the adjoint of a layer needs of own atoms.
  struct Layer {
    Rows mu, x_c, d1_slope, vu, norm, d3_slope, gates;    // gates: t and p

    void resize(int rows, int width)
    {
      for (auto *one : {&x_c, &d1_slope, &norm, &d3_slope}) one->resize(rows, width);
      gates.resize(rows, 2 * width);
      mu.resize(rows, 3 * width);
      vu.resize(rows, 6 * width);
    }
  };

  Rows &dense(const char *name, int inner, int outer)
  {
    return model.weights(name, size_t(model.layers) * (inner ? inner * width : 1) * outer * width);
  }
  float *of_layer(Rows &weights, int t, int parts) { return weights[0] + size_t(t) * parts * width * width; }
  float *bias_of_layer(Rows &bias, int t, int parts) { return bias[0] + size_t(t) * parts * width; }
  const float *piece(int t, int knot) { return filters[0] + (size_t(t) * model.knots + knot) * 12 * width; }

  // q_i += Σ_j A∘x_a,j and μ_i += Σ_j (B∘x_b,j u_ij + C∘ν_j)
  void receive(int t, int i)
  {
    float *scalars = q[i], *vectors = kept[t].mu[i];
    if (t > 0)
      std::copy_n(kept[t - 1].mu[i], 3 * width, vectors);
    else
      std::fill_n(vectors, 3 * width, 0.0f);
    for (int e = edges->start[i]; e < edges->start[i + 1]; ++e) {
      const Edge &edge = edges->all[e];
      const float *x = sent[t][edge.other], *of_edge = piece(t, edge.knot);
      for (int c = 0; c < width; c += WIDTH) {
        add(scalars + c, load(x + c) * cubic(of_edge + c, 3 * width, edge.s));
        const Lanes along = load(x + width + c) * cubic(of_edge + width + c, 3 * width, edge.s);
        Lanes of_c{};
        if (t > 0) of_c = cubic(of_edge + 2 * width + c, 3 * width, edge.s);
        for (int a = 0; a < 3; ++a) {
          Lanes received = along * edge.unit[a];
          if (t > 0) received += of_c * load(x + (2 + a) * width + c);
          add(vectors + a * width + c, received);
        }
      }
    }
  }

  // (V, U) = M μ, n = √(⟨V, V⟩ + ε), (s, t, p) = D₄ silu(D₃ [q, n]), q += s + p∘⟨V, U⟩, μ += t∘U
  void mix(int t, int low, int rows)
  {
    Layer &layer = kept[t];
    multiply(layer.mu[low], of_layer(m, t, 2), layer.vu[low], 3 * rows, width, 2 * width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        const float *v = layer.vu[low + r] + c;
        const Lanes n = root(EPSILON + product(v, v));
        store(layer.norm[low + r] + c, n);
        store(two[r] + c, load(q[low + r] + c));
        store(two[r] + width + c, n);
      }
    multiply(two[0], of_layer(d3, t, 2), one[0], rows, 2 * width, width);
    activate(one[0], bias_of_layer(d3_bias, t, 1), true, one[0], layer.d3_slope[low], rows, width);
    multiply(one[0], of_layer(d4, t, 3), three[0], rows, width, 3 * width);
    const float *bias = bias_of_layer(d4_bias, t, 3);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        const float *stp = three[r] + c, *v = layer.vu[low + r] + c, *u = v + width;
        const Lanes gate = load(stp + width) + load(bias + width + c), part = load(stp + 2 * width) + load(bias + 2 * width + c);
        store(layer.gates[low + r] + c, gate);
        store(layer.gates[low + r] + width + c, part);
        add(q[low + r] + c, load(stp) + load(bias + c) + part * product(v, u));
        for (int a = 0; a < 3; ++a) add(layer.mu[low + r] + a * width + c, gate * load(u + 2 * a * width));
      }
  }

  // ⟨V, U⟩ of features of which V and U lie in rows of vu
  Lanes product(const float *v, const float *u)
  {
    return load(v) * load(u) + load(v + 2 * width) * load(u + 2 * width) + load(v + 4 * width) * load(u + 4 * width);
  }

  // x = D₂ silu(D₁ q) of layer t > 0, and ν = x_c∘μ
  void prepare(int t, int low, int rows)
  {
    multiply(q[low], of_layer(d1, t, 1), one[0], rows, width, width);
    activate(one[0], bias_of_layer(d1_bias, t, 1), true, one[0], kept[t].d1_slope[low], rows, width);
    multiply(one[0], of_layer(d2, t, 3), three[0], rows, width, 3 * width);
    const float *bias = bias_of_layer(d2_bias, t, 3);
    for (int r = 0; r < rows; ++r) {
      float *to = sent[t][low + r];
      const float *x = three[r], *mu = kept[t - 1].mu[low + r];
      for (int c = 0; c < width; c += WIDTH) {
        store(to + c, load(x + c) + load(bias + c));
        store(to + width + c, load(x + width + c) + load(bias + width + c));
        const Lanes x_c = load(x + 2 * width + c) + load(bias + 2 * width + c);
        store(kept[t].x_c[low + r] + c, x_c);
        for (int a = 0; a < 3; ++a) store(to + (2 + a) * width + c, x_c * load(mu + a * width + c));
      }
    }
  }

  // s̄ = q̄, p̄ = q̄∘⟨V, U⟩, t̄ = ⟨μ̄, U⟩; V̄ = q̄∘p∘U + n̄/n∘V, Ū = μ̄∘t + q̄∘p∘V
  void mix_back(int t, int low, int rows)
  {
    Layer &layer = kept[t];
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        const float *v = layer.vu[low + r] + c, *u = v + width, *mu_bar = mu_adjoint[low + r] + c;
        const Lanes q_bar = load(q[low + r] + c);
        Lanes gate_bar{};
        for (int a = 0; a < 3; ++a) gate_bar += load(mu_bar + a * width) * load(u + 2 * a * width);
        store(three[r] + c, q_bar);
        store(three[r] + width + c, gate_bar);
        store(three[r] + 2 * width + c, q_bar * product(v, u));
      }
    through(three[0], of_layer(d4_adjoint, t, 3), layer.d3_slope[low], one[0], rows);
    multiply(one[0], of_layer(d3_adjoint, t, 2), two[0], rows, width, 2 * width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        const float *v = layer.vu[low + r] + c, *gates = layer.gates[low + r] + c, *mu_bar = mu_adjoint[low + r] + c;
        const Lanes along = load(q[low + r] + c) * load(gates + width);
        const Lanes by_norm = load(two[r] + width + c) / load(layer.norm[low + r] + c);
        for (int a = 0; a < 3; ++a) {
          const Lanes of_v = load(v + 2 * a * width), of_u = load(v + (2 * a + 1) * width);
          store(six[r] + 2 * a * width + c, along * of_u + by_norm * of_v);
          store(six[r] + (2 * a + 1) * width + c, load(gates) * load(mu_bar + a * width) + along * of_v);
        }
        add(q[low + r] + c, load(two[r] + c));
      }
    multiply(six[0], of_layer(m_adjoint, t, 2), three[0], 3 * rows, 2 * width, width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < 3 * width; c += WIDTH) add(mu_adjoint[low + r] + c, load(three[r] + c));
  }

  // ∂E/∂s and ∂E/∂u of the edges of an atom and, but for the first layer, its share of the adjoint of what others sent
  void send_back(int t, int i)
  {
    const int step = 3 * width;
    for (int e = edges->start[i]; e < edges->start[i + 1]; ++e) {
      Edge &edge = edges->all[e];
      const float *x = sent[t][edge.other], *a_piece = piece(t, edge.knot), *b_piece = a_piece + width, *c_piece = b_piece + width;
      float *x_bar = sent_adjoint[edge.other];
      Lanes slope{}, turn[3] = {};
      for (int c = 0; c < width; c += WIDTH) {
        const Lanes q_bar = load(q[i] + c), x_b = load(x + width + c), of_b = cubic(b_piece + c, step, edge.s);
        Lanes mu_bar[3], along{};
        for (int a = 0; a < 3; ++a) {
          mu_bar[a] = load(mu_adjoint[i] + a * width + c);
          along += mu_bar[a] * edge.unit[a];
          turn[a] += of_b * x_b * mu_bar[a];
        }
        slope += cubic_slope(a_piece + c, step, edge.s) * load(x + c) * q_bar;
        slope += cubic_slope(b_piece + c, step, edge.s) * x_b * along;
        if (t == 0) continue;
        const Lanes of_c = cubic(c_piece + c, step, edge.s);
        Lanes change{};
        for (int a = 0; a < 3; ++a) {
          change += load(x + (2 + a) * width + c) * mu_bar[a];
          add(x_bar + (2 + a) * width + c, of_c * mu_bar[a]);
        }
        slope += cubic_slope(c_piece + c, step, edge.s) * change;
        add(x_bar + c, cubic(a_piece + c, step, edge.s) * q_bar);
        add(x_bar + width + c, of_b * along);
      }
      edge.slope += total(slope);
      for (int a = 0; a < 3; ++a) edge.turn[a] += total(turn[a]);
    }
  }

  // x̄_c = ⟨μ, G⟩ and μ̄ += x_c∘G, then q̄ += the adjoint of D₂ silu(D₁ q)
  void prepare_back(int t, int low, int rows)
  {
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        const float *x_bar = sent_adjoint[low + r] + c, *mu = kept[t - 1].mu[low + r] + c;
        const Lanes x_c = load(kept[t].x_c[low + r] + c);
        Lanes c_bar{};
        for (int a = 0; a < 3; ++a) {
          const Lanes g = load(x_bar + (2 + a) * width);
          c_bar += load(mu + a * width) * g;
          add(mu_adjoint[low + r] + a * width + c, x_c * g);
        }
        store(three[r] + c, load(x_bar));
        store(three[r] + width + c, load(x_bar + width));
        store(three[r] + 2 * width + c, c_bar);
      }
    through(three[0], of_layer(d2_adjoint, t, 3), kept[t].d1_slope[low], one[0], rows);
    multiply(one[0], of_layer(d1_adjoint, t, 1), two[0], rows, width, width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) add(q[low + r] + c, load(two[0] + size_t(r) * width + c));
  }

  // out = (x·W)∘slope; x (rows, 3F), out (rows, F)
  void through(const float *x, const float *weight, const float *slope, float *out, int rows)
  {
    multiply(x, weight, out, rows, 3 * width, width);
    for (int k = 0; k < rows * width; k += WIDTH) store(out + k, load(out + k) * load(slope + k));
  }

  Rows &embedding, &first, &d1, &d1_adjoint, &d1_bias, &d2, &d2_adjoint, &d2_bias, &m, &m_adjoint;
  Rows &d3, &d3_adjoint, &d3_bias, &d4, &d4_adjoint, &d4_bias, &filters;
  std::vector<Layer> kept;
  Rows q, mu_adjoint;             // q is replaced by its adjoint behind the last layer
  Rows one, two, three, six;      // scratch of a block, so many times the features
};

}    // namespace

std::unique_ptr<Network> make_painn(Model &model) { return std::make_unique<PaiNN>(model); }

}    // namespace mlcalc
