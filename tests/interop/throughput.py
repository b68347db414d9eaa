"""One seed to one getter on loopback: Skep to Skep against libtorrent to libtorrent, in turns.

    python tests/interop/throughput.py target/release/skep [--runs 5] [--mib 1024] [--work DIR]

Needs a Python that can import libtorrent (.ci/run makes one in target/interop-venv). Both move the same
torrent over TCP on 127.0.0.1. The seed has checked its content and the getter its empty directory before
the clock starts. It runs for libtorrent from the order to connect to the seed until every piece is verified,
for Skep from the moment the getter listens (it must still ask the tracker for the seed) until the same.
The content is compared byte by byte afterwards. Prints every run, minimum and median, the CPU time and
the peak memory (VmHWM) of each process, and the ratio of the medians of the throughput.
"""

import argparse
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIB = 1024 * 1024
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 300


class Process:
    """A child with its lines, its CPU seconds and its peak memory; killed when the block ends."""

    def __init__(self, args):
        self.child = subprocess.Popen(
            [str(arg) for arg in args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.cpu_s = self.peak_mib = 0.0
        self.watching = threading.Thread(target=self.watch, daemon=True)
        self.watching.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.watching.join()

    def look(self):
        """What the kernel has counted so far; nothing of a process that has ended."""
        try:
            proc = Path("/proc") / str(self.child.pid)
            fields = (proc / "stat").read_text().rpartition(")")[2].split()
            cpu_s = (int(fields[11]) + int(fields[12])) / TICKS
            lines = (proc / "status").read_text().splitlines()
            peak = [line for line in lines if line.startswith("VmHWM:")]
        except OSError:
            return
        if peak:
            self.cpu_s, self.peak_mib = cpu_s, int(peak[0].split()[1]) / 1024

    def watch(self):
        while self.child.poll() is None:
            self.look()
            time.sleep(0.05)

    def line(self, wanted):
        """The first line with these words."""
        timer = threading.Timer(PATIENCE_S, self.child.kill)
        timer.start()
        for line in self.child.stdout:
            if wanted in line:
                timer.cancel()
                return line
        sys.exit(f"{self.child.args} ended without saying {wanted!r}")

    def do(self, **order):
        self.child.stdin.write(json.dumps(order) + "\n")
        self.child.stdin.flush()

    def used(self):
        return {"cpu_s": self.cpu_s, "peak_mib": self.peak_mib}


def libtorrent_run(torrent, content, to):
    def peer(folder):
        return Process([sys.executable, HERE / "lt_peer.py", torrent, folder, "127.0.0.1:0", "--no-trackers"])

    with peer(content.parent) as seed:
        port = json.loads(seed.line('"ready"'))["port"]
        seed.look()
        before = seed.cpu_s
        with peer(to) as getter:
            getter.line('"ready"')
            began = time.monotonic()
            getter.do(do="connect", to=f"127.0.0.1:{port}")
            seconds = json.loads(getter.line('"complete"'))["at"] - began
            seed.look()
            getter.do(do="quit")  # what is verified is not on its disk yet
            getter.child.wait(PATIENCE_S)
            used = seed.used(), getter.used()
    used[0]["cpu_s"] -= before
    return seconds, *used


def skep_run(skep, torrent, content, to):
    with Process([skep, "seed", torrent, "--data", content, "--listen", "127.0.0.1:0"]) as seed:
        seed.line("seeding ")
        seed.look()
        before = seed.cpu_s
        time.sleep(0.5)  # it announces itself
        get = [skep, "get", torrent, "--dir", to, "--listen", "127.0.0.1:0", "--json"]
        with Process(get) as getter:
            seconds = json.loads(getter.line('"seconds"'))["seconds"]
            seed.look()
            getter.child.wait(PATIENCE_S)
            used = seed.used(), getter.used()
    used[0]["cpu_s"] -= before
    return seconds, *used


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("skep", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--work", type=Path, help="where the files go; by default the system's place")
    args = parser.parse_args()
    skep = args.skep.resolve()

    with tempfile.TemporaryDirectory(dir=args.work) as work:
        work = Path(work)
        content = work / "seed" / "film.bin"
        content.parent.mkdir()
        with content.open("wb") as file:
            for _ in range(args.mib):
                file.write(os.urandom(MIB))
        torrent = work / "film.torrent"
        with Process([skep, "track", "--listen", "127.0.0.1:0"]) as tracker:
            url = tracker.line("announce URL: ").split("announce URL: ")[1].strip()
            create = [skep, "torrent", "create", content, "--announce", url, "-o", torrent]
            subprocess.run(create, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            compare(args, work, content, {
                "libtorrent": lambda to: libtorrent_run(torrent, content, to),
                "skep": lambda to: skep_run(skep, torrent, content, to),
            })


def compare(args, work, content, kinds):
    print(f"{args.mib} MiB, one seed to one getter on loopback, {args.runs} runs each, in turns\n")
    print(f"{'':12}{'seconds':>9}{'MiB/s':>8}   {'seed: CPU s':>12}{'peak MiB':>10}   {'getter: CPU s':>14}{'peak MiB':>10}")
    times = {kind: [] for kind in kinds}
    for _ in range(args.runs):
        for kind, run in kinds.items():
            to = work / "got"
            to.mkdir()
            seconds, seed, getter = run(to)
            if not filecmp.cmp(content, to / content.name, shallow=False):
                sys.exit(f"{kind}: the content differs")
            shutil.rmtree(to)
            times[kind].append(seconds)
            print(
                f"{kind:12}{seconds:9.2f}{args.mib / seconds:8.0f}   {seed['cpu_s']:12.2f}{seed['peak_mib']:10.1f}"
                f"   {getter['cpu_s']:14.2f}{getter['peak_mib']:10.1f}",
                flush=True,
            )
    print()
    median = {}
    for kind, seconds in times.items():
        median[kind] = statistics.median(seconds)
        print(f"{kind:12}median {median[kind]:.2f} s ({args.mib / median[kind]:.0f} MiB/s), best {min(seconds):.2f} s ({args.mib / min(seconds):.0f} MiB/s)")
    print(f"\nthroughput of skep / throughput of libtorrent, medians: {median['libtorrent'] / median['skep']:.2f}")


main()
