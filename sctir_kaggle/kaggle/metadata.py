"""kernel-metadata.json: read, filled in, and checked before Kaggle sees it.

The client ignores unknown keys silently, and its default for the internet is on. Covered: keys, types, the form of every
value, contradictions, and whether named files exist. Not covered: whether a source exists and may be attached, which only
Kaggle knows (`push` reads it from the answer).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import UserError

FILE = "kernel-metadata.json"

OWNER = "INSERT_OWNER"
"""The placeholder for the account's name in the committed file; `with_owner` replaces it."""

PYTHON310 = "sctir-python310"
"""The slug of the data set with the CPython that AIMO-1's module needs; any slug with python310 in it is taken for one."""

MACHINES = (
    "NvidiaTeslaT4",  # two of them
    "NvidiaTeslaT4Highmem",
    "NvidiaL4",  # four of them
    "NvidiaL4X1",
    "NvidiaTeslaA100",
    "NvidiaH100",
    "NvidiaRtxPro6000",
)
"""The GPU machines in the kaggle client's documentation (docs/kernels.md, February 2026), without the retired P100."""

IMAGE_PYTHON = "3.12"
"""The Python of the image that a notebook gets if it names none: Kaggle's docker-python of August 2026."""

IMAGES: Mapping[str, str] = {
    "sha256:37c64f7dd9c54116ecd1bcc88817c5469b88387388fade02bfa8bf3fc647d461": "3.12",
    "sha256:00377cd1b3d470a605bc5b0ceca79969e369644e9b36802242a1c70e627372f9": "3.12",
}
"""The Python of Kaggle's GPU images by digest, read from public runs that print KAGGLE_DOCKER_IMAGE and `sys.version`.

No digest of an image of AIMO-1's time (docker-python v149 is of 3 June 2024) was found in public sources. If you know one, name
it as docker_image, with "docker_image_python": "3.10".
"""

Document = dict[str, Any]

_PLACEHOLDER = re.compile(r"INSERT_\w+|YOUR[-_]\w+|\w+_HERE\b|<[^>]*>|^Pick one of", re.IGNORECASE)
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_TYPES = {
    bool: "true or false, without quotes",
    str: "a text in quotes",
    list: "a list of texts",
    int: "a whole number",
}

Rule = Callable[[Any], str]
"""Returns what to write instead of a value; empty if the value is right."""


@dataclass(frozen=True, slots=True)
class Key:
    """The type and the rule of a key's value; a key with an `example` of what to write is required."""

    type: type
    rule: Rule = lambda _: ""
    example: str | None = None


def read(path: Path) -> Document:
    """Read the file as it is. Raises `UserError` if it is missing, no JSON object, or has a key twice."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: run this in a checkout, or say --path DIR")
    try:
        document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates)
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}; fix that place") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} holds a {type(document).__name__}: it must be an object, {{...}}")
    return document


def with_owner(document: Document, owner: str) -> Document:
    """Return a copy with the account's name in place of every `INSERT_OWNER`."""
    copy: Document = json.loads(json.dumps(document).replace(OWNER, json.dumps(owner)[1:-1]))
    return copy


def image_python(document: Mapping[str, Any]) -> str | None:
    """Return the Python (X.Y) of the notebook's image; None if it names an image whose Python is not known."""
    image = document.get("docker_image")
    if not image:
        return IMAGE_PYTHON
    return document.get("docker_image_python") or IMAGES.get(image.rpartition("@")[2])


def check(document: Document, path: Path) -> None:
    """Raise one `UserError` with a line for each problem of the file at `path`."""
    if found := list(problems(document, path.parent)):
        count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        raise UserError("\n  ".join([f"{path} has {count}:", *found]))


def problems(document: Document, folder: Path) -> Iterator[str]:
    """Yield a line for each problem: key, value, remedy. Paths in the document are relative to `folder`."""
    for unknown in document.keys() - KEYS.keys():
        yield f"{unknown} = {_shown(document[unknown])}: {_unknown(unknown)}"
    for name, key in KEYS.items():
        if name in document:
            yield from _value(name, key, document[name])
        elif key.example is not None:
            yield f"{name} is missing: write {json.dumps(name)}: {key.example}"
    yield from _title_and_slug(document)
    yield from _image(document)
    yield from _code_file(document.get("code_file"), folder)


def slugify(title: str) -> str:
    """Return the slug that Kaggle makes of a title; letters beyond a-z are not covered.

    >>> slugify("SCTIR Kaggle, 1,000 x")
    'sctir-kaggle-1000-x'
    """
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=\d),(?=\d)", "", title.lower())).strip("-")


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> Document:
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)}: is there twice")
    return dict(pairs)


def _value(name: str, key: Key, value: Any) -> Iterator[str]:
    if type(value) is not key.type or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
        yield f"{name} = {_shown(value)}: must be {_TYPES[key.type]}"
        return
    items: list[Any] = value if isinstance(value, list) else [value]
    for item in items:
        if remedy := _placeholder(item) or key.rule(item):
            yield f"{name} = {_shown(item)}: {remedy}"
    if key.type is list and key.example is not None and not value:
        yield f"{name} = []: nothing would be attached: write {key.example}"


def _placeholder(value: Any) -> str:
    found = _PLACEHOLDER.search(value) if isinstance(value, str) else None
    if found is None:
        return ""
    if found[0] == OWNER:
        return "your Kaggle name goes there: say --owner NAME, or set KAGGLE_USERNAME"
    return f"{found[0]} is a placeholder: write the real value"


