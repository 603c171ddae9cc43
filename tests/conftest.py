"""What every test process has: thread teams no larger than half the machine, because tests start processes of their own."""

import os

# Before torch is imported: it reads the variable once.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
