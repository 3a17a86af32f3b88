"""The steps that ask a model, against a server on loopback, and the whole way from a PDF to rows."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.cot.records import Output, Record
from sctir_kaggle.recipes.data.cot.rewriting import is_english
from sctir_kaggle.recipes.data.cot_data import Settings, main, run_step
from sctir_kaggle.recipes.rows import read_rows
from sctir_kaggle.types import EngineError, UserError
from tests.recipes.data.test_cot_documents import draw
from tests.support.json_server import JsonServer

pytest.importorskip("httpx", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")


def says(text: str, finish: str = "stop") -> Any:
    """A whole chat reply."""
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": {"completion_tokens": 3}}


def asked(body: Any) -> str:
    return str(body["messages"][-1]["content"])


def within(prompt: str, name: str) -> str:
    return re.findall(rf"<{name}>\n(.*?)\n</{name}>", prompt, re.DOTALL)[-1]  # type: ignore[no-any-return]


def adds(body: Any) -> Any:
    """A model that knows how to add: it reads the two numbers from the problem that it is shown."""
    one, other = map(int, re.findall(r"\d+", within(asked(body), "problem"))[:2])
    return says(f"<solution>We add {one} and {other}: \\boxed{{{one + other}}}</solution>")


def pair(number: int, **fields: str) -> Record:
    problem = f"What is {number} + 5?"
    return {"id": f"d:{number}", "document": "d", "problem": problem, "solution": "By addition.", **fields}


def write(path: Path, *records: Record) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def settings_in(folder: Path, server: JsonServer | None = None, **fields: Any) -> Settings:
    return Settings(folder=folder, base_url=(server.url,) if server else (), **fields)


def test_a_pdf_becomes_rows_by_the_five_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pypdfium2", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
    pages = ["Задача 1. Сколько будет 12 + 30?\nРешение. Сложим.\nЗадача 2. Сколько будет 7 + 8?\nРешение. Сложим."]
    document = draw(tmp_path / "a.pdf", pages)

    def model(body: Any) -> Any:
        prompt = asked(body)
        if "Translate" not in prompt:
            return adds(body)
        problem = within(prompt, "problem").replace("Сколько будет", "How much is")
        return says(f"<problem>{problem}</problem>\n<solution>We add.</solution>")

    with JsonServer(model) as server:
        changes = [
            f"folder={tmp_path / 'run'}",
            f"documents=[{document}]",
            f"base_url=[{server.url}]",
            "answers=integer",
        ]
        for step in ("extract", "segment", "translate", "realign", "uniform"):
            main([step, "--config", "cot_data.yaml", "--set", *changes])
    assert "rows.jsonl: 0 were there, 2 written\n" in capsys.readouterr().out
    rows = sorted(read_rows(tmp_path / "run" / "rows.jsonl"), key=lambda row: str(row["id"]))
    assert [(row["id"], row["problem"], row["answer"]) for row in rows] == [
        ("a.pdf:1", "How much is 12 + 30?", 42),
        ("a.pdf:2", "How much is 7 + 8?", 15),
    ]
    assert rows[0]["messages"][1] == {"role": "assistant", "content": r"We add 12 and 30: \boxed{42}"}


def test_what_is_english_already_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pair(1), pair(2, problem="Combien font 2 + 5 ?", solution="C'est une somme."))
    with JsonServer(lambda _: says("<problem>2 + 5?</problem><solution>A sum.</solution>")) as server:
        run_step("translate", settings_in(tmp_path, server))
    assert len(server.bodies) == 1
    english = {record["id"]: record for record in read(tmp_path / "english.jsonl")}
    assert english["d:1"] == pair(1)
    assert english["d:2"]["original"]["problem"] == "Combien font 2 + 5 ?"


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Find all $n$ such that the sum is odd.", True),
        ("Trouver tous les $n$ tels que la somme soit impaire.", False),
        ("Найдите все числа, сумма которых нечётна.", False),
        ("求所有的 n", False),
    ],
)
def test_english_is_told_from_other_languages(text: str, english: bool) -> None:
    assert is_english(text) is english


def test_a_box_that_contradicts_the_source_is_asked_for_again_and_warmer(tmp_path: Path) -> None:
    write(tmp_path / "english.jsonl", pair(1, answer="$6$"))
    boxes = iter(["7", "\\frac{12}{2}"])
    with JsonServer(lambda _: says(f"<solution>Thus \\boxed{{{next(boxes)}}}</solution>")) as server:
        run_step("realign", settings_in(tmp_path, server))
    assert [body["temperature"] for body in server.bodies] == [0.0, 0.7]
    [record] = read(tmp_path / "chains.jsonl")
    assert (record["solution"], record["source"]) == (r"Thus \boxed{\frac{12}{2}}", "By addition.")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says("<solution>It is 6.</solution>"), "no boxed answer"),
        (says(r"<solution>\boxed{7}</solution>"), "the box says '7', the source '6'"),
        (says("I cannot."), "a reply without <solution>: 'I cannot.'"),
        (says("<solution>We add", "length"), "cut off after 3 tokens: raise max_tokens"),
        ((400, {"error": "no"}), "status 400"),
    ],
)
def test_a_reply_that_is_no_solution_is_noted_with_the_reason(tmp_path: Path, reply: Any, reason: str) -> None:
    write(tmp_path / "english.jsonl", pair(1, answer="6"))
    with JsonServer(lambda _: reply) as server:
        summary = run_step("realign", settings_in(tmp_path, server, tries=2))
    assert "0 written, 1 failed" in summary
    assert read(tmp_path / "chains.jsonl") == []
    assert reason in read(tmp_path / "chains.failed.jsonl")[0]["reason"]


def test_what_failed_is_tried_again_by_the_next_run_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "english.jsonl", *map(pair, range(10)))
    broken = {"What is 3 + 5?", "What is 8 + 5?"}

    def model(body: Any) -> Any:
        return (400, {}) if within(asked(body), "problem") in broken else adds(body)

    with JsonServer(model) as server:
        run_step("realign", settings_in(tmp_path, server))
        assert len(read(tmp_path / "chains.failed.jsonl")) == 2
        broken.clear()
        server.bodies.clear()
        run_step("realign", settings_in(tmp_path, server))
    assert len(server.bodies) == 2
    assert sorted(record["id"] for record in read(tmp_path / "chains.jsonl")) == [f"d:{n}" for n in range(10)]
    assert not (tmp_path / "chains.failed.jsonl").exists()


def test_too_many_requests_and_a_server_error_are_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "english.jsonl", pair(1))
    script: list[Callable[[Any], Any]] = [lambda _: (429, {}, {"retry-after": "0"}), lambda _: (503, {}), adds]
    with JsonServer(lambda body: script.pop(0)(body)) as server:
        run_step("realign", settings_in(tmp_path, server))
    assert [record["id"] for record in read(tmp_path / "chains.jsonl")] == ["d:1"]


def test_a_server_that_is_gone_ends_the_step_and_keeps_what_was_done(tmp_path: Path) -> None:
    write(tmp_path / "english.jsonl", *map(pair, range(50)))
    left = iter(range(3))
    with JsonServer(lambda body: adds(body) if next(left, None) is not None else (400, {"error": "gone"})) as server:
        with pytest.raises(EngineError, match="5 requests in a row failed"):
            run_step("realign", settings_in(tmp_path, server, failures=5, at_once=1))
        assert len(server.bodies) == 8
    assert len(read(tmp_path / "chains.jsonl")) == 3


@pytest.mark.slow
def test_a_killed_step_goes_on_without_loss(tmp_path: Path) -> None:
    write(tmp_path / "english.jsonl", *map(pair, range(60)))

    killed = threading.Event()

    def stops_after_ten(body: Any) -> Any:
        if len(server.bodies) > 10:
            killed.wait(600)
        return adds(body)

    chains = tmp_path / "chains.jsonl"
    with JsonServer(stops_after_ten) as server:
        changes = [f"folder={tmp_path}", f"base_url=[{server.url}]", "at_once=2"]
        command = [sys.executable, "-m", "sctir_kaggle.recipes.data.cot_data", "realign", "--config", "cot_data.yaml"]
        process = subprocess.Popen([*command, "--set", *changes])
        while not (chains.exists() and len(chains.read_text().splitlines()) >= 5):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed.set()
        done, sent = len(chains.read_text().splitlines()), len(server.bodies)
        assert done < 60
        run_step("realign", settings_in(tmp_path, server))
    assert sorted(record["id"] for record in read(chains)) == sorted(f"d:{n}" for n in range(60))
    assert len(server.bodies) - sent == 60 - done


def test_half_a_line_of_a_killed_process_is_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b", "te')
    with Output(path) as output:
        assert output.done == {"a"}
        output.add({"id": "b"})
    assert read(path) == [{"id": "a"}, {"id": "b"}]


def test_a_model_finds_pairs_where_no_heading_does_and_pages_overlap(tmp_path: Path) -> None:
    texts = ("a: 1? b", "c: 2? d", "e: 3? f")
    pages = [{"id": f"d#{n}", "document": "d", "page": n, "text": text} for n, text in enumerate(texts, 1)]
    write(tmp_path / "pages.jsonl", *pages)

    def model(body: Any) -> Any:
        found = re.findall(r"(\w): (\d)\? (\w)", asked(body).split("NONE.")[1])
        return says("".join(f"<problem>{a} {n}</problem><solution>{b}</solution>" for a, n, b in found))

    with JsonServer(model) as server:
        for _ in range(2):
            run_step("segment", settings_in(tmp_path, server, segmenter="endpoint", window=2))
    assert len(server.bodies) == 2
    found = [(record["id"], record["problem"], record["solution"]) for record in read(tmp_path / "pairs.jsonl")]
    assert found == [("d:1", "a 1", "b"), ("d:2", "c 2", "d"), ("d:3", "e 3", "f")]


@pytest.mark.parametrize(
    ("solution", "answers", "answer"),
    [
        (r"\boxed{42}", "any", 42),
        (r"\boxed{\frac{84}{2}}", "integer", 42),
        (r"\boxed{\frac{1}{2}}", "number", r"\frac{1}{2}"),
        (r"\boxed{x+1}", "any", "x+1"),
        (r"\boxed{x+1}", "number", None),
        (r"\boxed{\frac{1}{2}}", "integer", None),
        ("It is 42.", "any", None),
    ],
)
def test_an_answer_is_read_from_the_box_or_the_row_is_reported(
    tmp_path: Path, solution: str, answers: Any, answer: int | str | None
) -> None:
    write(tmp_path / "chains.jsonl", pair(1, solution=solution))
    summary = run_step("uniform", settings_in(tmp_path, answers=answers))
    assert [row["answer"] for row in read(tmp_path / "rows.jsonl")] == ([] if answer is None else [answer])
    assert ("1 failed" in summary) == (answer is None)


def test_a_step_without_its_input_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*chains\.jsonl.*run the step before"):
        run_step("uniform", settings_in(tmp_path))


def test_a_step_without_a_server_says_how_to_name_one(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pair(1))
    with pytest.raises(UserError, match="--set base_url=http"):
        run_step("translate", settings_in(tmp_path))