def _unknown(key: str) -> str:
    return f"no such key{nearest(key.lower(), KEYS) or ', Kaggle would ignore it; known: ' + ', '.join(KEYS)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _title_and_slug(document: Mapping[str, Any]) -> Iterator[str]:
    title, slug = document.get("title"), str(document.get("id", "")).rpartition("/")[2]
    if isinstance(title, str) and slug and slugify(title) != slug and not _placeholder(title):
        yield (
            f"title = {_shown(title)}: Kaggle would put it at {slugify(title)!r}, not at the id's {slug!r}: "
            f"write {slug.replace('-', ' ')!r}, or end the id in {slugify(title)!r}"
        )


def _image(document: Mapping[str, Any]) -> Iterator[str]:
    """docker_image_python needs a docker_image, and must not contradict what is known of it."""
    said, image = document.get("docker_image_python"), document.get("docker_image")
    if not isinstance(said, str) or not isinstance(image, str | None):
        return
    if not image:
        yield f'docker_image_python = "{said}": there is no docker_image: name the image, or remove this'
    elif (known := IMAGES.get(image.rpartition("@")[2])) and known != said:
        yield f'docker_image_python = "{said}": the image\'s is {known}: write "{known}", or name another image'


def _code_file(name: Any, folder: Path) -> Iterator[str]:
    if not isinstance(name, str) or _placeholder(name):
        return
    if not (folder / name).is_file():
        yield f"code_file = {_shown(name)}: {folder / name} does not exist: build the notebook, or name another"
    elif not name.endswith(".ipynb") or not is_notebook(folder / name):
        yield f"code_file = {_shown(name)}: not a notebook (JSON with cells): name an .ipynb file"


def is_notebook(path: Path) -> bool:
    """Whether the file is JSON with cells."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(notebook, dict) and isinstance(notebook.get("cells"), list)


def _must_be(wanted: Any, why: str) -> Rule:
    return lambda value: "" if value == wanted else f"{why}: write {json.dumps(wanted)}"


def _matches(pattern: str, form: str) -> Rule:
    owned = pattern.replace("OWNER", _NAME.pattern).replace("SLUG", _SLUG.pattern)
    return lambda value: "" if re.fullmatch(owned, value) else f"must be {form}, in small letters, digits and hyphens"


def _id(value: str) -> str:
    if wrong := _matches("OWNER/SLUG", "owner/slug")(value):
        return wrong
    slug = value.partition("/")[2]
    return "" if len(slug) >= 5 else f"the slug has {len(slug)} letters, at least 5: lengthen it, and the title with it"


def _title(value: str) -> str:
    return "" if 5 <= len(value) <= 50 else f"has {len(value)} letters, must have 5 to 50: write one of that length"


def _machine(value: str) -> str:
    if value in MACHINES:
        return ""
    if value == "NvidiaTeslaP100":
        return "Kaggle has no P100 any more: write NvidiaTeslaT4"
    return f"no machine that we know{nearest(value, MACHINES)}; known: {', '.join(MACHINES)}"


def _pinning(value: str) -> str:
    return "" if value in ("original", "latest") else "must be original or latest"


def _docker_image(value: str) -> str:
    if not value or re.fullmatch(r"[a-z0-9.-]+(?:/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}", value):
        return ""
    return "must be an image by its digest, such as gcr.io/kaggle-gpu-images/python@sha256:... (64 digits)"


def _python(value: str) -> str:
    return "" if re.fullmatch(r"3\.\d+", value) else 'must be the version of its Python, such as "3.10"'


KEYS: Mapping[str, Key] = {
    "id": Key(str, _id, '"owner/slug"'),
    "id_no": Key(int),
    "title": Key(str, _title, "a title whose slug is the id's"),
    "code_file": Key(str, example='"notebooks/submission.ipynb"'),
    "language": Key(str, _must_be("python", "the notebook is written in Python"), '"python"'),
    "kernel_type": Key(str, _must_be("notebook", "the competition runs notebooks"), '"notebook"'),
    "is_private": Key(bool, example="true, or false to publish the notebook"),
    "enable_gpu": Key(bool, _must_be(True, "the engine needs the GPUs"), "true"),
    "enable_tpu": Key(bool, _must_be(False, "the engine runs on GPUs")),
    "enable_internet": Key(
        bool, _must_be(False, "a submission with internet is refused"), "false (the default is true)"
    ),
    "machine_shape": Key(str, _machine, '"NvidiaTeslaT4"'),
    "dataset_sources": Key(
        list, _matches(r"OWNER/SLUG(/[1-9]\d*)?", "owner/slug or owner/slug/version"), '["owner/wheels"]'
    ),
    "competition_sources": Key(list, _matches("SLUG", "the competition's slug"), '["ai-mathematical-olympiad-prize"]'),
    "kernel_sources": Key(list, _matches(r"OWNER/SLUG(/[1-9]\d*)?", "owner/slug or owner/slug/version")),
    "model_sources": Key(
        list,
        _matches(
            r"OWNER/SLUG/[A-Za-z0-9]+/[A-Za-z0-9._-]+/[1-9]\d*", "owner/model/framework/variation/version (a number)"
        ),
        '["owner/model/transformers/variation/1"]',
    ),
    "keywords": Key(list),
    "docker_image": Key(str, _docker_image),
    "docker_image_python": Key(str, _python),
    "docker_image_pinning_type": Key(str, _pinning),
}
"""Every key that the client reads, and our own docker_image_python. A key with an example is required."""
