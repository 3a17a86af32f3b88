"""The limits that the host keeps by looking at a child: CPU time, threads, and what /proc says about a process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox, child, limits, usage, watch
from sctir_kaggle.sandbox.outcome import TOO_MANY_THREADS
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import Candidate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_the_usage_of_this_process_is_what_it_says_itself() -> None:
    found = usage.usage(os.getpid())
    assert found
    assert found.threads == len(os.listdir("/proc/self/task"))
    assert abs(found.cpu - sum(os.times()[:2])) < 1
    assert 0 < found.resident <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_a_process_that_is_gone_uses_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert usage.usage(gone.pid) is None
    assert usage.deleted_files(gone.pid) is None
    assert usage.proportional_memory(gone.pid) is None


def test_a_name_with_parentheses_and_spaces_is_no_field(tmp_path: Path) -> None:
    script = "open('/proc/self/comm', 'w').write('a) R 1 (b'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        found = usage.usage(process.pid)
        process.communicate(b"\n")
    assert found
    assert found.threads == 1


def test_deleted_files_are_found_by_their_size_on_disk(tmp_path: Path) -> None:
    before = usage.deleted_files(os.getpid())
    with (tmp_path / "deleted").open("wb") as deleted, (tmp_path / "kept").open("wb") as kept:
        for file in (deleted, kept):
            file.write(bytes(3 << 20))
            file.flush()
            os.fsync(file)
        (tmp_path / "deleted").unlink()
        duplicate = os.dup(deleted.fileno())
        after = usage.deleted_files(os.getpid())
        os.close(duplicate)
    assert before is not None
    assert after is not None
    assert 3 << 20 <= after - before < 4 << 20


def test_the_memory_of_a_process_can_be_measured() -> None:
    memory = usage.proportional_memory(os.getpid())
    now = usage.usage(os.getpid())
    assert memory
    assert now
    assert 1 << 20 < memory <= now.resident * 1.1


@pytest.mark.slow
def test_a_block_that_raises_its_limit_on_cpu_time_ends_at_it_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "EXTRA_CPU_SECONDS", -299.0)
    code = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2)\nwhile True: pass"
    with Sandbox(workers=1, code_seconds=300) as sandbox:
        result = Candidate(sandbox, "problem/0")(code, seconds=400)
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.output == "TimeoutError: the code used more than 300 seconds of CPU time and was stopped"


@pytest.mark.slow
def test_the_cpu_time_of_earlier_turns_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "EXTRA_CPU_SECONDS", -299.0)
    burn = "import time\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass"
    with Sandbox(workers=1, code_seconds=300) as sandbox:
        candidate = Candidate(sandbox, "problem/0")
        assert [candidate(burn, seconds=400).status.value for _ in range(3)] == ["ok"] * 3


def test_a_block_runs_at_a_lower_priority_than_the_host_and_cannot_raise_it(run: Candidate) -> None:
    host = os.getpriority(os.PRIO_PROCESS, 0)
    assert run("import os\nos.getpriority(os.PRIO_PROCESS, 0)").output == f"{min(host + limits.NICENESS, 19)}\n"
    code = "for f in (lambda: os.nice(-1), lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),"
    code += " lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))):\n"
    code += "    try: f(); print('raised')\n    except OSError as error: print(error.errno)"
    assert run(code).output == "1\n1\n1\n"
    assert os.sched_getscheduler(run.process()) == os.SCHED_BATCH


def test_children_have_no_session_of_their_own(run: Candidate, other: Candidate) -> None:
    run("1")
    other("1")
    assert os.getsid(run.process()) == os.getsid(other.process()) != os.getsid(0)
    assert os.getpgid(run.process()) == run.process()


@pytest.mark.slow
def test_more_threads_than_the_limit_are_told_where_the_kernel_does_not_keep_it(
    run: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "THREADS", 8)
    code = "import threading, time\nfor _ in range(20): threading.Thread(target=time.sleep, args=(99,)).start()"
    result = run(code)
    assert (result.output, result.status) == (TOO_MANY_THREADS, ExecutionStatus.CRASH)
    assert threading.active_count() < 64
