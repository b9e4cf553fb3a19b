// SPDX-License-Identifier: GPL-2.0-only
// SO3net; symbols and formulas as in mlcalc/architectures/so3net/kernel.py. Messages are features x, all S components of them but
// in the first layer, where only s = 0 is not zero.

#include <algorithm>
#include <stdexcept>

#include "components.h"    // written by mlcalc/lammps/components.py
#include "network.h"

namespace mlcalc {

namespace {

constexpr int FEW = 12;    // atoms that go through the dense layers together: fewer than of other networks, each has S rows

// L: number of degrees.
template <int L> class SO3net : public Network {
 public:
  explicit SO3net(Model &given) :
      Network(given, S * given.features), embedding(given.weights("embedding", given.elements.size() * width)), m1(dense("m1")),
      m1_adjoint(dense("m1_adjoint")), m2(dense("m2")), m2_adjoint(dense("m2_adjoint")), m3(dense("m3")),
      m3_adjoint(dense("m3_adjoint")), gate(dense("gate", L)), gate_adjoint(dense("gate_adjoint", L)),
      gate_bias(given.weights("gate_bias", size_t(given.layers) * L * width)),
      last_gate(given.weights("last_gate", size_t(width) * width)),
      last_gate_adjoint(given.weights("last_gate_adjoint", size_t(width) * width)),
      filters(given.weights("filters", size_t(given.layers) * given.knots * 4 * L * width)), kept(given.layers)
  {
    for (auto *rows : {&one, &two}) rows->resize(FEW, S * width);
    gate_bar.resize(FEW, L * width);
    row.resize(FEW, width);
  }

  void start(int own, int all, const std::vector<int> &species, Edges &given) override
  {
    fit(own, all, given);
    scalars.resize(own, width);
    for (auto *rows : {&delta_bar, &x_bar}) rows->resize(own, S * width);
    for (auto &layer : kept) {
      for (auto *rows : {&layer.delta, &layer.mixed, &layer.value}) rows->resize(own, S * width);
      layer.gate.resize(own, L * width);
    }
    sent[0].clear(all);
    for (int i = 0; i < all; ++i) std::copy_n(embedding[0] + size_t(species[i]) * width, width, sent[0][i]);
  }

  void forward(int t) override
  {
    for (int low = 0; low < n_own; low += FEW) {
      const int rows = std::min(FEW, n_own - low);
      for (int i = low; i < low + rows; ++i) receive(t, i);
      update(t, low, rows);
      if (last(t)) read_out(scalars[low], low, rows);
    }
  }

  // x̄ is in x_bar; behind the last layer, its scalars are in ``scalars``, and the rest is zero.
  void backward(int t) override
  {
    if (t > 0) sent_adjoint.clear(n_all);
    for (int low = 0; low < n_own; low += FEW) {
      const int rows = std::min(FEW, n_own - low);
      update_back(t, low, rows);
      for (int i = low; i < low + rows; ++i) send_back(t, i);
    }
    if (!last(t)) return;
    x_bar.clear(n_own);
    for (int i = 0; i < n_own; ++i) std::copy_n(scalars[i], width, x_bar[i]);
  }

  void conclude(int) override
  {
    for (int i = 0; i < n_own; ++i)
      for (int c = 0; c < S * width; c += WIDTH) add(x_bar[i] + c, load(sent_adjoint[i] + c));
  }

 private:
  // What the adjoint of a layer needs of own atoms. Where few components are kept, those of a block stand at its beginning.
  struct Layer {
    Rows delta, mixed, value, gate;    // Δ, M₁Δ, what the gate multiplies, σ
  };

  using Of = Components<L>;

  Rows &dense(const char *name, int outer = 1) { return model.weights(name, size_t(model.layers) * outer * width * width); }
  float *of_layer(Rows &weights, int t, int outer = 1) { return weights[0] + size_t(t) * outer * width * width; }
  float *gate_of(int t) { return last(t) ? last_gate[0] : of_layer(gate, t, L); }
  float *gate_adjoint_of(int t) { return last(t) ? last_gate_adjoint[0] : of_layer(gate_adjoint, t, L); }
  const float *piece(int t, int knot) { return filters[0] + (size_t(t) * model.knots + knot) * 4 * L * width; }
  bool last(int t) const { return t + 1 == model.layers; }
  int components_behind(int t) const { return last(t) ? 1 : S; }    // that are needed

  // Components ``width`` apart.
  void load_all(const float *place, Lanes *to)
  {
    for (int s = 0; s < S; ++s) to[s] = load(place + s * width);
  }

  void store_all(float *place, const Lanes *from)
  {
    for (int s = 0; s < S; ++s) store(place + s * width, from[s]);
  }

  void filters_at(const float *piece, float s, Lanes *to)
  {
    for (int l = 0; l < L; ++l) to[l] = cubic(piece + l * width, L * width, s);
  }

  // Δ_i,s = Σ_j Σ_l1 W_l1∘Σ_s2 A[l1][s, s2] x_j,s2
  void receive(int t, int i)
  {
    float *delta = kept[t].delta[i], y[S], couplings[Of::COUPLINGS];
    std::fill_n(delta, S * width, 0.0f);
    for (int e = edges->start[i]; e < edges->start[i + 1]; ++e) {
      const Edge &edge = edges->all[e];
      Of::set_scalars(edge.unit, y, couplings);
      const float *sender = sent[t][edge.other], *of_edge = piece(t, edge.knot);
      for (int c = 0; c < width; c += WIDTH) {
        Lanes w[L], x[S], sum[S];
        filters_at(of_edge + c, edge.s, w);
        load_all(delta + c, sum);
        if (t > 0) {
          load_all(sender + c, x);
          Of::convolve(couplings, w, x, sum);
        } else {
          x[0] = load(sender + c);
          Of::convolve_scalars(couplings, w, x, sum);
        }
        store_all(delta + c, sum);
      }
    }
  }

  // v = M₂(Δ + P(Δ, M₁Δ)), x ← x + M₃(σ_l∘v_s)
  void update(int t, int low, int rows)
  {
    Layer &layer = kept[t];
    const int m = components_behind(t);
    multiply(layer.delta[low], of_layer(m1, t), layer.mixed[low], rows * S, width, width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        Lanes delta[S], mixed[S], sum[S];
        load_all(layer.delta[low + r] + c, delta);
        load_all(layer.mixed[low + r] + c, mixed);
        std::copy_n(delta, S, sum);
        if (last(t)) {
          Of::couple_scalars(delta, mixed, sum);
          store(one[0] + r * width + c, sum[0]);
        } else {
          Of::couple(delta, mixed, sum);
          store_all(one[r] + c, sum);
        }
      }
    multiply(one[0], of_layer(m2, t), layer.value[low], rows * m, width, width);
    apply_gate(t, low, rows);
    multiply(one[0], of_layer(m3, t), two[0], rows * m, width, width);
    for (int r = 0; r < rows; ++r) {
      const float *before = sent[t][low + r], *change = two[0] + size_t(r) * m * width;
      float *after = last(t) ? scalars[low + r] : sent[t + 1][low + r];
      for (int c = 0; c < m * width; c += WIDTH) store(after + c, load(before + c) + load(change + c));
    }
  }

  // one = σ(B v_0 + b)_l∘v_s
  void apply_gate(int t, int low, int rows)
  {
    const int m = components_behind(t), n_gates = last(t) ? 1 : L;
    const float *value = kept[t].value[low], *bias = gate_bias[0] + size_t(t) * L * width;
    float *gates = kept[t].gate[low];
    for (int r = 0; r < rows; ++r) std::copy_n(value + size_t(r) * m * width, width, row[r]);
    multiply(row[0], gate_of(t), gates, rows, width, n_gates * width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < n_gates * width; c += WIDTH) {
        float *place = gates + size_t(r) * n_gates * width + c;
        Lanes softplus, logistic;
        softplus_and_logistic(load(place) + load(bias + c), softplus, logistic);
        store(place, logistic);
      }
    for (int r = 0; r < rows; ++r)
      for (int l = 0; l < n_gates; ++l)
        for (int s = l * l; s < (l + 1) * (l + 1); ++s)
          for (int c = 0; c < width; c += WIDTH) {
            const size_t place = (size_t(r) * m + s) * width + c, of_degree = (size_t(r) * n_gates + l) * width + c;
            store(one[0] + place, load(gates + of_degree) * load(value + place));
          }
  }

  // z̄ = M₃ᵀx̄, through the gate, p̄ = M₂ᵀv̄, and Δ̄ from the product
  void update_back(int t, int low, int rows)
  {
    Layer &layer = kept[t];
    const int m = components_behind(t);
    multiply(last(t) ? scalars[low] : x_bar[low], of_layer(m3_adjoint, t), one[0], rows * m, width, width);
    apply_gate_back(t, low, rows);
    multiply(one[0], of_layer(m2_adjoint, t), two[0], rows * m, width, width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) {
        Lanes delta[S], mixed[S], p_bar[S], sum[S], of_mixed[S] = {};
        load_all(layer.delta[low + r] + c, delta);
        load_all(layer.mixed[low + r] + c, mixed);
        if (last(t)) {
          std::fill_n(p_bar, S, Lanes{});
          p_bar[0] = load(two[0] + r * width + c);
        } else {
          load_all(two[r] + c, p_bar);
        }
        std::copy_n(p_bar, S, sum);
        if (last(t)) {
          Of::couple_back_first_scalars(p_bar, mixed, sum);
          Of::couple_back_second_scalars(p_bar, delta, of_mixed);
        } else {
          Of::couple_back_first(p_bar, mixed, sum);
          Of::couple_back_second(p_bar, delta, of_mixed);
        }
        store_all(delta_bar[low + r] + c, sum);
        store_all(one[r] + c, of_mixed);
      }
    multiply(one[0], of_layer(m1_adjoint, t), two[0], rows * S, width, width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < S * width; c += WIDTH) add(delta_bar[low + r] + c, load(two[r] + c));
  }

  // ḡ_l = σ_l(1 − σ_l)∘Σ_s v_s∘z̄_s, v̄_s = σ_l∘z̄_s + [s = 0] Bᵀḡ, with z̄ and v̄ in ``one``
  void apply_gate_back(int t, int low, int rows)
  {
    const int m = components_behind(t), n_gates = last(t) ? 1 : L;
    const float *value = kept[t].value[low], *gates = kept[t].gate[low];
    for (int r = 0; r < rows; ++r)
      for (int l = 0; l < n_gates; ++l)
        for (int c = 0; c < width; c += WIDTH) {
          const size_t of_degree = (size_t(r) * n_gates + l) * width + c;
          const Lanes factor = load(gates + of_degree);
          Lanes along{};
          for (int s = l * l; s < (l + 1) * (l + 1); ++s) {
            const size_t place = (size_t(r) * m + s) * width + c;
            const Lanes z_bar = load(one[0] + place);
            along += load(value + place) * z_bar;
            store(one[0] + place, factor * z_bar);
          }
          store(gate_bar[0] + of_degree, (factor - factor * factor) * along);
        }
    multiply(gate_bar[0], gate_adjoint_of(t), row[0], rows, n_gates * width, width);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += WIDTH) add(one[0] + size_t(r) * m * width + c, load(row[r] + c));
  }

