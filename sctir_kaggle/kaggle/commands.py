"""The commands that lead to a score, as they are typed: fetch, wheels, upload, push, submit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Commands) -> None:
    """Gives each command its arguments, and the function that runs it."""
    _add_fetch(commands.add_parser("fetch", help="fetch a checkpoint from the Hugging Face Hub, every hash compared"))
    _add_wheels(
        commands.add_parser("wheels", help="make the datasets of wheels that the offline notebook installs from")
    )
    _add_upload(commands.add_parser("upload", help="bring wheels and checkpoint to Kaggle; what is there is not sent"))
    _add_push(
        commands.add_parser("push", help="build, check and push the notebook; follow its run; fetch what it leaves")
    )
    _add_submit(commands.add_parser("submit", help="submit the version that ran, once, and follow its score"))


def fetch(args: argparse.Namespace, _: float) -> int:
    """A checkpoint from the Hub."""
    from sctir_kaggle.kaggle.fetch import fetch as go

    output = args.output or Path("runs", args.repository.rpartition("/")[2])
    go(args.repository, output, revision=args.revision, dry_run=args.dry_run)
    if not args.dry_run:
        print(f"next: sctir doctor --model {output}; to Kaggle: sctir upload --model {output}")
    return 0


def upload(args: argparse.Namespace, _: float) -> int:
    """Wheels and checkpoint to Kaggle, as far as they are not there."""
    from sctir_kaggle.kaggle.folders import STAGED
    from sctir_kaggle.kaggle.upload import Upload
    from sctir_kaggle.kaggle.upload import upload as go

    _tell()
    plan = Upload(
        checkout=args.path,
        wheels=args.wheels,
        model=args.model,
        owner=args.owner,
        licence=args.license,
        staged=args.output or STAGED,
        poll=args.poll,
    )
    go(plan, dry_run=args.dry_run)
    return 0


def push(args: argparse.Namespace, _: float) -> int:
    """From this checkout to a complete run at Kaggle."""
    from sctir_kaggle.kaggle.push import Push, new_folder
    from sctir_kaggle.kaggle.push import push as go

    _tell()
    plan = Push(
        checkout=args.path,
        folder=args.output or new_folder(),
        owner=args.owner,
        wheels=args.wheels,
        model=args.upload_model,
        poll=args.poll,
        follow=not args.no_follow,
        again=args.again,
        submit=args.submit,
        anyway=args.submit_anyway,
        message=args.message,
        settings=_settings(args),
    )
    return _green(lambda: go(plan, dry_run=args.dry_run))


def submit(args: argparse.Namespace, _: float) -> int:
    """The version that ran, into the competition, and its score."""
    from sctir_kaggle.kaggle.submit import Submit
    from sctir_kaggle.kaggle.submit import submit as go

    _tell()
    plan = Submit(
        checkout=args.path,
        folder=args.output,
        owner=args.owner,
        version=args.kernel_version,
        message=args.message,
        anyway=args.submit_anyway,
        again=args.again,
        poll=args.poll,
    )
    return _green(lambda: go(plan, dry_run=args.dry_run))


def _green(act: Callable[[], None]) -> int:
    """Exit code 1, and a red line in a terminal, where a run at Kaggle is not what it should be."""
    from sctir_kaggle.display import print_failure
    from sctir_kaggle.kaggle.versions import NotGreen

    try:
        act()
    except NotGreen as error:
        print_failure(f"sctir: {error}")
        return 1
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the notebook's cell is to say; checked as the notebook will check it. Raises `UserError`."""
    from sctir_kaggle.settings import Layer, resolve, set_layer, toml_layer

    typed = {name: value for name in ("competition", "preset") if (value := getattr(args, name))}
    layers = [*map(toml_layer, args.config), set_layer(args.pairs), Layer("command line", typed)]
    run = resolve(layers)
    chosen = {name: value for layer in layers for name, value in layer.values.items()}
    said = {name: run.value(name) for name in chosen if name != "answers"}
    return {**({"answers": chosen["answers"]} if "answers" in chosen else {}), **said}


def wheels(args: argparse.Namespace, _: float) -> int:
    """The wheelhouse: made, looked at, or checked."""
    from sctir_kaggle.kaggle.wheels import build as house
    from sctir_kaggle.kaggle.wheels import python310

    _tell()
    python = args.python or (None if args.image else _python_of_image(Path()))
    wanted = house.Wanted(
        requirements=args.requirements, image=args.image, python=python, ship=args.ship, pins=args.pin
    )
    packed = args.cpython is not None and not args.check
    named = Path(args.cpython) if args.cpython else None
    interpreter = python310.interpreter_of(named) if packed and (named or not args.dry_run) else None
    if args.dry_run:
        if packed:
            print(
                f"a CPython 3.10 with pandas, about 45 MB, would be packed for AIMO-1: {interpreter or 'uv finds it'}"
            )
        found = house.look(wanted)
        print(*house.told(found, wanted.on()), sep="\n")
        print(
            f"would be downloaded: {', '.join(f'{wheel.name} {wheel.version}' for wheel in found.wheels) or 'nothing'}"
        )
        return 0
    if args.check:
        folders = house.dataset_folders(args.check)
        house.verify(folders, args.requirements, python)
    else:
        folders = house.make(wanted, args.output, owner=args.owner, update=args.update)
    if interpreter is not None:
        place = python310.pack(args.output, interpreter, owner=args.owner)
        print(
            f"{place}: a CPython 3.10 for AIMO-1, {sum(each.stat().st_size for each in place.iterdir()) / 1e6:,.1f} MB"
        )
    for folder in folders:
        sizes = [wheel.stat().st_size for wheel in folder.glob("*.whl")]
        print(f"{folder}: {len(sizes)} wheels, {sum(sizes) / 1e6:,.1f} MB, whole")
    if not args.check:
        print(f"next: sctir upload --wheels {args.output}")
    return 0


