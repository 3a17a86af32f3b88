"""Which columns of a table hold the problem's text, its id and its answer: named by the user, or known by their usual names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sctir_kaggle.kinds import nearest
from sctir_kaggle.problems.choices import below_choices, key
from sctir_kaggle.types import UserError

PROBLEM = (
    *(
        "problem",
        "question",
        "prompt",
        "problem_text",
        "question_text",
        "problem_statement",
        "statement",
        "problem_content",
    ),
    *("question_content", "problem_description", "query", "instruction", "input", "inputs", "exercise", "text"),
    *("problems", "questions", "prompts", "messages", "conversations"),
)
ID = (
    *(
        "id",
        "problem_id",
        "question_id",
        "problem_idx",
        "question_idx",
        "unique_id",
        "task_id",
        "example_id",
        "sample_id",
    ),
    *("item_id", "doc_id", "uid", "uuid", "qid", "pid", "idx", "index", "row_id"),
)
ANSWER = (
    *(
        "final_answer",
        "expected_answer",
        "ground_truth",
        "gold_answer",
        "correct_answer",
        "reference_answer",
        "true_answer",
    ),
    *("ground_truth_answer", "exact_answer", "numerical_answer", "numeric_answer", "short_answer"),
    *("gold", "gt", "gt_answer", "ideal", "expected", "expected_output"),
    *("answer", "answers", "answer_key", "target", "targets", "extracted_answer", "label", "labels", "reference"),
)
RESULTS = (
    *("prediction", "predictions", "pred", "preds", "predicted", "predicted_answer", "model_answer", "model_output"),
    *("model_response", "model_prediction", "response", "responses", "completion", "completions", "generation"),
    *("generations", "generated_text", "generated_answer", "resps", "filtered_resps", "is_correct"),
)
"""Columns of a model's output: in a file with one of them `answer` and `final_answer` may be the model's, too."""

_MAYBE_THE_MODELS = (
    "answer",
    "answers",
    "final_answer",
    "numerical_answer",
    "numeric_answer",
    "short_answer",
    "extracted_answer",
)
LEVEL = ("level",)
SUBJECT = ("subject", "type")
"""The usual names, the more telling first. `solution` is no answer: it is the way there."""

BESIDE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "question": (("body", "context"), ()),
    "instruction": ((), ("input",)),
}
"""By a problem's column, those whose text stands before and behind its own: SVAMP's and ASDiv's `body`, Alpaca's `input`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemsConfig:
    """How a file of problems is read."""

    id_column: str | None = None
    """The column with the ids of a file of problems; default: a usual name such as id, else rows are numbered."""

    problem_column: str | None = None
    """The column with the problems' texts; default: a usual name such as problem, question or prompt."""

    answer_column: str | None = None
    """The column with the answers; default: a usual name such as answer, final_answer or target, never solution."""

    integers_only: bool = False
    """Leave out the rows whose answer is not an integer, and say how many; otherwise they are kept: fractions are graded by
    their exact value, anything else is not graded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of the columns that are read; None for one that the table lacks.

    `problem` is the column that a row must have a text in, `texts` are this one and those beside it, read as one text.
    """

    problem: str
    texts: tuple[str, ...]
    id: str | None
    answer: str | None
    level: str | None
    subject: str | None

    results: str | None = None
    """A column with a model's output, where the answer's column may be the model's as well; None where it is told apart."""

    @property
    def used(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(name for name in (*self.texts, self.id, self.answer, self.level, self.subject) if name)


def choose(
    name: str, columns: Sequence[str], how: ProblemsConfig, *, numbers: Mapping[str, str] | None = None
) -> Columns:
    """The columns of the file `name` to read. Raises `UserError` where there is no problem or a named column is missing.

    `numbers` are the columns that hold numbers alone, which are no problems, each with its first cell.
    """
    texts = [column for column in columns if not (numbers and column in numbers) and not below_choices(column)]
    problem = _named(name, columns, how.problem_column, "problem") or found(texts, PROBLEM)
    if problem is None and numbers and (number := found(list(numbers), PROBLEM)):
        raise UserError(
            f"{name} has only numbers in its column {number} (row 1: {numbers[number]}), which are no problems; "
            f"it has: {_listed(columns)}; name the texts: --problem-column NAME"
        )
    if problem is None:
        raise UserError(
            f"{name} has no column with the problems' texts; it has: {_listed(columns)}; name it: --problem-column NAME"
        )
    # Of {"doc": {"problem": ..., "answer": ...}, "target": ...} the answer is taken that stands beside the problem.
    prefix = problem[: problem.rfind(".") + 1]
    beside = [column for column in columns if column.startswith(prefix)]
    top = [column for column in columns if "." not in column]
    named = _named(name, columns, how.answer_column, "answer")
    answer, results = (named, None) if named else _answer(columns, problem, beside)
    chosen = Columns(
        problem=problem,
        texts=_with_beside(columns, problem),
        id=_named(name, columns, how.id_column, "id") or found(top, ID) or found(beside if prefix else (), ID),
        answer=answer,
        level=found(columns, LEVEL),
        subject=found(columns, SUBJECT),
        results=results,
    )
    for column in chosen.used:
        if columns.count(column) > 1:
            raise UserError(f"{name} has the column {column} twice; rename one of them")
    return chosen


def _answer(columns: Sequence[str], problem: str, beside: Sequence[str]) -> tuple[str | None, str | None]:
    """The column of the answer, and one of a model's output where the answer may be the model's."""
    columns, beside = ([column for column in each if not below_choices(column)] for each in (columns, beside))
    within = [
        column for column in columns if column.startswith(f"{problem}.")
    ]  # {"problem": {"text": ..., "answer": ...}}
    if inner := found(within, ANSWER):
        return inner, None
    results = found([column for column in columns if "." not in column], RESULTS)
    if results is None or problem.rpartition(".")[0]:  # beside a problem in an object of its own stands its reference
        return found(beside, ANSWER) or found(columns, ANSWER), None
    sure = [name for name in ANSWER if name not in (*_MAYBE_THE_MODELS, "label", "labels")]
    if reference := found(beside, sure) or found(columns, sure):
        return reference, None
    answer = found(beside, _MAYBE_THE_MODELS) or found(beside, ANSWER) or found(columns, ANSWER)
    return answer, results if answer else None


def alike(columns: Sequence[str], chosen: str, names: Sequence[str]) -> list[str]:
    """The other columns that are known by one of the usual `names`, as rows of another origin may bring them."""
    order = [key(name) for name in names]
    others = [column for column in columns if column != chosen and key(column) in order]
    return sorted(others, key=lambda column: order.index(key(column)))


def fit(columns: Sequence[str], how: ProblemsConfig) -> tuple[bool, int, int]:
    """How well the header of a table fits: whether it has a problem, how many known columns, how many at all."""
    wanted = (how.problem_column, how.id_column, how.answer_column)
    usual = (PROBLEM, ID, ANSWER)
    has = [_match(columns, one) if one else found(columns, names) for one, names in zip(wanted, usual, strict=True)]
    return has[0] is not None, sum(each is not None for each in has), len(columns)


def found(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the usual `names` that is a column: spelled so, or so but for case, blanks and underscores, or below
    another one, as `doc.problem`, or with a remark, as `Answer (an integer)`."""
    spelled = {key(column): column for column in reversed(columns)}
    nested = {key(column.rpartition(".")[2]): column for column in reversed(columns) if "." in column}
    bare = {key(column.partition("(")[0]): column for column in reversed(columns) if "(" in column}
    for keys in (spelled, nested, bare):
        for name in names:
            if name in columns:
                return name
            if key(name) in keys:
                return keys[key(name)]
    return None


def _named(name: str, columns: Sequence[str], wanted: str | None, what: str) -> str | None:
    """The column that a user named. Raises `UserError` where there is none."""
    if wanted is None:
        return None
    match = _match(columns, wanted)
    if match is None:
        raise UserError(
            f"{name} has no column {wanted!r} (--{what}-column); it has: {_listed(columns)}{nearest(wanted, columns)}"
        )
    return match


def _match(columns: Sequence[str], wanted: str) -> str | None:
    if wanted in columns:
        return wanted
    return next((column for column in columns if key(column) == key(wanted)), None)


def _with_beside(columns: Sequence[str], problem: str) -> tuple[str, ...]:
    prefix, _, own = problem.rpartition(".")
    before, behind = BESIDE.get(key(own), ((), ()))

    def there(names: Sequence[str]) -> list[str]:
        keys = {key(f"{prefix}.{name}") for name in names}
        return [column for column in columns if key(column) in keys]

    return (*there(before), problem, *there(behind))


def _listed(columns: Sequence[str]) -> str:
    shown = [column[:40] or "(no name)" for column in columns[:12]]
    return ", ".join(shown) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "") or "none"
