"""``python -m tests.benchmarks [names...] [--quick] [--json FILE] [--threads T]``."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from tests.benchmarks import (
    clusters,
    colors,
    epoch,
    final_radius,
    fine_tuning,
    gaps,
    gpu,
    guard,
    late,
    lattices,
    memory,
    online,
    peers,
    phases,
    scale,
    scaling,
    schedules,
    small_jobs,
    stream,
    time_to_quality,
)
from tests.benchmarks.tables import environment, environment_line
from tests.benchmarks.timing import Options, cores

BENCHMARKS = {
    "epoch": epoch.run,
    "peers": peers.run,
    "gaps": gaps.run,
    "late": late.run,
    "colors": colors.run,
    "clusters": clusters.run,
    "online": online.run,
    "memory": memory.run,
    "scaling": scaling.run,
    "scale": scale.run,
    "stream": stream.run,
    "gpu": gpu.run,
    "schedules": schedules.run,
    "small": small_jobs.run,
    "phases": phases.run,
    "time_to_quality": time_to_quality.run,
    "final_radius": final_radius.run,
    "fine_tuning": fine_tuning.run,
    "lattices": lattices.run,
    "guard": guard.run,
}


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Benchmarks of som_dask.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small data, few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--threads", type=int, default=cores(), metavar="T", help="default: all cores, %(default)s")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    if arguments.threads < 1:
        parser.error("--threads must be positive")
    options = Options(quick=arguments.quick, threads=arguments.threads, rounds=3 if arguments.quick else 5)
    found = environment(options)
    print(environment_line(found))
    report = {"environment": found, "results": {}, "wall_seconds": {}}
    for name in arguments.names or BENCHMARKS:
        clock = time.perf_counter()
        report["results"][name] = BENCHMARKS[name](options)
        report["wall_seconds"][name] = time.perf_counter() - clock
        print(f"({name}: {report['wall_seconds'][name]:.0f} s)", flush=True)
        if arguments.json:  # after each, so that an interrupted run leaves what it has
            arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
