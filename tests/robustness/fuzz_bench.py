"""What a reader keeps to, whatever it is given: a result or a sentence, bounded time and memory, nothing written."""

from __future__ import annotations

import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from fuzzed_readers import READERS, Reader

from dlqsm.cli.failure import one_sentence

MOST_CPU_S = 10.0
MOST_BYTES = 2**30
MOST_WALL_S = 300.0
"""How long a process may be silent before it counts as hanging; it shares its processor with others."""


class TakesTooLongError(BaseException):
    """Processor time is used up; no Exception, so that no reader takes it for damage of its file."""


class Bench:
    """A valid input in a folder, one file of which is replaced again and again."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.n_tried, self.n_refused, self.seconds = reader, 0, 0, 0.0
        self._top = Path(tempfile.mkdtemp(prefix="dlqsm-fuzz-"))
        self._inputs, self._scratch = self._top / "in", self._top / "scratch"
        files, self.content = reader.valid()
        for name, content in files.items():
            (self._inputs / name).parent.mkdir(parents=True, exist_ok=True)
            (self._inputs / name).write_bytes(content)
        self._names = self._listed()

    def tried(self, content: bytes) -> str:
        """``read`` or ``refused``; raises whatever breaks a promise."""
        (self._inputs / self.reader.file).write_bytes(content)
        self._scratch.mkdir()
        begun = time.process_time()
        try:
            outcome = self._outcome()
        finally:
            self.seconds += time.process_time() - begun
            shutil.rmtree(self._scratch)
        assert self._listed() == self._names, "a file was written beside the input"
        assert [path.name for path in self._top.iterdir()] == ["in"], "a file was written outside"
        assert (self._inputs / self.reader.file).read_bytes() == content, "the input was changed"
        self.n_tried += 1
        self.n_refused += outcome == "refused"
        return outcome

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._top, ignore_errors=True)

    def _outcome(self) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with within_limits():
                    self.reader.read(self._inputs, self._scratch)
            except MemoryError:
                raise
            except Exception as error:
                sentence = one_sentence(error)
                if sentence is None:
                    raise
                assert sentence and "\n" not in sentence
                return "refused"
        return "read"

    def _listed(self) -> list[str]:
        return sorted(str(path.relative_to(self._inputs)) for path in self._inputs.rglob("*"))


@contextmanager
def within_limits() -> Iterator[None]:
    """No more memory than `MOST_BYTES` beyond what is taken, no more than `MOST_CPU_S` of processor time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = signal.signal(signal.SIGPROF, _stop)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, old)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TakesTooLongError(f"more than {MOST_CPU_S} s of processor time")


class Apart:
    """The same in a process of its own, so that a crash of a C library is a finding and not the end of the tests."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.n_tried, self.n_refused, self.seconds = reader, 0, 0, 0.0
        self.content = reader.valid()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="dlqsm-fuzz-"))
        self._process: subprocess.Popen[str] | None = None

    def tried(self, content: bytes) -> str:
        """``read`` or ``refused``; an AssertionError for a breach, a crash or a hang."""
        file, begun = self._folder / "content", time.perf_counter()
        file.write_bytes(content)
        process = self._alive()
        assert process.stdin is not None and process.stdout is not None
        print(file, file=process.stdin, flush=True)
        if not select.select([process.stdout], [], [], MOST_WALL_S)[0]:
            self._end()
            raise AssertionError(f"{self.reader.name}: silent for {MOST_WALL_S} s")
        outcome = process.stdout.readline().strip()
        self.seconds += time.perf_counter() - begun
        if outcome not in ("read", "refused"):
            code = process.wait(60) if not outcome else None
            self._end()
            kept = Path(tempfile.mkstemp(prefix=f"dlqsm-fuzz-{self.reader.name}-")[1])
            kept.write_bytes(content)
            raise AssertionError(f"{outcome or f'{self.reader.name}: the process ended with {code}'}; see {kept}")
        self.n_tried += 1
        self.n_refused += outcome == "refused"
        return outcome

    def close(self) -> None:
        """End the process, which removes its folder where it can, and remove the own one."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.stdin = None
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _alive(self) -> subprocess.Popen[str]:
        if self._process is None:
            worker = str(Path(__file__).with_name("fuzz_worker.py"))
            words = [sys.executable, worker, self.reader.name, *sys.path]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve(name: str) -> None:
    """Try every file whose name comes on standard input, and say how it ended; what else is printed goes aside."""
    answers, sys.stdout = sys.stdout, sys.stderr
    bench = Bench(next(reader for reader in READERS if reader.name == name))
    try:
        for line in sys.stdin:
            try:
                said = bench.tried(Path(line.strip()).read_bytes())
            except BaseException as error:
                said = " ".join(f"{name}: {type(error).__name__}: {error}".split())
            print(said, file=answers, flush=True)
    finally:
        bench.close()