def _python_of_image(checkout: Path) -> str | None:
    """Of the image that kernel-metadata.json names; None where it names none, or there is no such file."""
    from sctir_kaggle.kaggle import metadata

    path = checkout / metadata.FILE
    document = metadata.read(path) if path.is_file() else {}
    return metadata.image_python(document) if document.get("docker_image") else None


def _tell() -> None:
    """What is retried and waited for is said where the results are."""
    from sctir_kaggle.display import setup_logging

    setup_logging()


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repository", metavar="OWNER/NAME", help="of the model, as on its page: AI-MO/NuminaMath-7B-TIR-GPTQ")
    add("--output", type=Path, metavar="DIR", help="default: runs/NAME")
    add("--revision", metavar="R", help="a branch, a tag or a commit; default: the newest")
    add("--dry-run", action="store_true", help="only say what would be fetched")
    parser.set_defaults(command=fetch, name="fetch")


def _add_upload(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    add = parser.add_argument
    add("--wheels", type=Path, metavar="DIR", help="the datasets that `sctir wheels` made: any number of folders")
    add("--model", type=Path, metavar="DIR", help="the checkpoint's folder, as `sctir fetch` leaves it")
    add("--license", default="Apache 2.0", metavar="NAME", help="of the model, in Kaggle's words (%(default)s)")
    add("--output", type=Path, metavar="DIR", help="links that the client is given; default: runs/upload")
    parser.set_defaults(command=upload, name="upload")


def _add_push(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    add = parser.add_argument
    add("--wheels", type=Path, metavar="DIR", help="first `sctir upload --wheels DIR`")
    add("--upload-model", type=Path, metavar="DIR", help="first `sctir upload --model DIR`")
    add("--competition", metavar="NAME", help="aimo1, aimo2, aimo3: into the metadata, the machine, and the notebook")
    add("--preset", metavar="NAME", help="settings with a name, into the notebook's cell")
    add("--set", action="append", default=[], dest="pairs", metavar="NAME=VALUE", help="any setting, into the cell")
    add("--config", type=Path, action="append", default=[], metavar="FILE", help="settings in TOML, into the cell")
    add("--again", action="store_true", help="push although the newest version at Kaggle is this already")
    add("--no-follow", action="store_true", help="do not wait for the run")
    add("--submit", action="store_true", help="submit the version once its run is complete, and follow the score")
    _add_submission(parser)
    add("--output", type=Path, metavar="DIR", help="what is pushed and what comes back; default: below runs/")
    parser.set_defaults(command=push, name="push")


def _add_submit(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    add = parser.add_argument
    add("--kernel-version", type=int, metavar="N", help="of the notebook; default: the newest")
    add("--again", action="store_true", help="submit although this version was submitted already")
    _add_submission(parser)
    add("--output", type=Path, metavar="DIR", help="log and outputs of its run; default: below runs/")
    parser.set_defaults(command=submit, name="submit")


def _add_account(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--path", type=Path, default=Path(), metavar="DIR", help="where kernel-metadata.json is (here)")
    add("--owner", metavar="NAME", help="your Kaggle name; default: KAGGLE_USERNAME, or the one you are logged in with")
    add("--dry-run", action="store_true", help="check everything, up to the first request")
    add("--poll", type=float, default=20.0, metavar="SECONDS", help="between two looks at Kaggle (%(default)s)")


def _add_submission(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--message", metavar="TEXT", help="of the submission; the version is added to it")
    add("--submit-anyway", action="store_true", help="submit although the journal says that the run is not worth it")


def _add_wheels(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--image",
        metavar="FILE",
        help="pip freeze of the image, the notebook's image.txt, a snapshot, or none: ship all",
    )
    add("--python", metavar="X.Y", help="of Kaggle's image, 3.10 to 3.13; default: the image's, 3.12 without one")
    add("--requirements", type=Path, default=Path("requirements.txt"), metavar="FILE", help="(%(default)s)")
    add("--pin", action="append", default=[], metavar="NAME==VERSION", help="in place of its line in the requirements")
    add(
        "--ship", action="append", default=[], metavar="NAME", help="although the image has it; torch: all of its build"
    )
    add(
        "--output", type=Path, default=Path("runs", "wheels"), metavar="DIR", help="new, or goes on there (%(default)s)"
    )
    add("--update", action="store_true", help="resolve again what is there; wheels that stay are not downloaded again")
    add("--owner", metavar="NAME", help="your Kaggle name; default: filled in when they are pushed")
    add("--dry-run", action="store_true", help="only say what would be downloaded, and how large it is")
    add("--check", type=Path, metavar="DIR", help="only check wheels that are there")
    add(
        "--cpython",
        nargs="?",
        const="",
        metavar="DIR",
        help="for AIMO-1: also pack a CPython 3.10, which its module needs; default: the one that uv finds or installs",
    )
    parser.set_defaults(command=wheels, name="wheels")
