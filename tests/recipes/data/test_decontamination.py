"""Training rows that hold a validation problem are found and dropped, and the others are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.decontaminate import measure, repeated
from sctir_kaggle.engines import openai_client
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.problems.hub import hub_name
from sctir_kaggle.recipes.data.decontaminate import Settings, decontaminate, main
from sctir_kaggle.recipes.data.near import Embeddings, TfIdf, sentence_transformer, served
from sctir_kaggle.recipes.data.overlap import Item, Overlap, words_of
from sctir_kaggle.recipes.rows import Row, read_rows, write_rows
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.types import EngineError, UserError
from tests.support.json_server import JsonServer

LONG = "Find the number of ordered pairs of positive integers whose product is less than $2024$ and whose sum is odd."
SHORT = "What is $3 + 4$?"
OTHER = "A train leaves the station at noon and travels at sixty miles an hour towards a town that is far away."


def sets_of(folder: Path, **sets: Sequence[str]) -> tuple[Path, ...]:
    """A CSV a set."""
    paths = []
    for name, texts in sets.items():
        quoted = ('"' + text.replace('"', '""') + '"' for text in texts)
        lines = [f"{number},{text},1" for number, text in enumerate(quoted)]
        paths.append(folder / f"{name}.csv")
        paths[-1].write_text("\n".join(["id,problem,answer", *lines]) + "\n")
    return tuple(paths)


def settings_for(folder: Path, texts: Sequence[str], validation: Sequence[str], **fields: Any) -> Settings:
    rows = folder / "rows.jsonl"
    write_rows(rows, [{"id": f"r{number}", "problem": text, "note": "kept"} for number, text in enumerate(texts)])
    named = {"kept": folder / "kept.jsonl", "dropped": folder / "dropped.jsonl", "embedder": "none", **fields}
    return Settings(rows=rows, validation=sets_of(folder, held=validation), **named)


def rows_of(path: Path | None) -> list[Row]:
    assert path is not None
    return list(read_rows(path))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $\left( x + \dfrac{1}{y} \right)\,.$", r"find \( (x+\frac1y) \)"),
        (r"Let $x_{1}\ne\text{ odd}$", "let X1 ne odd!"),
        (r"$2x \quad 3$", "2 x, 3"),
    ],
)
def test_case_spacing_and_punctuation_make_no_difference(one: str, other: str) -> None:
    assert words_of(one) == words_of(other) != []


def test_a_command_that_begins_like_spacing_is_a_word() -> None:
    assert words_of(r"\leftarrow \quadratic") == ["leftarrow", "quadratic"]


def test_ten_words_in_a_row_are_an_overlap_and_nine_are_not() -> None:
    words = words_of(LONG)
    overlap = Overlap([Item("held/0", LONG)])
    ten = overlap.match("Prove that " + " ".join(words[3:13]) + " for once")
    assert ten is not None
    assert (ten.reason, ten.item, ten.shared) == ("overlap", "held/0", " ".join(words[3:13]))
    assert overlap.match("Prove that " + " ".join(words[3:12]) + " for once") is None


def test_a_text_too_short_for_a_10_gram_matches_as_a_whole_only() -> None:
    overlap = Overlap([Item("held/0", SHORT)])
    assert overlap.match("what is 3+4") is not None
    assert overlap.match("Let us see. What is $3 + 4$?") is None


def test_a_text_without_words_matches_nothing() -> None:
    assert Overlap([Item("held/0", "?")]).match("!") is None


def test_the_code_of_a_drawing_is_no_overlap() -> None:
    drawing = "[asy] draw((0,0)--(1,0)--(1,1)--(0,1)--cycle); label(P, (2,2), NE); [/asy]"
    overlap = Overlap([Item("held/0", f"What is the area? {drawing}")])
    assert overlap.match(f"How long is the diagonal? {drawing}") is None
    assert overlap.match(f"What is the area? {drawing}") is not None


def test_kept_and_dropped_are_the_rows_with_all_their_fields_and_the_reason(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, [OTHER, LONG.upper(), SHORT], [SHORT, LONG])
    report = decontaminate(settings)
    assert rows_of(settings.kept) == [{"id": "r0", "problem": OTHER, "note": "kept"}]
    dropped = {row["id"]: row for row in rows_of(settings.dropped)}
    assert {name: row["contamination"]["item"] for name, row in dropped.items()} == {"r1": "held/1", "r2": "held/0"}
    assert dropped["r1"]["note"] == "kept"
    assert report.counts() == {"held": {"equal": 2, "overlap": 0, "near": 0}}


def test_the_command_prints_a_table_and_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_for(tmp_path, [OTHER, LONG], [LONG])
    report = tmp_path / "new" / "report.json"
    changes = [f"rows={settings.rows}", f"validation=[{settings.validation[0]}]", f"report={report}", "embedder=none"]
    main(["--config", "decontaminate.yaml", "--set", *changes])
    shown = capsys.readouterr().out
    assert "2 rows, 1 to drop" in shown
    assert "no distance" in shown
    read = json.loads(report.read_text())
    assert (read["rows"], read["dropped"], read["found"][0]["row"]) == (2, 1, "r1")


def test_a_file_that_is_read_is_never_written(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, [LONG], [LONG], kept=tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="cannot be written too"):
        decontaminate(settings)
    assert len(rows_of(settings.rows)) == 1


def test_rows_of_exempt_sources_are_kept_and_counted_and_others_are_compared(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, [LONG] * 6, [LONG], exempt=("math", "synthetic_math"))
    sources = ["math", "synthetic_math", "cn_k12", None, {"repo": "math"}, "math"]
    rows = [{**row, "source": source} for row, source in zip(rows_of(settings.rows), sources, strict=True)]
    del rows[3]["source"]
    write_rows(settings.rows, rows)
    report = decontaminate(settings)
    assert [row["id"] for row in rows_of(settings.kept)] == ["r0", "r1", "r5"]
    assert [found.row for found in report.found] == ["r2", "r3", "r4"]
    assert report.exempt == {"math": 2, "synthetic_math": 1}
    assert report.notices == ["2 of 6 rows have no `source` and are not exempt"]
    assert report.as_json()["exempt"] == report.exempt


def test_exempt_rows_are_not_sent_to_an_endpoint(tmp_path: Path) -> None:
    with JsonServer(embeddings_server) as server:
        fields = {"embedder": "endpoint", "base_url": server.url, "exempt": ("math",)}
        settings = settings_for(tmp_path, [OTHER, SHORT], [LONG], **fields)
        write_rows(settings.rows, [{**row, "source": "math"} for row in rows_of(settings.rows)])
        assert decontaminate(settings).found == []
    assert [body["input"] for body in server.bodies] == [[LONG]]
    assert {body["model"] for body in server.bodies} == {"mistral-embed"}


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["maths", "cn_k12"], "exempt names math, which no row has as its `source`: there are maths, cn_k12"),
        ([None, None], "exempt is math, but no row has a `source`: none is exempt"),
    ],
    ids=["another name", "no source"],
)
def test_an_exemption_that_meets_no_row_is_said_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sources: list[str | None], said: str
) -> None:
    settings = settings_for(tmp_path, [LONG, OTHER], [LONG])
    write_rows(
        settings.rows, [{**row, "source": one} for row, one in zip(rows_of(settings.rows), sources, strict=True)]
    )
    main(["--set", f"rows={settings.rows}", f"validation={settings.validation[0]}", "embedder=none", "exempt=math"])
    assert said in capsys.readouterr().out.splitlines()


def test_the_configuration_is_the_report_s() -> None:
    pytest.importorskip("yaml", reason="settings need the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    settings = read_settings(Settings, CONFIGS / "decontaminate.yaml", ["rows=rows.jsonl"])
    assert settings.exempt == ("math", "synthetic_math")
    assert (settings.embedder, settings.model, settings.base_url) == ("endpoint", "mistral-embed", None)
    assert (settings.ngram, settings.distance) == (10, 0.15)
    names = [hub_name(str(path)) for path in settings.validation]
    assert ("openai/gsm8k", "main", "test") in names
    assert None not in names


def test_an_endpoint_without_an_address_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    settings = Settings(rows=tmp_path / "none.jsonl", validation=(tmp_path / "none.csv",))
    with pytest.raises(
        UserError, match=r"needs a server: --set base_url=https://api.mistral.ai.*OPENAI_API_KEY"
    ) as raised:
        decontaminate(settings)
    assert "\n" not in str(raised.value)


def test_sets_and_rows_of_the_hub_are_read_by_name(tmp_path: Path) -> None:
    """Folders with copies: the library `datasets` loads them in the same way."""
    datasets = pytest.importorskip("datasets", reason="needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    gsm8k, rows = tmp_path / "gsm8k", tmp_path / "numina"
    write_rows(gsm8k / "test.jsonl", [{"question": LONG, "answer": "It is 7.\n#### 7"}])
    write_rows(rows / "train.jsonl", [{"problem": text, "source": "orca_math"} for text in (OTHER, LONG)])
    report = decontaminate(Settings(rows=rows, validation=(gsm8k,), embedder="none", kept=tmp_path / "kept.jsonl"))
    assert (report.rows, report.sets) == (2, {"gsm8k": 1})
    assert [(found.row, found.match.reason) for found in report.found] == [(f"{rows}:1", "equal")]
    assert [row["source"] for row in rows_of(tmp_path / "kept.jsonl")] == ["orca_math"]
    datasets.Dataset.from_list([{"source": "math", "problem": None}]).to_parquet(tmp_path / "bad" / "train.parquet")
    with pytest.raises(UserError, match=r"bad:0: `problem` is None; a text is needed"):
        decontaminate(Settings(rows=tmp_path / "bad", validation=(gsm8k,), embedder="none"))


def test_no_validation_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no validation problems"):
        decontaminate(settings_for(tmp_path, [LONG], []))


def counted(texts: Sequence[str]) -> list[list[float]]:
    """Embeddings for a test: how often each letter stands in a text."""
    return [[float(text.lower().count(chr(97 + letter))) for letter in range(26)] for text in texts]


def embeddings_server(body: Any) -> Any:
    vectors = counted(body["input"])
    return {"data": [{"index": n, "embedding": vector} for n, vector in reversed(list(enumerate(vectors)))]}


def test_a_served_embedding_finds_a_text_in_another_order_of_words(tmp_path: Path) -> None:
    reworded = (
        "The sum is odd, and less than 2024 the product: find the number of ordered pairs of whose positive integers."
    )
    with JsonServer(embeddings_server) as server:
        fields = {"embedder": "endpoint", "base_url": server.url, "model": "m", "batch": 2}
        settings = settings_for(tmp_path, [reworded, "Why? Quizzical!", LONG], [LONG, SHORT, OTHER], **fields)
        report = decontaminate(settings)
    assert [(found.row, found.match.reason) for found in report.found] == [("r0", "near"), ("r2", "equal")]
    assert 0 <= (report.found[0].match.distance or 0) < 0.15
    sent = sorted(len(body["input"]) for body in server.bodies)  # several at once, so in any order
    assert sent == [1, 2, 2]  # three of validation and two rows: what is dropped already is not embedded


def test_an_endpoint_that_refuses_says_why_on_one_line(tmp_path: Path) -> None:
    with JsonServer(lambda _: (404, {"error": "no such model"})) as server:
        settings = settings_for(tmp_path, [LONG], [LONG], embedder="endpoint", base_url=server.url)
        with pytest.raises(EngineError, match=r"status 404.*no such model") as raised:
            decontaminate(settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("fails", "tries"), [(2, 3), (6, 6)])
def test_an_endpoint_that_is_busy_is_asked_again_up_to_six_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, tries: int
) -> None:
    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.001)
    answers = iter([(503, {"error": "busy"})] * fails)
    with JsonServer(lambda body: next(answers, None) or embeddings_server(body)) as server:
        embed = served(server.url, "m")
        if fails < tries:
            assert embed([SHORT]).shape[0] == 1
        else:
            with pytest.raises(EngineError, match=r"/v1/embeddings: given up after 6 tries.*status 503.*busy"):
                embed([SHORT])
        assert len(server.bodies) == tries


def test_a_sentence_transformers_model_in_a_folder_measures_the_distance() -> None:
    pytest.importorskip("sentence_transformers", reason="pip install sentence-transformers")
    nearness = Embeddings(sentence_transformer(str(ASSETS / "model")), [Item("a/0", LONG), Item("a/1", OTHER)])
    [(first, zero), (second, _)] = nearness.nearest([LONG, OTHER])
    assert (first, second) == ("a/0", "a/1")
    assert zero == pytest.approx(0, abs=1e-5)


def test_an_embedding_model_that_is_not_there_is_one_line() -> None:
    pytest.importorskip("sentence_transformers", reason="pip install sentence-transformers")
    with pytest.raises(UserError, match=r"no embedding model at '/nowhere'.*FOLDER"):
        sentence_transformer("/nowhere")


def test_shared_words_are_nearer_the_rarer_they_are() -> None:
    pytest.importorskip("sklearn", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
    nearness = TfIdf([Item("a/0", "find the number of penguins"), Item("a/1", "find the number of walnuts")])
    [(item, distance), (_, far)] = nearness.nearest(["count all penguins", "a wholly different matter"])
    assert item == "a/0"
    assert 0 < distance < far == pytest.approx(1.0)


def test_the_benchmark_runs_the_command_on_as_many_rows_as_it_is_told(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, [OTHER, LONG], [LONG])
    rows = tmp_path / "many.jsonl"
    assert write_rows(rows, repeated(settings.rows, 7)) == 7
    cost = measure(tmp_path, rows, settings.validation, "none")
    assert cost.seconds > 0 < cost.mebibytes
    assert [len(rows_of(tmp_path / f"{name}.jsonl")) for name in ("kept", "dropped")] == [4, 3]
    assert len({row["id"] for row in read_rows(rows)}) == 7


@pytest.mark.shared
def test_the_three_problems_of_math_train_that_equal_test_rows_are_found(shared_data: Path) -> None:
    sets = tuple(shared_data / "validation" / f"math_level{level}.csv" for level in (4, 5))
    report = decontaminate(
        Settings(rows=shared_data / "train" / "math_train.jsonl.gz", validation=sets, embedder="none")
    )
    assert {found.row: found.match.item for found in report.found if found.match.reason == "equal"} == {
        "math-train-algebra-517": "math_level4/math-test-algebra-636",
        "math-train-intermediate_algebra-1720": "math_level5/math-test-intermediate_algebra-1436",  # but for a sign
        "math-train-intermediate_algebra-1894": "math_level5/math-test-intermediate_algebra-1607",  # but for a sign
    }
