// SPDX-License-Identifier: GPL-2.0-only
// The priors of mlcalc/priors in float64, as seen from one atom.

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "model_file.h"

namespace mlcalc {

// Energy (eV) of the nuclear repulsion of a pair at distance r (Å), and its derivative by r.
inline double repulsion(const Repulsion &zbl, double r, int z_i, int z_j, double &slope)
{
  const double a = zbl.length / (std::pow(z_i, 0.23) + std::pow(z_j, 0.23));
  double phi = 0.0, dphi = 0.0;
  for (int k = 0; k < 4; ++k) {
    const double term = zbl.coefficients[k] * std::exp(-zbl.exponents[k] * r / a);
    phi += term;
    dphi -= term * zbl.exponents[k] / a;
  }
  const double u = std::clamp(2.0 * r / zbl.cutoff - 1.0, 0.0, 1.0);
  const double onset = 1.0 - u * u * u * (10.0 - 15.0 * u + 6.0 * u * u);
  const double onset_slope = -30.0 * u * u * (1.0 - u) * (1.0 - u) * 2.0 / zbl.cutoff;
  const double q = zbl.coulomb * z_i * z_j / r;
  slope = q * (dphi * onset + phi * onset_slope) - q * phi * onset / r;
  return q * phi * onset;
}

// A neighbour, as seen from an atom: its vector and distance, Å; the derivative of the energy by the vector; its weight h in
// triples around the atom, 0 where the prior has ended.
struct Arm {
  double vector[3], r, gradient[3], h;
};

// Energy (eV) of the angles at one atom: ½λ Σ_{j≠k} h_j h_k (û_j·û_k − c)², by the moments S, V, Q of angular.py; its derivatives
// are added to those of the arms.
inline double angular(const Angular &prior, std::vector<Arm> &arms)
{
  const double c = prior.cosine;
  double s = 0.0, v[3] = {}, q[3][3] = {}, own = 0.0;
  for (auto &arm : arms) {
    arm.h = arm.r < prior.cutoff ? std::exp(prior.decay / (arm.r - prior.cutoff)) : 0.0;
    s += arm.h;
    own += arm.h * arm.h;
    for (int a = 0; a < 3; ++a) {
      v[a] += arm.h * arm.vector[a] / arm.r;
      for (int b = 0; b < 3; ++b) q[a][b] += arm.h * arm.vector[a] * arm.vector[b] / (arm.r * arm.r);
    }
  }
  for (auto &arm : arms) {
    if (arm.h == 0.0) continue;
    double turned[3], along = 0.0, by_v = 0.0;
    for (int a = 0; a < 3; ++a) {
      turned[a] = -c * v[a];
      for (int b = 0; b < 3; ++b) turned[a] += q[a][b] * arm.vector[b] / arm.r;
      along += turned[a] * arm.vector[a] / arm.r;
      by_v += v[a] * arm.vector[a] / arm.r;
    }
    const double by_h = along - c * by_v + c * c * s - (1.0 - c) * (1.0 - c) * arm.h;
    const double dh = -arm.h * prior.decay / ((arm.r - prior.cutoff) * (arm.r - prior.cutoff));
    for (int a = 0; a < 3; ++a) {
      const double unit = arm.vector[a] / arm.r;
      arm.gradient[a] += prior.strength * (by_h * dh * unit + 2.0 * arm.h * (turned[a] - along * unit) / arm.r);
    }
  }
  double energy = c * c * s * s - (1.0 - c) * (1.0 - c) * own;
  for (int a = 0; a < 3; ++a) {
    energy -= 2.0 * c * v[a] * v[a];
    for (int b = 0; b < 3; ++b) energy += q[a][b] * q[a][b];
  }
  return 0.5 * prior.strength * energy;
}

}    // namespace mlcalc
