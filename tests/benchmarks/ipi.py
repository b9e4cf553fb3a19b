"""Measures i-PI with this project's client and plug-in, with a potential without cost and with a network, and other clients.

    python -m tests.benchmarks.ipi --environments FOLDER -o runs/benchmarks

C20, P = 8, PILE-L, no output; time of a step as reported by i-PI over 1000 steps, median and range of the repetitions. Clients use
all threads, and i-PI runs beside them. SchNetPack (in its own environment, see tests/benchmarks/__main__.py) uses ASE's client.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read

from mlcalc.common.files import write_atomically
from mlcalc.common.tables import aligned
from tests.benchmarks.problem import benchmark_model, write_problem

ROOT = Path(__file__).parents[2]
STEPS = 1000  # after which i-PI reports its average
SCRIPTS = Path(sys.executable).parent

INPUT = """<simulation verbosity='low'>
  <output prefix='x'></output>
  <total_steps>{steps}</total_steps>
  <prng><seed>1</seed></prng>
  {field}
  <system>
    <initialize nbeads='8'>
      <file mode='xyz'> c20.xyz </file> <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='f'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'> <dynamics mode='nvt' splitting='baoab'> <timestep units='femtosecond'> {timestep} </timestep>
      <thermostat mode='pile_l'> <tau units='femtosecond'> 100 </tau> </thermostat> </dynamics> </motion>
  </system>
</simulation>
"""
SOCKET = (
    "<ffsocket name='f' mode='unix' pbc='False'> <address>bench</address> <latency>1e-5</latency> {batch} </ffsocket>"
)
DIRECT = "<ffdirect name='f' threaded='True' pbc='False'> <latency>1e-5</latency> <batch_size>8</batch_size> {pes} </ffdirect>"
PARAMETERS = "<parameters>{{model: c20, template: c20.xyz}}</parameters>"

ZERO_PLUGIN = """
import numpy as np
from md.ipi_driver import NetworkDriver as Driver
__DRIVER_NAME__, __DRIVER_CLASS__ = "zero", "ZeroDriver"
class ZeroDriver(Driver):
    def __init__(self, **given):
        super().__init__(**given)
        self._guest.potential = lambda q: (np.zeros(len(q)), np.zeros_like(q))
"""
ZERO_CLIENT = """
import sys
import numpy as np
import md.ipi.guest as guest
make = guest.Guest.__init__
def zero(self, *given, **named):
    make(self, *given, **named)
    self.potential = lambda q: (np.zeros(len(q)), np.zeros_like(q))
guest.Guest.__init__ = zero
from md.cli import main
sys.exit(main(sys.argv[1:]))
"""
ASE_CLIENT = """
from ase.calculators.socketio import SocketClient
from ase.io import read
from mlcalc import SchNetCalculator
atoms = read("c20.xyz")
atoms.calc = SchNetCalculator("c20")
SocketClient(unixsocket="bench").run(atoms)
"""


def programs(environments: Path | None, problem: Path) -> dict[str, tuple[str, list[str] | None, bool]]:
    """Name → i-PI's force field, command of the client or None, whether it is a network."""
    ours = [sys.executable, "-P", "-m", "md.cli"]
    client = ["ipi-client", "--template", "c20.xyz", "--unix", "bench"]
    plugin = f"<pes>custom</pes> <pes_path>{ROOT / 'md' / 'ipi_driver.py'}</pes_path> {PARAMETERS}".replace("{{", "{")
    plugin = plugin.replace("}}", "}")
    single, batched = SOCKET.format(batch=""), SOCKET.format(batch="<batch_size>8</batch_size>")
    found = {
        "i-PI alone, in process": (DIRECT.format(pes="<pes>dummy</pes>"), None, False),
        "plug-in, nothing to compute": (
            DIRECT.format(pes=plugin.replace(str(ROOT / "md" / "ipi_driver.py"), "zero.py")),
            None,
            False,
        ),
        "i-PI's own client, nothing to compute": (
            single,
            [str(SCRIPTS / "i-pi-py_driver"), "-u", "-a", "bench"],
            False,
        ),
        "rpmd ipi-client, nothing to compute": (single, [sys.executable, "-P", "zero_client.py", *client], False),
        "plug-in": (DIRECT.format(pes=plugin), None, True),
        "rpmd ipi-client": (single, [*ours, *client], True),
        "rpmd ipi-client, batches of 8": (batched, [*ours, *client], True),
        "ASE's client, our calculator": (single, [sys.executable, "ase_client.py"], True),
    }
    python = (environments or Path("none")) / "schnetpack" / "bin" / "python"
    if python.exists():
        script = ROOT / "tests" / "benchmarks" / "peers" / "schnetpack_client.py"
        found["ASE's client, SchNetPack"] = (single, [str(python), str(script), str(problem), "c20.xyz", "bench"], True)
    else:
        print("SchNetPack: left out, no environment; see --help", file=sys.stderr)
    return found


def time_per_step(folder: Path, field: str, client: list[str] | None, network: bool) -> float:
    """Milliseconds, from i-PI's own clock."""
    # Without forces the ring polymer would fly apart at this time step; timing does not need motion.
    text = INPUT.format(steps=STEPS + 1, field=field, timestep=0.5 if network else 1e-6)
    (folder / "input.xml").write_text(text)
    server = subprocess.Popen(
        [str(SCRIPTS / "i-pi"), "input.xml"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if client:
        while not Path("/tmp/ipi_bench").exists():
            if server.poll() is not None:
                raise RuntimeError(server.communicate()[0][-2000:])
        guest = subprocess.Popen(client, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed, _ = server.communicate(timeout=600)
    if client:
        guest.wait(60)
    found = re.findall(rf"MD step\s+{STEPS}\. t/step: (\S+)", printed)
    if not found:
        raise RuntimeError(printed[-2000:])
    return 1e3 * float(found[0])


def main() -> int:
    """Run every program; write table and chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="folder made by make_environments.sh")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    problem = write_problem(
        benchmark_model("c20"), read(ROOT / "inputs" / "c20" / "c20.xyz"), options.output.resolve() / "ipi.npz"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c20.xyz").write_text((ROOT / "inputs" / "ipi" / "c20.xyz").read_text())
        for file, text in (("zero.py", ZERO_PLUGIN), ("zero_client.py", ZERO_CLIENT), ("ase_client.py", ASE_CLIENT)):
            (folder / file).write_text(text)
        listed = programs(options.environments, problem)
        times: dict[str, list[float]] = {name: [] for name in listed}
        for _ in range(options.repetitions):  # in turn, so that a drift of the machine affects all equally
            for name, program in listed.items():
                times[name].append(time_per_step(folder, *program))
                print(f"{name}: {times[name][-1]:.3f} ms", flush=True)
    table = _table(times)
    print(table)
    write_atomically(options.output / "ipi.txt", (table + "\n").encode())
    return 0


def _table(times: dict[str, list[float]]) -> str:
    base = {True: "plug-in", False: "i-PI alone, in process"}
    rows = []
    for name, found in times.items():
        reference = np.median(times[base["nothing" not in name and "alone" not in name]])
        rows.append([
            name, f"{np.median(found):.3f}", f"{min(found):.3f}–{max(found):.3f}", f"{np.median(found) / reference:.2f}"
        ])  # fmt: skip
    return aligned(["program", "ms per step", "range", "times the first of its kind"], rows, left=1)


if __name__ == "__main__":
    sys.exit(main())
