"""Parsing turns into answers and drafts: thinking, turns that were cut off, code that was not run, malformed calls."""

from __future__ import annotations

import json

import pytest

from sctir_kaggle import Completion, ExecutionStatus, TraceStatus, Turn
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.reading import read_turn
from sctir_kaggle.sandbox import Sandbox
from tests.dialects.test_families import bound, solve

THINKERS = ("openmath-nemotron", "qwen3", "r1", "chat-server", "gpt-oss")
CALL = "<tool_call>\n{}\n</tool_call>"
JSON = CALL.format(json.dumps({"name": "python", "arguments": {"code": "print(45)"}}))


def thinking(dialect: Dialect, thought: str, final: str | None) -> str:
    """A text of the dialect that thinks, and goes on to its final part, unless that is None."""
    if dialect.code == "harmony":
        ending = "" if final is None else f"<|end|><|start|>assistant<|channel|>final<|message|>{final}"
        return f"<|channel|>analysis<|message|>{thought}{ending}"
    begin = "" if dialect.thinks_first else dialect.think_begin
    return f"{begin}\n{thought}" + ("" if final is None else f"\n{dialect.think_end}\n\n{final}")


THOUGHTS = (
    "It is \\boxed{7}.",
    "The answer is 7",
    "\\boxed{7} or \\boxed{8}",
    "Not \\boxed{7}, so \\boxed{8}. Wait.",
)


@pytest.mark.parametrize("name", THINKERS)
@pytest.mark.parametrize("thought", THOUGHTS)
def test_nothing_in_open_thinking_is_a_vote(name: str, thought: str, sandbox: Sandbox) -> None:
    text = thinking(bound(name), thought, None)
    trace, _ = solve(bound(name), sandbox, text, force_answer=False)
    assert (trace.answer, trace.boxed) == (None, None)


@pytest.mark.parametrize("name", THINKERS)
@pytest.mark.parametrize("thought", THOUGHTS)
def test_only_what_the_final_part_repeats_is_a_vote(name: str, thought: str, sandbox: Sandbox) -> None:
    texts = thinking(bound(name), thought, "I do not know."), thinking(bound(name), thought, "It is \\boxed{8}.")
    answers = [solve(bound(name), sandbox, text, force_answer=False)[0].answer for text in texts]
    assert answers == [None, 8]


@pytest.mark.parametrize("name", [*THINKERS, "numina", "hermes", "llama3"])
def test_a_box_in_a_turn_that_its_token_limit_cut_is_no_vote(name: str, sandbox: Sandbox) -> None:
    text = thinking(bound(name), "Hm.", "It is \\boxed{8}.") if name in THINKERS else "It is \\boxed{8}."
    whole = text + " And so on, without an end."
    trace, _ = solve(bound(name), sandbox, whole, max_tokens=len(text) + 5, force_answer=False)
    assert (trace.turns[0].completion.finish_reason, trace.answer) == ("length", None)


def test_a_thinker_that_was_cut_is_asked_for_its_answer_outside_of_its_thinking(sandbox: Sandbox) -> None:
    long = "<think>\nIt is 8, I think, but let me check it again and again."
    trace, engine = solve(bound("qwen3"), sandbox, long, "8}$", max_tokens=40, force_tokens=40)
    assert engine.prompts["p/0/1"].endswith("</think>\n\nThe answer is $\\boxed{")
    assert (trace.status, trace.answer) == (TraceStatus.ANSWERED, 8)


def test_harmony_is_asked_for_its_answer_in_the_final_channel(sandbox: Sandbox) -> None:
    long = "<|channel|>analysis<|message|>It is 8, I think, but let me check it again and again."
    trace, engine = solve(bound("gpt-oss"), sandbox, long, "8}$", max_tokens=70, force_tokens=40)
    opened = "<|end|><|start|>assistant<|channel|>final<|message|>The answer is $\\boxed{"
    assert engine.prompts["p/0/1"].endswith(opened)
    assert trace.answer == 8


def test_thinking_goes_on_across_turns_of_one_message(sandbox: Sandbox) -> None:
    texts = ("<think>\nSum.\n<tool_call>\nprint(45)\n</tool_call>", "So \\boxed{45}, perhaps.", "45}$")
    trace, engine = solve(bound("openmath-nemotron"), sandbox, *texts)
    assert engine.prompts["p/0/2"].endswith("perhaps.</think>\n\nThe answer is $\\boxed{")
    assert trace.answer == 45


def test_code_drafted_in_thinking_that_was_closed_is_not_run() -> None:
    text = "Try\n```python\nprint(1)\n```\nor so.\n</think>\n\nIt is \\boxed{8}."
    written = read_turn(bound("r1"), (), Completion(text))
    assert (written.code, written.final.strip()) == (None, "It is \\boxed{8}.")


def test_an_answer_behind_code_that_was_never_run_is_no_vote(sandbox: Sandbox) -> None:
    invented = "```python\nprint(45)\n```\n```text\n7\n```\nIt is \\boxed{7}."
    trace, engine = solve(bound("numina"), sandbox, invented, "\nIt is \\boxed{45}.")
    assert engine.prompts["p/0/1"].endswith("It is \\boxed{7}.\n```output\n45\n```")
    assert trace.answer == 45


