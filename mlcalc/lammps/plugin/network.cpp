// SPDX-License-Identifier: GPL-2.0-only

#include "network.h"

#include <stdexcept>

namespace mlcalc {

Network::Network(Model &given, int message_width) :
    message_width(message_width), model(given), width(given.features), sent(given.layers),
    hidden(given.weights("readout.hidden", size_t(width) * given.hidden)),
    hidden_adjoint(given.weights("readout.adjoint", size_t(width) * given.hidden)),
    hidden_bias(given.weights("readout.bias", given.hidden)), output(given.weights("readout.output", given.hidden))
{
  value.resize(BLOCK, given.hidden);
  slope.resize(BLOCK, given.hidden);
}

void Network::fit(int own, int all, Edges &given)
{
  n_own = own, n_all = all, edges = &given;
  energies.resize(own);
  sent_adjoint.resize(all, message_width);
  for (auto &rows : sent) rows.resize(all, message_width);
}

void Network::read_out(float *x, int first, int rows)
{
  multiply(x, hidden[0], slope[0], rows, width, model.hidden);
  activate(slope[0], hidden_bias[0], model.silu, value[0], slope[0], rows, model.hidden);
  for (int r = 0; r < rows; ++r) {
    Lanes energy{};
    for (int c = 0; c < model.hidden; c += WIDTH) {
      energy += load(value[r] + c) * load(output[0] + c);
      store(value[r] + c, load(slope[r] + c) * load(output[0] + c));
    }
    energies[first + r] = total(energy);
  }
  multiply(value[0], hidden_adjoint[0], x, rows, model.hidden, width);
}

std::unique_ptr<Network> make_network(Model &model)
{
  if (model.architecture == "schnet") return make_schnet(model);
  if (model.architecture == "painn") return make_painn(model);
  if (model.architecture == "so3net") return make_so3net(model);
  throw std::runtime_error("architecture '" + model.architecture + "': this plugin knows schnet, painn and so3net");
}

}    // namespace mlcalc
