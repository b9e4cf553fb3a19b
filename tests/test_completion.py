"""Shells complete commands, options and files: the script that is printed, tried in bash."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def completions(program: str, module: str, words: list[str], folder) -> set[str]:
    """What bash offers for the last of the words."""
    code = f"import sys; from {module} import main; main(['--print-completion', 'bash'])"
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    quoted = " ".join(f"'{word}'" for word in [program, *words])
    ask = f'COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _shtab_{program}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_commands_options_and_files(tmp_path):
    (tmp_path / "input.toml").touch()
    assert completions("rpmd", "md.cli", ["re"], tmp_path) == {"resume", "real-time"}
    assert completions("rpmd", "md.cli", ["run", "--max"], tmp_path) == {"--max-walltime"}
    assert completions("rpmd", "md.cli", ["run", "inp"], tmp_path) == {"input.toml"}
    assert completions("mlcalc", "mlcalc.cli", ["import", "schnet"], tmp_path) == {"schnetpack", "schnet-tf"}
    assert completions("mlcalc", "mlcalc.cli", ["train", "i"], tmp_path) == {"input.toml"}
