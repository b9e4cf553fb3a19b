// SPDX-License-Identifier: GPL-2.0-only
// A network over the atoms of one process: layers of messages along edges, and their adjoint.

#pragma once

#include <memory>
#include <vector>

#include "model_file.h"

namespace mlcalc {

constexpr int BLOCK = 60;    // atoms that go through the dense layers together: their rows stay in the cache

// What an own atom receives from another; derivatives of the energy are collected here.
struct Edge {
  int other;            // own or ghost atom
  int knot;             // place in the filter table: piece, and s in [0, 1) within it
  float s, slope;       // slope = ∂E/∂s
  float unit[3];        // towards the other atom
  float turn[3];        // ∂E/∂unit
};

struct Edges {
  std::vector<Edge> all;
  std::vector<int> start;    // (own + 1) where those of each atom begin
};

// Forward, one layer after the other: forward(t) reads messages(t) of own atoms and ghosts, and writes messages(t + 1) of own
// atoms, which the caller sends to the ghosts. Backward, in reverse: backward(t) adds to adjoint(), ∂E/∂messages(t), of own atoms
// and ghosts, which the caller sends back and sums, unless t = 0; conclude(t) takes it up.
class Network {
 public:
  virtual ~Network() = default;

  // Memory for so many atoms, and features that depend on their elements (n_all,) alone.
  virtual void start(int n_own, int n_all, const std::vector<int> &species, Edges &edges) = 0;
  virtual void forward(int t) = 0;
  virtual void backward(int t) = 0;
  virtual void conclude(int t) = 0;

  Rows &messages(int t) { return sent[t]; }
  Rows &adjoint() { return sent_adjoint; }

  const int message_width;
  std::vector<float> energies;    // eV of own atoms, without constants

 protected:
  Network(Model &model, int message_width);

  // Memory for so many atoms, all but that of features.
  void fit(int n_own, int n_all, Edges &edges);

  // Energies from features (rows, F), which are replaced by ∂E/∂features.
  void read_out(float *x, int first, int rows);

  Model &model;
  int width;    // F
  std::vector<Rows> sent;
  Rows sent_adjoint;
  int n_own = 0, n_all = 0;
  Edges *edges = nullptr;

 private:
  Rows &hidden, &hidden_adjoint, &hidden_bias, &output;
  Rows value, slope;
};

// The network of a model; throws std::runtime_error for one that this plugin does not know, or weights that do not fit it.
std::unique_ptr<Network> make_network(Model &model);
std::unique_ptr<Network> make_schnet(Model &model);
std::unique_ptr<Network> make_painn(Model &model);
std::unique_ptr<Network> make_so3net(Model &model);

}    // namespace mlcalc
