// SPDX-License-Identifier: GPL-2.0-only
// A model as 'mlcalc lammps export' writes it (mlcalc/lammps/export.py describes the format).

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lanes.h"

namespace mlcalc {

struct Element {
  std::string symbol;
  int number;       // atomic
  double shift;     // eV, constant energy of an atom
};

// Nuclear repulsion, see mlcalc/priors/repulsion.py; a cutoff of 0 Å for none.
struct Repulsion {
  double cutoff, coulomb, length, coefficients[4], exponents[4];
};

// Angular prior, see mlcalc/priors/angular.py; a cutoff of 0 Å for none.
struct Angular {
  double strength, cosine, decay, cutoff;
};

struct Model {
  std::string architecture;
  double cutoff, spacing;    // Å; of the network, of knots of the filter table
  int features, layers, hidden, knots;
  bool silu;                 // activation of the readout, else shifted softplus
  std::vector<Element> elements;
  std::vector<double> limits;    // Å, (elements, elements) smallest distances allowed
  Repulsion repulsion;
  Angular angular;

  // Weights of this name; throws std::runtime_error unless there are so many.
  Rows &weights(const std::string &name, size_t count);

  std::map<std::string, Rows> arrays;
  std::map<std::string, size_t> sizes;
};

// The model in the content of a file; throws std::runtime_error, whose text says what is wrong with it.
Model parse_model(const std::string &content);

}    // namespace mlcalc