def test_a_candidate_without_executions_left_answers_in_a_turn_whose_code_is_not_run(sandbox: Sandbox) -> None:
    trace, engine = solve(bound("qwen3"), sandbox, JSON, "It is \\boxed{45}.", turns=1)
    assert (trace.answer, trace.turns[1].execution) == (45, None)
    trace, engine = solve(bound("qwen3"), sandbox, JSON, JSON + "\nIt is \\boxed{7}.", "45}$", turns=1)
    assert (trace.answer, trace.turns[1].execution, len(engine.prompts)) == (45, None, 3)


@pytest.mark.parametrize(
    "call",
    [
        '{"name": "python", "arguments": {"code": "print(45)"}}',
        '{"name": "python", "arguments": "{\\"code\\": \\"print(45)\\"}"}',
        '{"name": "python", "arguments": "print(45)"}',
        '{"name": "run", "parameters": {"source": "print(45)"}}',
        "{'name': 'python', 'arguments': {'code': 'print(45)'}}",
        '{"name": "python", "arguments": {"code": "x = 45\nprint(x)"}}',
        '{"name": "python", "arguments": {"code": "```python\\nprint(45)\\n```"}}',
        '[{"name": "python", "arguments": {"code": "x = 45"}}, {"name": "python", "arguments": {"code": "print(x)"}}]',
    ],
)
def test_a_call_is_read_as_models_write_it(call: str, sandbox: Sandbox) -> None:
    trace, _ = solve(bound("qwen3"), sandbox, CALL.format(call), "It is \\boxed{45}.")
    assert trace.turns[0].execution is not None
    assert trace.turns[0].execution.output.strip() == "45"


@pytest.mark.parametrize(
    "call", ['{"name": "python", "arguments": {"code": "print(', "{}", "[1]", '{"arguments": [1]}']
)
def test_a_broken_call_is_told_to_the_model_and_costs_a_turn(call: str, sandbox: Sandbox) -> None:
    trace, engine = solve(bound("qwen3"), sandbox, CALL.format(call), "It is \\boxed{45}.")
    execution = trace.turns[0].execution
    assert execution is not None
    assert execution.status is ExecutionStatus.ERROR
    assert execution.output.startswith("The tool call cannot be read:")
    assert execution.output in engine.prompts["p/0/1"]
    assert trace.answer == 45


@pytest.mark.parametrize("call", ["[" * 3000, '{"arguments": "' + "[" * 3000 + '"}', "[" * 100_000])
def test_a_call_that_is_nested_without_end_costs_its_candidate_alone(call: str, sandbox: Sandbox) -> None:
    trace, _ = solve(bound("qwen3"), sandbox, CALL.format(call), "It is \\boxed{45}.")
    assert trace.answer == 45
    header = "<|channel|>commentary to=functions.python <|constrain|>json<|message|>"
    assert read_turn(bound("gpt-oss"), (), Completion(header + call)).code is not None


def test_a_call_of_another_tool_is_not_run() -> None:
    call = CALL.format('{"name": "search", "arguments": {"query": "rm -rf"}}')
    written = read_turn(bound("qwen3"), (), Completion(call))
    assert (written.code, written.fault) == (
        None,
        "The tool call cannot be read: it has no argument `code`. Write it again.",
    )


def test_a_fence_inside_the_code_of_a_call_is_part_of_it() -> None:
    code = 'doc = """\n```python\nprint(1)\n```\n"""\nprint(len(doc))'
    assert read_turn(bound("openmath-nemotron"), (), Completion(CALL.format(code))).code == code


def test_all_calls_of_a_turn_are_run_in_order(sandbox: Sandbox) -> None:
    calls = [{"name": "python", "arguments": {"code": code}} for code in ("x = 44", "print(x + 1)")]
    text = "\n".join(CALL.format(json.dumps(call)) for call in calls)
    trace, _ = solve(bound("hermes"), sandbox, text, "It is \\boxed{45}.")
    assert trace.turns[0].execution is not None
    assert trace.turns[0].execution.output.strip() == "45"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function=python>\n<parameter=code>\nprint(45)\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>\n<function=python>\n<parameter=code>\nprint(45)\n</parameter>\n</function>",
        "<tool_call>\n<function=python>\n<parameter=code>\nprint(45)",
        "<tool_call><function=python><parameter=code>print('</parameter>'[:0] + '45')</parameter></function></tool_call>",
    ],
)
def test_an_xml_call_is_read_with_its_closing_tags_and_without(text: str) -> None:
    code = read_turn(bound("qwen3-coder"), (), Completion(text)).code
    assert code is not None
    assert code.startswith("print(")
    assert code.endswith(")")


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>analysis to=python code",
        " to=python<|channel|>analysis code",
        "<|channel|>commentary to=functions.python <|constrain|>json",
    ],
)
def test_harmony_names_the_recipient_wherever_it_likes(header: str) -> None:
    content = '{"code": "print(45)"}' if "json" in header else "print(45)"
    assert read_turn(bound("gpt-oss"), (), Completion(f"{header}<|message|>{content}")).code == "print(45)"


def test_harmony_code_that_was_cut_is_not_run() -> None:
    text = "<|channel|>analysis to=python code<|message|>print(4"
    assert read_turn(bound("gpt-oss"), (), Completion(text, finish_reason="length")).code is None


def test_a_restart_begins_outside_of_the_thinking_that_was_given_up() -> None:
    turns = (Turn(Completion("<think>\nI am lost."), restarted=True),)
    assert read_turn(bound("openmath-nemotron"), turns, Completion("It is \\boxed{8}.")).final == "It is \\boxed{8}."
