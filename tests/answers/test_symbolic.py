import asyncio
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from escalade.answers import key
from escalade.answers.symbolic import LONGEST, Verdict, Workers, version, workers

LIMIT = 0.5
SLACK = 0.5
HANGS = r"\int e^{x^2}\sin(x^3)dx"
E12 = [
    "9^{9^{9^{9}}}",
    "2^{2^{40}}",
    "10^{10^8}+1",
    "1000000!",
    "99999999!",
    "(x+1)^{3000}",
    HANGS,
    r"\frac{1}{" * 60 + "2" + "}" * 60,
    "{" * 200 + "1" + "}" * 200,
    r"\sqrt{" * 100 + "2" + "}" * 100,
    "3^{200000000}",
    r"\sum_{k=1}^{10}k^{9^{9^{9}}}",
    r"\prod_{k=1}^{10^{9}}k",
    r"\sum_{k=1}^{2}" + r"\frac{1}{" * 60 + "2" + "}" * 60,
    r"\sum_{k=1}^{2}" + "(" * 200 + "k" + ")" * 200,
]
EQUAL = [
    (r"e^{i\pi}", "-1"),
    (r"\cos 58\degree", r"\sin 32\degree"),
    (r"\log_2 8", "3"),
    (r"(\sin(\frac{\pi}{6}),1)", "(0.5,1)"),
    (r"\sum_{k=1}^{10}k", "55"),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with Workers(seconds=10) as pool:
        yield pool


@pytest.fixture(scope="module")
def hurried() -> Iterator[Workers]:
    with Workers(seconds=LIMIT) as pool:
        yield pool


def timed(pool: Workers, a: str, b: str) -> tuple[Verdict, float]:
    begun = time.monotonic()
    verdict = pool.check(a, b)
    return verdict, time.monotonic() - begun


def processes(pool: Workers) -> set[int]:
    return {worker.process.pid for worker in pool._alive}


def eventually(condition, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_pairs_that_keys_cannot_tell(pool: Workers):
    for a, b in EQUAL:
        assert pool.check(a, b) is pool.check(b, a) is Verdict.EQUAL, (a, b)
    assert pool.check("sunday", "monday") is Verdict.DIFFERENT
    assert pool.check("same", "same") is Verdict.EQUAL
    assert pool.check("9" * (LONGEST + 1), "1") is Verdict.FAILED
    assert pool.check("9^{9^{9^{9}}}", "1") is Verdict.FAILED


def test_E9_values_that_lie_close_stay_different(pool: Workers):
    pairs = [("1/2004!", "1/2006!"), ("2^{-99}", "2^{-98}"), (r"e^{\pi\sqrt{163}}", "262537412640768744")]
    pairs += [("1, 2, ..., n", "1, 3, ..., 2n-1"), (r"\sum_{k=1}^{10}k", "55.0000001"), (r"\sqrt{x^2}", "x")]
    assert {pool.check(a, b) for a, b in pairs} == {Verdict.DIFFERENT}


def test_E10_E11_the_relation_is_symmetric_and_transitive(pool: Workers):
    written = ["x>2", "2x>4", "-x<-2", "(2,\\infty)", "x=2", "2", r"\sqrt{4}", r"\log_2 4", "sunday", r"\frac{4}{2}"]
    written += [r"\sum_{k=1}^{2}k-1", "x<2"]
    pairs = list(itertools.combinations(written, 2))
    assert len(pairs) > 60
    equal = {(a, b) for a, b in pairs if pool.check(a, b) is Verdict.EQUAL}
    assert equal == {(a, b) for a, b in pairs if pool.check(b, a) is Verdict.EQUAL}
    both = equal | {(b, a) for a, b in equal}
    assert {(a, d) for a, b in both for c, d in both if b == c and a != d} <= both
    assert ("2", r"\sqrt{4}") in both
    assert ("x>2", "-x<-2") in both


@pytest.mark.parametrize("text", E12, ids=lambda text: text[:16])
def test_E12_an_answer_within_the_limit(hurried: Workers, text: str):
    for other in ("1", text + "+1", E12[E12.index(text) - 1]):
        verdict, seconds = timed(hurried, text, other)
        assert seconds < LIMIT + SLACK
        assert verdict is not Verdict.EQUAL
    assert eventually(lambda: hurried.check("2", r"\sqrt{4}") is Verdict.EQUAL)


FRAGMENT_WORDS = r"""
\frac{ \sqrt{ \sqrt[3]{ \sum_{k=1}^{ \sum_{n=1}^\infty \int_0^1 \int \lim_{x\rightarrow0} \prod_{k=1}^{10} dx { } } ( )
[ , ^ ^{ _ ! ! = < > + - / | \\ \{ \} \cup \pm \in \leq & # % $ ~ " ' \left \right \begin{matrix} \end{matrix} 1 2
9^{9^{9}} 10^{10^{8}} 1000000! x y n k e i \pi \infty \sin \cos( \log_ \ln( \degree 0.5 12345678901234567890 import os
__import__('os').system('touch_x') \text{a} \binom{n}{k} é ∑ 𝒳 \mathbb{R} \overline{1} ... \
"""
FRAGMENTS = [*FRAGMENT_WORDS.split(), " ", "\ud800", "\n", "\0"]


SHAPES = r"""
\frac{A}{A} \sqrt{A} \sqrt[3]{A} A^{A} A! (A)^{A} \sum_{k=1}^{A}A \sum_{n=0}^\infty\frac{A}{A} \int_0^{A}Adx \int{A}dx
A+A A-A A\cdot{A} (A,A) {A,A} A=A A<A \lim_{x\rightarrow0}A \prod_{k=1}^{10}A \sin(A) \log_{2}(A) \binom{A}{A} |A|
"""
LEAVES = ["0", "1", "2", "9", "10", "0.5", "x", "n", "k", "e", "i", r"\pi", r"\infty", "99999", "x^2", "-1"]


def nested(source: random.Random, depth: int) -> str:
    shape = source.choice(SHAPES.split()) if depth else "A"
    return "".join(
        (nested(source, depth - 1) if depth else source.choice(LEAVES)) if sign == "A" else sign for sign in shape
    )


def hostile(count: int) -> list[str]:
    """Texts for fuzzing: a fifth are formulas of nested parts, the rest fragments in any order."""
    source = random.Random(20)
    return [
        nested(source, source.randint(1, 4))
        if i % 5 == 0
        else "".join(source.choices(FRAGMENTS, k=source.randint(1, 25)))
        for i in range(count)
    ]


def test_E12_fuzzed_texts_from_two_threads():
    texts = hostile(500)
    late: list[tuple[str, float]] = []
    verdicts: list[Verdict] = []

    def ask(pool: Workers, mine: list[str]) -> None:
        for text in mine:
            verdict, seconds = timed(pool, text, "1")
            verdicts.append(verdict)
            if seconds > 0.3 + SLACK:
                late.append((text, seconds))

    with Workers(2, seconds=0.3) as pool:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        threads = [threading.Thread(target=ask, args=(pool, texts[i::2])) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pids = processes(pool)
        assert eventually(lambda: pool.check("2", r"\sqrt{4}") is Verdict.EQUAL)
    assert len(verdicts) == len(texts)
    assert late == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes
    assert all(map(ended, pids))


def test_E12_other_threads_go_on_while_a_pair_hangs(hurried: Workers):
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    timed(hurried, HANGS, "1")
    begun = time.monotonic()
    assert eventually(lambda: hurried.check(HANGS, "2") is Verdict.TIMEOUT)
    during = [t for t in ticks if t > begun]
    stop.set()
    thread.join()
    assert len(during) > 10


def test_E13_alarm_and_handler_of_the_caller_survive(hurried: Workers):
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    mine = signal.getsignal(signal.SIGALRM)
    try:
        signal.setitimer(signal.ITIMER_REAL, 30)
        for _ in range(2):
            hurried.check(HANGS, "1")
        assert signal.getsignal(signal.SIGALRM) is mine
        assert 20 < signal.setitimer(signal.ITIMER_REAL, 0.1)[0] < 30
        hurried.check(HANGS, "2")
        assert eventually(lambda: rang == [signal.SIGALRM])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_E13_asked_in_threads_and_in_a_running_event_loop(pool: Workers):
    found: list[Verdict] = []
    threads = [threading.Thread(target=lambda: found.extend(pool.check(*pair) for pair in EQUAL)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def ask() -> None:
        found.append(pool.check(*EQUAL[0]))
        found.append(await asyncio.to_thread(pool.check, *EQUAL[1]))

    asyncio.run(ask())
    assert found == [Verdict.EQUAL] * (4 * len(EQUAL) + 2)


CALL = "__import__('os').system('touch x')"


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        key(CALL),
        rf"\text{{{CALL}}}",
        rf"\sum_{{k=1}}^{{2}}{CALL}",
        rf"\sum_{{k=1}}^{{2}}\text{{{CALL}}}",
        rf"\sum_{{k=1}}^{{2}}x_{{{CALL}}}",
        rf"\int_0^1 {CALL}dx",
        rf"\lim_{{x\rightarrow 0}}\operatorname{{{CALL}}}",
        f"$1$ {CALL}",
        f"({CALL},1)",
        "\\sum\n" + CALL + "\n",
        f'["a","b"]\n[1,1.0,"{CALL}","1"]',
        "eval(compile(\"open('x','w')\",'','exec'))",
    ],
)
def test_E14_model_text_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.chdir(tmp_path)
    with Workers(1, seconds=10) as pool:
        assert pool.check(text, "1") in (Verdict.DIFFERENT, Verdict.FAILED)
    assert list(tmp_path.iterdir()) == []


def test_E14_a_library_that_would_run_something_is_refused(tmp_path: Path):
    target = tmp_path / "x"
    code = f"""
import os, subprocess, socket
from escalade.answers.worker import _Server
_Server(0, 1).warm_up()
target = "{target}"
tries = [lambda: os.system("touch " + target), lambda: open(target, "w"), lambda: subprocess.run(["touch", target]),
         lambda: os.fork(), lambda: socket.socket().connect(("127.0.0.1", 9)), lambda: os.mkdir(target)]
for attempt in tries:
    try:
        attempt()
    except PermissionError:
        print("refused")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.count("refused") == 6
    assert not target.exists()


def test_a_worker_without_memory_has_failed_and_is_replaced():
    with Workers(1, seconds=10, memory=300 << 20) as pool:
        assert pool.check("2", r"\sqrt{4}") is Verdict.EQUAL
        first = processes(pool)
        assert pool.check(r"\sum_{k=1}^{3}k^{10^{10}}", "1") is Verdict.FAILED
        assert pool.check("2", r"\sqrt{4}") is Verdict.EQUAL
        assert processes(pool) != first


def test_a_worker_that_died_by_itself_is_replaced():
    with Workers(1, seconds=10) as pool:
        assert pool.check(*EQUAL[0]) is Verdict.EQUAL
        (pid,) = processes(pool)
        os.kill(pid, signal.SIGKILL)
        assert pool.check(*EQUAL[1]) is Verdict.EQUAL
        assert processes(pool) != {pid}
        assert ended(pid)


def test_a_worker_is_kept_for_so_many_pairs_and_then_replaced():
    with Workers(1, seconds=10, pairs=3) as pool:
        seen = []
        for i in range(6):
            assert pool.check(str(i), r"\sqrt{4}") is (Verdict.EQUAL if i == 2 else Verdict.DIFFERENT)
            seen.append(processes(pool))
        assert seen[0] == seen[1] != seen[2] == seen[3] == seen[4] != seen[5]


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_nothing_is_left_after_close():
    before = open_files()
    pool = Workers(2, seconds=0.3)
    for text in (HANGS, "2", HANGS):
        pool.check(text, "1")
    pids = processes(pool)
    assert pids
    pool.close()
    pool.close()
    assert open_files() == before
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    with pytest.raises(RuntimeError, match="closed"):
        pool.check("1", "2")


@pytest.mark.parametrize("pair", [EQUAL[0], (HANGS, "1")], ids=["idle", "at work"])
def test_workers_end_when_their_caller_is_killed(pair: tuple[str, str]):
    code = f"""
import threading, time
from escalade.answers.symbolic import Workers
pool = Workers(1, seconds=1.5)
pool.check("2", "3")
time.sleep(1)
thread = threading.Thread(target=pool.check, args={pair!r}, daemon=True)
thread.start()
time.sleep(0.3)
print([worker.process.pid for worker in pool._alive][0], flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        assert not ended(pid)
        caller.kill()
    assert eventually(lambda: ended(pid))


def test_an_interrupt_of_the_caller_stops_quietly():
    code = """
import signal
from escalade.answers.symbolic import workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests are run in the background
workers().check("2", "3")
print("asking", flush=True)
while True:
    workers().check(r"\\int e^{x^2}\\sin(x^3)dx", "1")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as caller:
        assert caller.stdout is not None and caller.stderr is not None
        caller.stdout.readline()
        time.sleep(0.5)
        os.killpg(caller.pid, signal.SIGINT)
        errors = caller.stderr.read()
        caller.wait(10)
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_forked_child_has_workers_of_its_own():
    code = """
import os, sys
from escalade.answers.symbolic import workers
assert workers().check("2", "\\\\sqrt{4}") == "equal"
mine = {worker.process.pid for worker in workers()._alive}
child = os.fork()
if child == 0:
    assert workers().check("3", "\\\\sqrt{9}") == "equal"
    assert not mine & {worker.process.pid for worker in workers()._alive}
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert workers().check("4", "\\\\sqrt{16}") == "equal"
assert {worker.process.pid for worker in workers()._alive} == mine
print("sound")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("sound\n", "")


def test_a_folder_full_of_traps_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("json", "mpmath", "escalade"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    with Workers(1, seconds=10) as pool:
        assert pool.check(*EQUAL[0]) is Verdict.EQUAL


def test_one_shared_pool():
    assert workers() is workers()


@pytest.mark.parametrize(
    "setting", [{"size": 0}, {"seconds": 0.0}, {"memory": -1}, {"pairs": 0}, {"seconds": float("nan")}]
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Workers(**setting)  # type: ignore[arg-type]


def test_E15_version_names_what_decides_and_imports_nothing():
    code = """
import sys
from escalade.answers.symbolic import version
version()
print([name for name in ("sympy", "mpmath", "math_verify", "latex2sympy2_extended") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert version()["rules"].isdigit()
    assert all(found[0].isdigit() for found in version().values())
