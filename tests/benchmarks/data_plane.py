"""The data plane: shards, decoding, indexing, incremental cost and loading, each against a named opponent in one run.

    python tests/benchmarks/data_plane.py [--quick] [--json [FILE]] [--part NAME ...]

| part | ratio | opponent |
|---|---|---|
| shards | `shards_vs_ffmpeg` | the `ffmpeg` command line (1) |
| decode | none: counts | how often each video is opened and each of its frames decoded, for quality and for shards |
| index | `index_10000_of_20_s`, `index_memory_of_1_gb` (lower is better) | those bounds, for a LeRobot v3.0 dataset of 10,000 episodes |
| ingest | `ingest_after_1000_over_10` (lower is better) | the same in a lake of 10 drops: the larger of the whole command's ratio and the library's |
| loader | `loader_vs_reference` | the public recipe's dataset class (2) |

1. Same files, decode, scale, crop, x264 settings and cores, one MP4 a clip. Of its two ways, a process a core or one process with its own
   threads, the faster counts. Ours is the whole stage: telemetry, tars, hashes, index and film strip too. `shards_vs_ffmpeg_processor_time`
   compares processor time, which other work on the machine disturbs less.
2. What it does for a sample, by code of our own: the whole file through an ffmpeg pipe to PIL images, a window of them, each resized, floats.
   Ours: latents and text, which is what training reads. `clips_vs_reference` is of our clips as the same floats.

Contenders take turns and medians are compared. Videos are drawn here: 640x480 at 30 frames a second, textured and noisy as a camera's.
With `--json` the last line of stdout (and FILE) is one object: `machine`, `rows`, `ratios`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.data_plane_index import index_part  # noqa: E402
from tests.benchmarks.data_plane_ingest import ingest_part  # noqa: E402
from tests.benchmarks.data_plane_loader import loader_part  # noqa: E402
from tests.benchmarks.data_plane_shards import decode_part, shards_part  # noqa: E402
from tests.benchmarks.measuring import Result  # noqa: E402

PARTS = {"shards": shards_part, "decode": decode_part, "index": index_part, "ingest": ingest_part, "loader": loader_part}


def machine() -> dict:
    """What this ran on, and how busy that was."""
    ffmpeg = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout.partition("Copyright")[0].strip()
    cores = len(os.sched_getaffinity(0))
    return {"cpu": platform.processor() or platform.machine(), "cores": cores, "load_average": round(os.getloadavg()[0], 2), "ffmpeg": ffmpeg}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round on less data")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="one JSON object as the last line of stdout, and in FILE")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part, may be given again")
    options = parser.parse_args()
    result, about = Result(), machine()
    with tempfile.TemporaryDirectory(prefix="data-plane-") as folder:
        for name in options.part or PARTS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            place = Path(folder) / name
            place.mkdir()
            PARTS[name](place, options.quick, result)
    result.print()
    if options.json:
        told = json.dumps({"machine": about, "rows": result.rows, "ratios": result.ratios})
        print(told)
        if options.json != "-":
            Path(options.json).write_text(told + "\n")


if __name__ == "__main__":
    main()
