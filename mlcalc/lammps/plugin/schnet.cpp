// SPDX-License-Identifier: GPL-2.0-only
// SchNet; symbols and formulas as in mlcalc/architectures/schnet/kernel_schedules.py. Messages are y = x·W_in.

#include <algorithm>

#include "network.h"

namespace mlcalc {

namespace {

class SchNet : public Network {
 public:
  explicit SchNet(Model &given) :
      Network(given, given.features), embedding(given.weights("embedding", given.elements.size() * width)),
      first(given.weights("messages", given.elements.size() * width)), in2f(square("in2f")),
      in2f_adjoint(square("in2f_adjoint")), dense(square("dense", 2)), dense_adjoint(square("dense_adjoint", 2)),
      bias(given.weights("bias", size_t(given.layers) * 2 * width)),
      filters(given.weights("filters", size_t(given.layers) * given.knots * 4 * width)), gate(given.layers)
  {
    one.resize(BLOCK, width);
    two.resize(BLOCK, width);
  }

  void start(int own, int all, const std::vector<int> &species, Edges &given) override
  {
    fit(own, all, given);
    x.resize(own, width);
    for (auto &rows : gate) rows.resize(own, width);
    for (int i = 0; i < own; ++i) copy(embedding[0], species[i], x[i]);
    for (int i = 0; i < all; ++i) copy(first[0], species[i], sent[0][i]);
  }

  void forward(int t) override
  {
    for (int low = 0; low < n_own; low += BLOCK) {
      const int rows = std::min(BLOCK, n_own - low);
      for (int r = 0; r < rows; ++r) receive(t, low + r, one[r]);
      multiply(one[0], weight(dense, t, 0), two[0], rows, width, width);
      activate(two[0], bias[0] + (2 * t) * width, false, one[0], gate[t][low], rows, width);
      multiply(one[0], weight(dense, t, 1), two[0], rows, width, width);
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < width; c += WIDTH) add(x[low + r] + c, load(two[r] + c) + load(bias[0] + (2 * t + 1) * width + c));
      if (t + 1 < model.layers)
        multiply(x[low], in2f[0] + size_t(t + 1) * width * width, sent[t + 1][low], rows, width, width);
      else
        read_out(x[low], low, rows);
    }
  }

  void backward(int t) override
  {
    if (t > 0) sent_adjoint.clear(n_all);
    for (int low = 0; low < n_own; low += BLOCK) {
      const int rows = std::min(BLOCK, n_own - low);
      multiply(x[low], weight(dense_adjoint, t, 1), two[0], rows, width, width);
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < width; c += WIDTH) store(two[r] + c, load(two[r] + c) * load(gate[t][low + r] + c));
      multiply(two[0], weight(dense_adjoint, t, 0), one[0], rows, width, width);
      for (int r = 0; r < rows; ++r) send_back(t, low + r, one[r]);
    }
  }

  void conclude(int t) override
  {
    for (int low = 0; low < n_own; low += BLOCK) {
      const int rows = std::min(BLOCK, n_own - low);
      multiply(sent_adjoint[low], in2f_adjoint[0] + size_t(t) * width * width, one[0], rows, width, width);
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < width; c += WIDTH) add(x[low + r] + c, load(one[r] + c));
    }
  }

 private:
  Rows &square(const char *name, int each = 1) { return model.weights(name, size_t(model.layers) * each * width * width); }
  float *weight(Rows &stack, int t, int layer) { return stack[0] + size_t(2 * t + layer) * width * width; }
  const float *piece(int t, int knot) { return filters[0] + (size_t(t) * model.knots + knot) * 4 * width; }
  void copy(const float *table, int row, float *to) { std::copy_n(table + size_t(row) * width, width, to); }

  // c_i = Σ_j y_j∘W(r_ij)
  void receive(int t, int i, float *sum)
  {
    std::fill_n(sum, width, 0.0f);
    for (int e = edges->start[i]; e < edges->start[i + 1]; ++e) {
      const Edge &edge = edges->all[e];
      const float *of_edge = piece(t, edge.knot), *y = sent[t][edge.other];
      for (int c = 0; c < width; c += WIDTH) add(sum + c, load(y + c) * cubic(of_edge + c, width, edge.s));
    }
  }

  // ∂E/∂s += Σ_f c̄_i∘y_j∘W′ and, but for the first layer, ȳ_j += c̄_i∘W
  void send_back(int t, int i, const float *sum_adjoint)
  {
    for (int e = edges->start[i]; e < edges->start[i + 1]; ++e) {
      Edge &edge = edges->all[e];
      const float *of_edge = piece(t, edge.knot), *y = sent[t][edge.other];
      float *y_adjoint = sent_adjoint[edge.other];
      Lanes slope{};
      for (int c = 0; c < width; c += WIDTH) {
        const Lanes c_bar = load(sum_adjoint + c);
        slope += c_bar * load(y + c) * cubic_slope(of_edge + c, width, edge.s);
        if (t > 0) add(y_adjoint + c, c_bar * cubic(of_edge + c, width, edge.s));
      }
      edge.slope += total(slope);
    }
  }

  Rows &embedding, &first, &in2f, &in2f_adjoint, &dense, &dense_adjoint, &bias, &filters;
  std::vector<Rows> gate;    // σ(u) of each layer
  Rows x, one, two;          // features, replaced by their adjoint behind the last layer; a block's scratch
};

}    // namespace

std::unique_ptr<Network> make_schnet(Model &model) { return std::make_unique<SchNet>(model); }

}    // namespace mlcalc
