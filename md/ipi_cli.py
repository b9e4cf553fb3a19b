"""The commands of ``rpmd`` that serve i-PI."""

import os
from pathlib import Path


def add_ipi_commands(commands, raw) -> None:
    """Add the sub-commands for i-PI; ``raw`` is the formatter of help texts."""
    client = commands.add_parser(
        "ipi-client", help="serve i-PI over its socket",
        description="Evaluate a model for i-PI: wait for its socket, answer until it says EXIT, come back if it breaks.",
        epilog="examples:\n  rpmd ipi-client --template inputs/c20/c20.xyz --unix c20\n"
        "  rpmd ipi-client --template inputs/c20/c20.xyz --host node1 --port 31415 --threads 8\n\n"
        "exit codes: 0 the server said EXIT, 1 the model failed, 2 nothing to be done with what was asked, 3 no server",
        formatter_class=raw,
    )  # fmt: skip
    _add_guest_options(client)
    address = client.add_mutually_exclusive_group(required=True)
    address.add_argument("--unix", metavar="NAME", help="Unix socket, i-PI's <address> with mode='unix'")
    address.add_argument("--host", help="host of i-PI with mode='inet'")
    client.add_argument("--port", type=int, default=31415)
    client.add_argument(
        "--prefix", default="/tmp/ipi_", help="of Unix sockets, i-PI's sockets_prefix (default: /tmp/ipi_)"
    )
    client.add_argument("--wait-s", type=float, default=60.0, help="how long to look for the server (default: 60)")
    client.add_argument("--log-every-s", type=float, default=10.0, help="interval of the log (default: 10)")
    client.set_defaults(command=_ipi_client)
    launch = commands.add_parser(
        "ipi-launch", help="i-PI and its clients as one command",
        description="Start i-PI and clients for every <ffsocket> of its input, restart dead clients, end a run that stands still.",
        epilog="example:\n  cd inputs/ipi && rpmd ipi-launch pimd-socket.xml --template c20.xyz --clients 2\n\n"
        "exit codes: i-PI's; 1 clients keep dying, 2 they cannot serve this input, 4 no progress",
        formatter_class=raw,
    )  # fmt: skip
    launch.add_argument("input", metavar="INPUT.xml")
    launch.add_argument("--clients", type=int, default=1, help="for every socket (default: 1)")
    launch.add_argument(
        "--stall-s", type=float, default=120.0, help="seconds without progress that end the run (default: 120)"
    )
    _add_guest_options(launch)
    launch.set_defaults(command=_ipi_launch)
    path = commands.add_parser("ipi-driver-path", help="the file that i-PI's <pes_path> wants")
    path.set_defaults(command=_ipi_driver_path)


def _add_guest_options(command) -> None:
    command.add_argument("--model", default="c20", help="shipped model name or model file (default: c20)")
    command.add_argument(
        "--template", required=True, metavar="STRUCTURE", help="elements in i-PI's order, and whether periodic"
    )
    command.add_argument("--precision", choices=("float32", "float64"), default="float32")
    command.add_argument("--threads", type=int, default=0, help="threads of the compiled kernel (0: all)")
    command.add_argument("--atomic-energies", action="store_true", help="send atom-wise energies as extras")


def _ipi_client(options) -> int:
    from md.ipi_client import Address, run_client
    from md.ipi_guest import Guest
    from md.potentials import find_model, load_model, single_threaded_blas
    from md.preparation import read_structure
    from mlcalc.settings import check_range

    check_range("--port", options.port, 1, 65535)
    check_range("--wait-s", options.wait_s, 0)
    check_range("--threads", options.threads, 0)
    address = Address(options.unix, options.host or "localhost", options.port, options.prefix)
    model, template = load_model(find_model(options.model)), read_structure(options.template)
    guest = Guest(model, template, options.precision, options.threads, options.atomic_energies)

    def report(line: str) -> None:
        print(f"rpmd ipi-client: {line}", flush=True)

    report(str(guest))
    with single_threaded_blas():
        guest.warm_up()
        return run_client(guest, address, options.wait_s, report, options.log_every_s)


def _ipi_launch(options) -> int:
    from md.ipi_launch import Launch, check_wrapping
    from md.potentials import find_model
    from md.preparation import read_structure
    from mlcalc.settings import check_range

    check_range("--clients", options.clients, 1, 1024)
    check_range("--stall-s", options.stall_s, 0, open_low=True)
    find_model(options.model)  # before anything is started
    check_wrapping(options.input, read_structure(options.template))
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.clients)
    passed = ["--model", options.model, "--template", options.template, "--precision", options.precision]
    passed += ["--threads", str(threads)] + ["--atomic-energies"] * options.atomic_energies
    return Launch(options.input, options.clients, passed, options.stall_s).run()


def _ipi_driver_path(options) -> int:
    print(Path(__file__).with_name("ipi_driver.py"))
    return 0
