"""What a tired person gets wrong: one line that says what to do, after the usage where a word is wrong; exit code 2.

Signals and disks are in `test_ended_early`.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import Journal, result_to_json
from sctir_kaggle.problems import read_problems
from sctir_kaggle.settings import RunConfig
from tests.support.solved import solved

PROBLEMS = "id,problem,answer\na,What is the sum of the digits of 1234?,10\nb,What is $3^2$?,9\n"

WRONG = [
    # Commands, options and choices: what was meant is named.
    ("", "say which command: dry-run, solve"),
    ("slove good.csv", "there is no command 'slove'; did you mean solve?"),
    ("whatif old", "there is no command 'whatif'; did you mean what-if?"),
    ("--verison", "unrecognized arguments: --verison; did you mean --version?"),
    ("solve", "the following arguments are required: FILE"),
    ("solve good.csv --temprature 1", "did you mean --temperature?"),
    ("solve good.csv --max_tokens 64", "did you mean --max-tokens?"),
    ("solve good.csv —output new", "did you mean --output?"),
    ("solve good.csv -N 4", "did you mean -n?"),
    ("solve good.csv other.csv", "unrecognized arguments: other.csv"),
    ("solve good.csv --output", "argument --output: expected one argument"),
    ("solve --base-url http://h good.csv", "--base-url takes every word that follows it: put them before it"),
    ("solve good.csv --engine vlm", "there is no engine 'vlm'; did you mean vllm?"),
    ("solve good.csv --stop betta", "stop is betta; it must be exact, beta"),
    ("solve good.csv --stop beat", "did you mean beta?"),
    ("solve good.csv --stop margn=3", "did you mean margin=M?"),
    ("solve good.csv --vote smal", "did you mean small?"),
    ("solve good.csv --seeds 3", "--seeds is an option of sctir replay"),
    ("solve good.csv --problems good.csv", "the file stands alone: sctir solve FILE"),
    ("replay good.csv --budget 9h", "a replay has no clock for all problems: --problem-seconds limits each"),
    ("replay mth5", "did you mean math5?"),
    ("dry-run good.csv", "for a file of problems say --problems good.csv"),
    ("doctor --engine transformer", "there is no choice 'transformer'; did you mean transformers?"),
    # Values.
    ("solve good.csv -n 4,8", "--candidates is '4,8'; it must be a whole number"),
    ("solve good.csv --limit 0", "'0' must be a whole number of at least 1"),
    ("solve good.csv --budget 9h30", "--budget is '9h30'; it must be a time: 9h, 1h30m"),
    ("solve good.csv --budget 1:75:00", "it must be a time"),
    ("replay good.csv --problem-seconds soon", "'soon' is not a time; write 9h, 1h30m"),
    ("what-if old --budget 9x", "'9x' is not a time; write 9h, 1h30m"),
    # Files and folders, before anything is loaded.
    ("solve none.csv", "cannot read none.csv"),
    ("solve good.cvs", "cannot read good.cvs: No such file or directory; did you mean good.csv?"),
    ("dry-run --problems god.csv", "did you mean good.csv?"),
    ("replay good.cvs", "did you mean good.csv?"),
    ("solve good.csv --config setings.toml", "did you mean settings.toml?"),
    ("score odl", "there is no journal odl; did you mean old?"),
    ("solve good.csv --output good.csv", "good.csv is a file; --output wants a folder"),
    ("solve good.csv --output good.csv/run", "cannot write good.csv/run: good.csv is a file"),
    ("solve good.csv --output /proc/run", "cannot write to /proc/run"),
    ("solve good.csv --output old", "old/journal.jsonl exists; add --resume"),
    ("solve good.csv --resume", "say where with --output DIR"),
    ("solve good.csv --resume --output new", "there is no run to resume in new"),
    ("solve good.csv --resume --output old -n 9", "its config candidates is 3, now 9; give -n 3, or choose another"),
    ("solve good.csv --resume --output old --vote small", "give --vote plain, or choose another --output"),
    ("solve good.csv --resume --output old --no-force-answer", "give --force-answer, or choose another --output"),
    ("solve good.csv --resume --output old --fractions --modulus none", "or choose another --output"),
    ("solve longer.csv --resume --output old --model mine", "give --limit 2, or choose another --output"),
    ("replay good.csv --resume --output old", "it is a run of sctir solve or dry-run; to go on: sctir solve FILE"),
    ("view old --output nowhere/x.html", "--output nowhere/x.html must be a file in a folder that exists"),
    ("view old --output -", "give it a file"),
    (
        "solve good.csv --resume --output old --limit 1 --model mine",
        "its problems are others (another CSV, or another --limit)",
    ),
    (
        "solve good.csv --resume --output old --engine recorded --model old",
        "its engine engine is transformers, now recorded",
    ),
    ("solve good.csv --resume --output old --model shelf/model", "its engine model is mine, now model"),
    ("replay other.csv --resume --output old", "cannot resume old/journal.jsonl"),
    ("solve good.csv --model nowhere", "nowhere is not a folder"),
    ("solve good.csv --model good.csv", "good.csv is a file: pass the folder that holds config.json"),
    ("solve good.csv --model old", "old holds no config.json"),
    ("solve good.csv --model shelf", "shelf holds no config.json, shelf/model does"),
    ("score nowhere", "there is no journal nowhere"),
    ("score old --json nowhere/x.json", "must be a file in a folder that exists"),
    ("score old --json - --csv -", "--csv - and --json - are both standard output: give one a file"),
    ("score old --png -", "--png - would print a picture"),
    ("score old --csv old/journal.jsonl", "is a run's journal, which would be lost"),
    # Options for nothing.
    ("solve good.csv --delta 0.1", "--delta is for --stop beta, and stop is exact"),
    ("solve good.csv --stop k=4 --stop-ballots 3", "--stop-ballots is for --stop beta, and stop is k=4"),
    ("dry-run --set stop_delta=0.1", "--delta is for --stop beta"),
    ("solve good.csv --no-force-answer --force-tokens 8", "--force-tokens is the length of a forced answer"),
    ("solve good.csv -m 0 --code-seconds 9s", "--code-seconds is for code, and with turns 0 none runs"),
    ("solve good.csv --draw 0 --cap 2", "--cap limits what a problem draws, and draw is 0"),
    ("solve good.csv --engine chat --base-url http://127.0.0.1:9 --model old", "--model is not for --engine chat"),
    ("solve good.csv --engine recorded --model old --dialect qwen3", "--dialect is not for --engine recorded"),
    ("replay good.csv --workers 2", "--workers are those of a Ray cluster"),
    ("replay good.csv --all-rows", "--all-rows is for the sets amc, aime"),
    ("replay good.csv --data .", "--data is for the sets amc, aime"),
    ("what-if old --delta 0.1", "--delta is the risk of --stop beta"),
    ("what-if old --clock bank", "add --orders"),
    ("doctor --engine chat --model old", "--model is not for --engine chat"),
]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two CSVs, a run of three candidates in `old`, and a checkpoint one level down."""
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(PROBLEMS)
    Path("longer.csv").write_text(f"{PROBLEMS}c,What is $2^3$?,8\n")
    Path("settings.toml").write_text("candidates = 8\n")
    Path("other.csv").write_text("id,problem\nz,What is 1?\n")
    for folder in ("shelf/model", "mine"):
        Path(folder).mkdir(parents=True)
        Path(folder, "config.json").write_text("{}")
    run = RunConfig(solver=SolverConfig(candidates=3), sources={"candidates": "command line"})
    problems = read_problems(Path("good.csv"))
    engine = {"engine": "transformers", "model": "mine"}
    header = journal_header(run, problems, engine=engine, executor={})
    with Journal.create(Path("old/journal.jsonl"), header) as journal:
        journal.append(solved("a", 10, 10, 10, problem=problems[0]))
    return tmp_path


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("typed", "message"), WRONG, ids=[typed or "nothing" for typed, _ in WRONG])
def test_it_is_one_line_that_says_what_to_do(
    typed: str, message: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(desk)
    try:
        code: object = main(shlex.split(typed))
    except SystemExit as refused:
        code = refused.code
    out, error = capsys.readouterr()
    *usage, line = error.splitlines()
    assert code == 2
    assert message in line
    assert out == ""
    assert [each.split()[:2] for each in usage] in ([], [["usage:", "sctir"]])
    if (
        usage
        and typed.split()[:1] != []
        and not message.startswith(("there is no command", "unrecognized arguments: --v"))
    ):
        assert usage[0].startswith(f"usage: sctir {typed.split()[0]} "), "the usage of the command that was typed"
    assert _files(desk) == before, "nothing is lost, and nothing is left behind"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--temperature 0 -n 48", "--candidates 48 at temperature 0: every candidate writes the same text"),
        ("--temperature 0 -n 1 --top-p 0.9", "--top-p changes nothing at temperature 0"),
    ],
)
def test_what_is_only_useless_is_warned_of(
    typed: str, message: str, desk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["solve", "good.csv", *typed.split(), "--output", "new", "--model", "nowhere"]) == 2
    assert message in caplog.text


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    for typed, head in ((["help"], "usage: sctir "), (["help", "solve"], "usage: sctir solve FILE")):
        with pytest.raises(SystemExit) as ended:
            main(typed)
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(head)


