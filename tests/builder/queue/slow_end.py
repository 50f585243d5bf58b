"""A job's process that has told the queue all and takes a while to end, and one that has told it nothing.

The line on its standard input says how many seconds it takes.
"""

import sys
import time

seconds = float(sys.stdin.buffer.readline())
print("==> almost over", flush=True)
time.sleep(seconds)