  // ∂E/∂s and ∂E/∂u of the edges of an atom and, but for the first layer, x̄_j,s2 += Σ_l1 W_l1∘Σ_s A[l1][s, s2] Δ̄_i,s
  void send_back(int t, int i)
  {
    float y[S], couplings[Of::COUPLINGS];
    for (int e = edges->start[i]; e < edges->start[i + 1]; ++e) {
      Edge &edge = edges->all[e];
      Of::set_scalars(edge.unit, y, couplings);
      const float *sender = sent[t][edge.other], *of_edge = piece(t, edge.knot);
      float *to = sent_adjoint[edge.other];
      Lanes slope{}, y_bar[S] = {};
      for (int c = 0; c < width; c += WIDTH) {
        Lanes w[L], x[S], bar[S], z[S] = {};
        filters_at(of_edge + c, edge.s, w);
        load_all(delta_bar[i] + c, bar);
        if (t > 0) {
          Lanes sum[S];
          load_all(to + c, sum);
          Of::convolve_back(couplings, w, bar, sum);
          store_all(to + c, sum);
          load_all(sender + c, x);
          Of::pair_products(bar, x, z);
        } else {
          x[0] = load(sender + c);
          Of::pair_products_scalars(bar, x, z);
        }
        for (int l = 0; l < L; ++l) {
          Lanes along{};
          for (int s = l * l; s < (l + 1) * (l + 1); ++s) {
            y_bar[s] += w[l] * z[s];
            along += y[s] * z[s];
          }
          slope += cubic_slope(of_edge + l * width + c, L * width, edge.s) * along;
        }
      }
      edge.slope += total(slope);
      float totals[S];
      for (int s = 0; s < S; ++s) totals[s] = total(y_bar[s]);
      Of::turn(edge.unit, totals, edge.turn);
    }
  }

  static constexpr int S = L * L;    // components
  Rows &embedding, &m1, &m1_adjoint, &m2, &m2_adjoint, &m3, &m3_adjoint;
  Rows &gate, &gate_adjoint, &gate_bias, &last_gate, &last_gate_adjoint, &filters;
  std::vector<Layer> kept;
  Rows scalars;                       // of x behind the last layer, then their adjoint
  Rows delta_bar, x_bar;              // Δ̄, x̄
  Rows one, two, gate_bar, row;       // scratch of a block
};

}    // namespace

std::unique_ptr<Network> make_so3net(Model &model)
{
  switch (model.sizes["gate_bias"] / (size_t(model.layers) * model.features)) {
    case 2: return std::make_unique<SO3net<2>>(model);
    case 3: return std::make_unique<SO3net<3>>(model);
    case 4: return std::make_unique<SO3net<4>>(model);
  }
  throw std::runtime_error("array 'gate_bias' missing, or not of degrees up to 1, 2 or 3");
}

}    // namespace mlcalc
