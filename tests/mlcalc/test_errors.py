"""What commands print: one line, whatever files have put into it."""

import errno
import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcalc.cli import main
from mlcalc.common.errors import InputError, note, one_line, run_command
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned

HOSTILE = "a\x1b[31mred\x1b]0;title\x07\nerror: b\r\0\t\x9b2J\u202e\u2028\ud800"
ESCAPED = r"a\x1b[31mred\x1b]0;title\x07\nerror: b\r\x00\t\x9b2J\u202e\u2028\ud800"
PLAIN = "1.5 Å ± 0.2 → γ, läuft 🙂, 'quoted' \\n"


def raises(error: Exception):
    def command() -> int:
        raise error

    return command


def refusal(text: str) -> InputError:
    return InputError(text)


def disk(text: str) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", text)


@pytest.mark.parametrize(("error", "code"), [(refusal, 2), (disk, 8)])
def test_messages_of_commands(capsys, error, code):
    assert run_command("x", raises(error(f"{HOSTILE} {PLAIN}"))) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"x: error: {ESCAPED} {PLAIN}") and err.count("\n") == 1


@pytest.mark.parametrize("n", [1, 20_000], ids=["shorter than the buffer", "longer"])
def test_a_reader_that_has_gone(n):
    code = f"import sys; from mlcalc.common.errors import run_command; sys.exit(run_command('x', lambda: print({n} * 'x')))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(60)) == (b"", 141)


def test_output_to_a_full_disk():
    code = "import sys; from mlcalc.common.errors import run_command; sys.exit(run_command('x', lambda: print('x')))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 8 and done.stderr.startswith("x: error: No space left on device")


def test_notes(capsys):
    note(HOSTILE)
    assert capsys.readouterr().err == f"note: {ESCAPED}\n"


def test_tables():
    assert aligned(["name", ""], [[HOSTILE, PLAIN]], left=2).splitlines()[2] == f"{ESCAPED}  {PLAIN}"


@given(st.text(max_size=20))
def test_lines_hold_no_controls_and_keep_the_rest(text):
    line = one_line(text)
    assert len((line + "|").splitlines()) == 1 and one_line(line) == line
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in line} & {
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    }
    if text.isprintable():
        assert line == text


@given(st.text(max_size=20))
def test_json_means_the_same_and_steers_nothing(text):
    written = to_json({text: [text]}, indent=1)
    assert json.loads(written) == {text: [text]}
    assert one_line(written.replace("\n", "")) == written.replace("\n", "")


def test_a_hostile_input_file(tmp_path, capsys):
    path = tmp_path / "liquid.toml"
    path.write_text('"a\\u001b[31m\\nb" = 1\n')
    assert main(["coarse-grain", str(path), "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err and err.count("\n") == 1 and r"a\x1b[31m\nb" in err
