"""The commands of ``rpmd`` that serve i-PI."""

import math
from pathlib import Path

from mlcalc.common.errors import InputError, one_line

_LONGEST_PATH = 107  # bytes, the system's limit for the name of a Unix socket


def add_ipi_commands(commands, raw) -> None:
    """Add the sub-commands for i-PI; ``raw`` is the formatter of help texts."""
    client = commands.add_parser(
        "ipi-client", help="serve i-PI over its socket",
        description="Evaluate a model for i-PI: wait for its socket, answer until it sends EXIT, reconnect if it breaks.",
        epilog="examples:\n  rpmd ipi-client --template inputs/c20/c20.xyz --unix c20\n"
        "  rpmd ipi-client --template inputs/c20/c20.xyz --host node1 --port 31415 --threads 8\n\n"
        "exit codes: 0 the server sent EXIT, 1 the model failed, 2 the server sent an invalid request,\n"
        "            3 no server, or one that is silent",
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
    client.add_argument(
        "--wait-s",
        type=float,
        default=60.0,
        help="longest wait for the server, and for its first message (default: 60)",
    )
    client.add_argument(
        "--idle-s", type=float, default=1800.0,
        help="longest silence between two messages, e.g. while i-PI waits for other clients (default: 1800; 0 or inf: no limit)",
    )  # fmt: skip
    client.add_argument("--log-every-s", type=float, default=10.0, help="interval between log lines (default: 10)")
    client.set_defaults(command=_ipi_client)
    launch = commands.add_parser(
        "ipi-launch", help="i-PI and its clients as one command",
        description="Start i-PI and clients for every <ffsocket> of its input, restart dead clients, end a stalled run.",
        epilog="example:\n  cd inputs/ipi && rpmd ipi-launch pimd-socket.xml --template c20.xyz --clients 2\n\n"
        "exit codes: i-PI's; 1 clients keep dying, 2 they cannot serve this input, 4 no progress",
        formatter_class=raw,
    )  # fmt: skip
    launch.add_argument("input", metavar="INPUT.xml")
    launch.add_argument("--clients", type=int, default=1, help="number of clients per socket (default: 1)")
    launch.add_argument(
        "--stall-s",
        type=float,
        default=120.0,
        help="seconds without progress after which the run is ended (default: 120)",
    )
    _add_guest_options(launch)
    launch.set_defaults(command=_ipi_launch)
    path = commands.add_parser("ipi-driver-path", help="print the path for i-PI's <pes_path>")
    path.set_defaults(command=_ipi_driver_path)


def _add_guest_options(command) -> None:
    command.add_argument("--model", default="c20", help="shipped model name or model file (default: c20)")
    command.add_argument(
        "--template",
        required=True,
        metavar="STRUCTURE",
        help="structure with the elements in i-PI's order and the periodicity",
    )
    command.add_argument("--precision", choices=("float32", "float64"), default="float32")
    command.add_argument("--threads", type=int, default=0, help="threads of the compiled kernel (0: all)")
    command.add_argument("--atomic-energies", action="store_true", help="send atom-wise energies as extras")


def _ipi_client(options) -> int:
    from md.ipi.client import Address, run_client
    from md.ipi.guest import Guest
    from md.potentials import find_model, load_model, single_threaded_blas
    from md.runs.structures import read_structure
    from mlcalc.common.settings import check_range

    check_range("--port", options.port, 1, 65535)
    for name in ("wait_s", "idle_s", "log_every_s"):
        _check_seconds(name, getattr(options, name))
    check_range("--threads", options.threads, 0)
    _check_host(options.host or "localhost")
    address = Address(options.unix, options.host or "localhost", options.port, options.prefix)
    if options.unix is not None and len(str(address).encode(errors="surrogateescape")) > _LONGEST_PATH:
        raise InputError(
            f"--unix: {str(address)!r} is too long: expected at most {_LONGEST_PATH} bytes for the name of a Unix socket"
        )
    model, template = load_model(find_model(options.model)), read_structure(options.template)
    guest = Guest(model, template, options.precision, options.threads, options.atomic_energies)

    def report(line: str) -> None:
        print(one_line(f"rpmd ipi-client: {line}"), flush=True)

    report(str(guest))
    with single_threaded_blas():
        guest.warm_up()
        return run_client(
            guest, address, options.wait_s, report, options.log_every_s, options.idle_s or math.inf
        )  # fmt: skip


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise InputError(f"--host {host[:80]!r}: not a host name: {error}") from error
    if "\0" in host:
        raise InputError(f"--host {host!r}: expected a host name without NUL")


def _check_seconds(name: str, value: float) -> None:
    if not value >= 0.0:
        raise InputError(f"--{name.replace('_', '-')} = {value}: expected at least 0 seconds")


def _ipi_launch(options) -> int:
    from md.ipi.launch import Launch, addresses, check_wrapping
    from md.potentials import available_threads, find_model
    from md.runs.structures import read_structure
    from mlcalc.common.settings import check_range

    check_range("--clients", options.clients, 1, 1024)
    _check_seconds("stall_s", options.stall_s)
    check_range("--stall-s", options.stall_s, 0, open_low=True)
    check_range("--threads", options.threads, 0)
    find_model(options.model)  # before anything starts
    check_wrapping(options.input, read_structure(options.template))
    n_clients = options.clients * len(addresses(options.input))
    threads = options.threads or max(1, available_threads() // n_clients)
    passed = ["--model", options.model, "--template", options.template, "--precision", options.precision]
    passed += ["--threads", str(threads)] + ["--atomic-energies"] * options.atomic_energies
    return Launch(options.input, options.clients, passed, options.stall_s).run()


def _ipi_driver_path(options) -> int:
    print(Path(__file__).parents[1] / "ipi_driver.py")
    return 0
