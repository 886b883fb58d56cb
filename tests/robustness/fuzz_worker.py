"""A process that reads what a fuzzer gives it: ``fuzz_worker.py READER PATH...``, with the paths where modules are."""

import sys

sys.path[:0] = sys.argv[2:]

from fuzz_bench import serve  # noqa: E402

if __name__ == "__main__":
    serve(sys.argv[1])