def test_a_run_that_is_complete_is_shown_without_its_model(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("old/journal.jsonl").open("a") as file:
        file.write(json.dumps(result_to_json(solved("b", 9, 9, 9, problem=read_problems(Path("good.csv"))[1]))) + "\n")
    before = Path("old/journal.jsonl").read_bytes()
    assert main(["solve", "good.csv", "--resume", "--output", "old", "--model", "mine"]) == 0  # which holds no weights
    assert "2/2 right" in capsys.readouterr().out
    assert Path("old/submission.csv").read_text() == "id,answer\na,10\nb,9\n"
    assert Path("old/journal.jsonl").read_bytes() == before


def test_a_setting_of_a_file_that_has_no_effect_is_no_mistake(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text("stop_delta = 0.1\nforce_answer = false\nforce_tokens = 8\n")
    assert main(["solve", "good.csv", "--config", "run.toml", "--model", "nowhere"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--csv"])
@pytest.mark.parametrize("command", ["score", "what-if"])
def test_a_dash_prints_the_file_and_nothing_else(
    option: str, command: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "old", option, "file"]) == 0
    written = Path("file").read_text()
    capsys.readouterr()
    assert main([command, "old", option, "-"]) == 0
    assert capsys.readouterr().out == written


def test_a_file_that_cannot_be_written_whole_leaves_the_earlier_one(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("full.csv").write_text("the earlier one")
    Path(".new-full.csv").symlink_to("/dev/full")
    assert main(["score", "old", "--csv", "full.csv"]) == 2
    assert capsys.readouterr().err == "sctir: cannot write full.csv: No space left on device\n"
    assert Path("full.csv").read_text() == "the earlier one"
    assert not Path(".new-full.csv").is_symlink()
