// SPDX-License-Identifier: GPL-2.0-only
// pair_style mlcalc: a network of mlcalc in LAMMPS, over all domains. Features of ghosts come by forward communication before
// every layer but the first, and what ghosts add to the adjoint goes back by reverse communication: a halo of one cutoff.

#pragma once

#include "pair.h"

#include <memory>
#include <vector>

#include "network.h"
#include "priors.h"

namespace LAMMPS_NS {

class PairMLCalc : public Pair {
 public:
  explicit PairMLCalc(LAMMPS *);
  ~PairMLCalc() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;

  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

 private:
  std::string read_file(const char *path);
  void map_types(int narg, char **arg);
  void find_edges();
  void run_network();
  void add_energy(int i, double energy);
  void add_forces(int i);
  void push(int i, int j, const mlcalc::Arm &arm);

  std::unique_ptr<mlcalc::Model> model;
  std::unique_ptr<mlcalc::Network> network;
  mlcalc::Edges edges;
  std::vector<int> rows;             // element of each type
  std::vector<int> species;          // element of own atoms and ghosts
  std::vector<mlcalc::Arm> arms;     // neighbours of one atom
  mlcalc::Rows *travelling = nullptr;
  double energy_unit = 1.0;          // of LAMMPS, in eV⁻¹
};

}    // namespace LAMMPS_NS
