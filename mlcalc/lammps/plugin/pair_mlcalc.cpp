// SPDX-License-Identifier: GPL-2.0-only

#include "pair_mlcalc.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

using namespace LAMMPS_NS;

PairMLCalc::PairMLCalc(LAMMPS *lmp) : Pair(lmp)
{
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  single_enable = 0;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairMLCalc::~PairMLCalc()
{
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
}

void PairMLCalc::settings(int narg, char **arg)
{
  if (narg) error->all(FLERR, "pair_style mlcalc {}: expected no argument; the file comes with pair_coeff", arg[0]);
}

// pair_coeff * * FILE ELEMENT…, an element for each type
void PairMLCalc::coeff(int narg, char **arg)
{
  const int n = atom->ntypes;
  if (narg != 3 + n)    // that it starts with * *, LAMMPS has checked
    error->all(FLERR, "pair_coeff of mlcalc: expected * * FILE and an element for each of the {} types", n);
  if (!allocated) {
    memory->create(setflag, n + 1, n + 1, "pair:setflag");
    memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
    allocated = 1;
  }
  try {
    model = std::make_unique<mlcalc::Model>(mlcalc::parse_model(read_file(arg[2])));
    network = mlcalc::make_network(*model);
  } catch (const std::runtime_error &wrong) {
    error->all(FLERR, "{}: {}", arg[2], wrong.what());
  }
  map_types(narg, arg);
  for (int i = 1; i <= n; ++i)
    for (int j = i; j <= n; ++j) setflag[i][j] = 1;
  // Two floats travel as one double; a row has whole cache lines of them.
  comm_forward = comm_reverse = network->message_width / 2;
}

// The content of a file, which one process reads for all.
std::string PairMLCalc::read_file(const char *path)
{
  std::string content;
  bigint size = -1;
  if (comm->me == 0) {
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream text;
    if (stream && text << stream.rdbuf()) {
      content = text.str();
      size = content.size();
    }
  }
  MPI_Bcast(&size, 1, MPI_LMP_BIGINT, 0, world);
  if (size < 0 || size > MAXSMALLINT) throw std::runtime_error("no readable file; 'mlcalc lammps export MODEL -o FILE' writes one");
  content.resize(size);
  MPI_Bcast(&content[0], size, MPI_CHAR, 0, world);
  return content;
}

void PairMLCalc::map_types(int narg, char **arg)
{
  rows.assign(1, -1);    // types count from 1
  for (int k = 3; k < narg; ++k) {
    std::string known;
    int row = -1;
    for (size_t e = 0; e < model->elements.size(); ++e) {
      known += " " + model->elements[e].symbol;
      if (model->elements[e].symbol == arg[k]) row = e;
    }
    if (row < 0) error->all(FLERR, "pair_coeff of mlcalc: element {} of type {}: this model knows{}", arg[k], k - 2, known);
    rows.push_back(row);
  }
}

void PairMLCalc::init_style()
{
  if (!atom->tag_enable) error->all(FLERR, "pair_style mlcalc: atom_modify id no: expected atoms with IDs");
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real") error->all(FLERR, "pair_style mlcalc: units {}: expected metal or real", units);
  energy_unit = units == "metal" ? 1.0 : utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  if (!force->newton_pair) error->all(FLERR, "pair_style mlcalc: newton off: expected newton on");
  for (int k = 1; k < 4; ++k)
    if (atom->molecular != Atom::ATOMIC && force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
      error->all(FLERR, "pair_style mlcalc needs all pairs, of bonded atoms too: expected special_bonds lj/coul 1 1 1");
  neighbor->add_request(this, NeighConst::REQ_FULL);
  // A hybrid style has set the size of its messages before pair_coeff.
  force->pair->comm_forward = MAX(force->pair->comm_forward, comm_forward);
  force->pair->comm_reverse = MAX(force->pair->comm_reverse, comm_reverse);
}

double PairMLCalc::init_one(int, int) { return model->cutoff; }

void PairMLCalc::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  if (neighbor->exclude) error->all(FLERR, "pair_style mlcalc needs all pairs: expected no neigh_modify exclude");
  if (list->listskip)
    error->all(FLERR, "pair_style mlcalc needs all pairs: expected it alone, or in hybrid/overlay with * *");
  find_edges();
  run_network();
  for (int i = 0; i < atom->nlocal; ++i) {
    add_energy(i, model->elements[species[i]].shift + network->energies[i]);
    add_forces(i);
  }
  if (vflag_fdotr) virial_fdotr_compute();
}

// Elements of all atoms, and neighbours within the cutoff with their place in the filter table.
void PairMLCalc::find_edges()
{
  const int n_own = atom->nlocal, n_all = n_own + atom->nghost;
  double **x = atom->x;
  species.resize(n_all);
  for (int i = 0; i < n_all; ++i) species[i] = rows[atom->type[i]];
  edges.start.assign(1, 0);
  edges.all.clear();
  for (int i = 0; i < n_own; ++i) {
    for (int k = 0; k < list->numneigh[i]; ++k) {
      const int j = list->firstneigh[i][k] & NEIGHMASK;
      const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
      const double r = std::sqrt(dx * dx + dy * dy + dz * dz);
      if (r >= model->cutoff) continue;
      const double limit = model->limits[species[i] * model->elements.size() + species[j]];
      if (!(r >= limit))
        error->one(FLERR, "atoms {} and {} are {:.3f} Angstrom apart: the model was trained on none so close (allowed from {:.3f})",
                   atom->tag[i], atom->tag[j], r, limit);
      const double place = r / model->spacing;
      const int knot = MIN(static_cast<int>(place), model->knots - 1);
      edges.all.push_back({j, knot, static_cast<float>(place - knot), 0.0f,
                           {static_cast<float>(dx / r), static_cast<float>(dy / r), static_cast<float>(dz / r)}, {}});
    }
    edges.start.push_back(edges.all.size());
  }
}

void PairMLCalc::run_network()
{
  network->start(atom->nlocal, atom->nlocal + atom->nghost, species, edges);
  for (int t = 0; t < model->layers; ++t) {
    travelling = &network->messages(t);
    if (t > 0) comm->forward_comm(this);
    network->forward(t);
  }
  travelling = &network->adjoint();
  for (int t = model->layers - 1; t >= 0; --t) {
    network->backward(t);
    if (t == 0) return;
    comm->reverse_comm(this);
    network->conclude(t);
  }
}

void PairMLCalc::add_energy(int i, double energy)
{
  if (eflag_global) eng_vdwl += energy_unit * energy;
  if (eflag_atom) eatom[i] += energy_unit * energy;
}

// Forces along the edges of an own atom, with the priors; the unit vector u of a vector of length r has the derivative (1 − u⊗u)/r.
void PairMLCalc::add_forces(int i)
{
  double **x = atom->x, energy = 0.0;
  const int first = edges.start[i], last = edges.start[i + 1], number = model->elements[species[i]].number;
  arms.resize(last - first);
  for (int e = first; e < last; ++e) {
    const mlcalc::Edge &edge = edges.all[e];
    mlcalc::Arm &arm = arms[e - first];
    double r2 = 0.0, along = 0.0, slope = 0.0;
    for (int a = 0; a < 3; ++a) {
      arm.vector[a] = x[edge.other][a] - x[i][a];
      r2 += arm.vector[a] * arm.vector[a];
      along += edge.turn[a] * arm.vector[a];
    }
    arm.r = std::sqrt(r2);
    if (arm.r < model->repulsion.cutoff)    // both atoms meet the pair
      energy += 0.5 * mlcalc::repulsion(model->repulsion, arm.r, number, model->elements[species[edge.other]].number, slope);
    const double radial = (edge.slope / model->spacing + 0.5 * slope) / arm.r - along / (r2 * arm.r);
    for (int a = 0; a < 3; ++a) arm.gradient[a] = radial * arm.vector[a] + edge.turn[a] / arm.r;
  }
  if (model->angular.cutoff > 0.0) energy += mlcalc::angular(model->angular, arms);
  add_energy(i, energy);
  for (int e = first; e < last; ++e) push(i, edges.all[e].other, arms[e - first]);
}

// Forces on both atoms of an edge, and the virial.
void PairMLCalc::push(int i, int j, const mlcalc::Arm &arm)
{
  double force[3], **f = atom->f;
  for (int a = 0; a < 3; ++a) {
    force[a] = energy_unit * arm.gradient[a];
    f[i][a] += force[a];
    f[j][a] -= force[a];
  }
  const double *v = arm.vector;
  if (evflag) ev_tally_xyz(i, j, atom->nlocal, 1, 0.0, 0.0, force[0], force[1], force[2], -v[0], -v[1], -v[2]);
}

int PairMLCalc::pack_forward_comm(int n, int *atoms, double *buffer, int, int *)
{
  const int width = travelling->width;
  for (int k = 0; k < n; ++k) memcpy(buffer + k * (width / 2), (*travelling)[atoms[k]], width * sizeof(float));
  return n * (width / 2);
}

void PairMLCalc::unpack_forward_comm(int n, int first, double *buffer)
{
  memcpy((*travelling)[first], buffer, size_t(n) * travelling->width * sizeof(float));
}

int PairMLCalc::pack_reverse_comm(int n, int first, double *buffer)
{
  memcpy(buffer, (*travelling)[first], size_t(n) * travelling->width * sizeof(float));
  return n * (travelling->width / 2);
}

void PairMLCalc::unpack_reverse_comm(int n, int *atoms, double *buffer)
{
  const int width = travelling->width;
  for (int k = 0; k < n; ++k) {
    float received, *row = (*travelling)[atoms[k]];
    for (int c = 0; c < width; ++c) {
      memcpy(&received, reinterpret_cast<const char *>(buffer + k * (width / 2)) + c * sizeof(float), sizeof(float));
      row[c] += received;
    }
  }
}
