"""What a model is told in each step that needs one, and how its reply is read.

Parts stand between tags, `<problem>...</problem>`: LaTeX is full of backslashes, which JSON from a model seldom survives.
"""

from __future__ import annotations

import re

from sctir_kaggle.recipes.cot.records import Record, Rejected

SEGMENT = r"""Below is text from a document with mathematical problems and their solutions. Copy out every problem that is there
with its whole solution, in order and word for word, formulas as LaTeX. Leave out a problem whose statement or solution is cut
off, and everything that is neither. Write each as
<problem>the statement</problem>
<solution>the solution</solution>
and nothing else; where there is none, write NONE."""

TRANSLATE = r"""Translate this mathematical problem and its solution into English. Keep all formulas as they are, in LaTeX, and
add or leave out nothing. Keep the tags. Write nothing else."""

REALIGN = r"""Here are a mathematical problem and its solution. Write the solution anew as a chain of thought that somebody who
sees the problem only can follow: one step after the other, each with its reason and its calculation, formulas in LaTeX, no
step of the given solution missing and no other result. Mend what reading the page has garbled. End with the final answer,
and nothing but it, in \boxed{}. Write the solution between <solution> and </solution>, and nothing else."""


def tagged(record: Record, *names: str) -> str:
    """Those parts of a record that are not empty, each between its tags."""
    return "\n".join(f"<{name}>\n{record[name]}\n</{name}>" for name in names if record.get(name))


def part(reply: str, name: str) -> str:
    """What stands between the tags. Raises `Rejected` where nothing does."""
    found = parts(reply, name)
    if not found or not found[-1]:
        raise Rejected(f"a reply without <{name}>: {' '.join(reply.split())[:120]!r}")
    return found[-1]


def parts(reply: str, name: str) -> list[str]:
    """What stands between each pair of these tags."""
    return [text.strip() for text in re.findall(rf"<{name}>(.*?)</{name}>", reply, re.DOTALL | re.IGNORECASE)]
