"""A job's process that has told the queue all and takes a while to end, and one that has told it nothing."""

import sys
import time

sys.stdin.buffer.readline()
print("==> almost over", flush=True)
time.sleep(4)
