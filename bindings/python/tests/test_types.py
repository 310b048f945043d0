"""The types that are shipped, as two checkers see them: inside, and for a program that uses them."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def check(*command):
    end = subprocess.run([sys.executable, "-m", *command], cwd=HERE.parent, capture_output=True, text=True)
    assert end.returncode == 0, end.stdout + end.stderr


def test_mypy():
    check("mypy", "--python-version", "3.10", "lameduck", "tests/consumer.py")


def test_pyright():
    check("pyright", "--pythonpath", sys.executable, "--pythonversion", "3.10", "lameduck", "tests/consumer.py")


def test_both_refuse_what_is_wrong(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import lameduck\nlameduck.asgi(print, graze=3)\nlameduck.Lameduck(grace='30s')\n")
    for checker in ("mypy", "pyright"):
        end = subprocess.run([sys.executable, "-m", checker, str(wrong)], cwd=HERE.parent, capture_output=True, text=True)
        assert end.returncode == 1 and "graze" in end.stdout and ":3:" in end.stdout, end.stdout + end.stderr
