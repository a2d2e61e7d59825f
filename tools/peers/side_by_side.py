"""What the scripts that time bitloom beside others share: child processes, the machine, tables.

Comes from: nothing. Goes to: training_step.py, inference.py, larq.py.
"""
import argparse
import math
import os
import pathlib
import statistics
import subprocess


class Failure(Exception):
    """A contender that gave no row; the text is its reason."""


def cpu_value(key):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def memory_bytes(key):
    """`VmRSS` or `VmHWM` of this process."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def run(command, threads, timeout):
    """Stdout of a child process. Raises Failure."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                              env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(str(error)) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise Failure(said[-1] if said else f"exit code {done.returncode}")
    return done.stdout


def cell(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def geometric_mean(values):
    if not values or any(value is None or value <= 0 for value in values):
        return None
    return math.exp(statistics.fmean(math.log(value) for value in values))


def table(header, rows):
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def words(text):
    """Of an option: NAME,NAME."""
    return [word for word in text.split(",") if word]


def count(text):
    """Of an option: 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number
