"""The command that comes with the wheel."""

import os
import select
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import lameduck

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # In a folder of its own: `-m` looks in the current one first, which may hold the package's sources.
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=30, check=False)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    module = run(tmp_path, sys.executable, "-m", "lameduck", "--version")
    assert (module.returncode, module.stderr) == (0, "")
    assert module.stdout.startswith("lameduck ")
    script = run(tmp_path, str(Path(sysconfig.get_path("scripts")) / "lameduck"), "--version")
    assert script.stdout == module.stdout
    compose = tmp_path / "compose.yaml"
    compose.write_text("services: { web: { build: . } }")
    plan = run(tmp_path, sys.executable, "-m", "lameduck", "plan", str(compose))
    assert plan.returncode == 1
    assert "default-limit" in plan.stdout
    bad = run(tmp_path, sys.executable, "-m", "lameduck", "plan", "nowhere.yaml")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: cannot read nowhere.yaml")


def test_a_signal_reaches_the_command(tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    server = f"import time; open({str(started)!r}, 'w').close(); time.sleep(100)"
    words = [sys.executable, "-m", "lameduck", "drill", "--", sys.executable, "-c", server]
    opened = select.poll()
    opened.register(os.open(started, os.O_RDONLY | os.O_NONBLOCK))
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as drill:
        assert opened.poll(30_000), "the drill's first server opens it"
        drill.send_signal(signal.SIGTERM)
        assert drill.wait(timeout=30) == 143


def test_without_the_program_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    package = tmp_path / "lameduck"
    package.mkdir()
    (package / "__main__.py").write_text(Path(lameduck.__file__).with_name("__main__.py").read_text())
    missing = run(tmp_path, sys.executable, str(package / "__main__.py"))
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: lameduck's command does not start here: ")
