"""`python -m cosmos_ops.evaluation.calibration [docs/METRICS.md]`: measure, and print the table or put it into the page between its marks."""

import sys
import tempfile
from pathlib import Path

from cosmos_ops.evaluation.calibration.measure import calibrate
from cosmos_ops.evaluation.calibration.table import broken_promises, markdown

BEGIN, END = "<!-- calibration -->", "<!-- end of calibration -->"


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as cache:
        shares = calibrate(Path(cache))
    table = markdown(shares)
    if arguments:
        page = Path(arguments[0])
        before, rest = page.read_text().split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")
    else:
        print(table)
    broken = broken_promises(shares)
    print("\n".join(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
