"""The `sctir` commands that lead to a score at Kaggle: fetch, wheels, upload, push, submit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.options import positive, seconds

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Commands) -> None:
    """Add each command with its arguments and the function that runs it."""
    _add_fetch(commands.add_parser("fetch", help="fetch a checkpoint from the Hugging Face Hub and check every hash"))
    _add_wheels(commands.add_parser("wheels", help="make the data sets of wheels that the offline notebook needs"))
    _add_upload(commands.add_parser("upload", help="upload wheels and checkpoint to Kaggle, unless they are there"))
    _add_push(commands.add_parser("push", help="build, check and push the notebook, follow its run, fetch its outputs"))
    _add_submit(commands.add_parser("submit", help="submit the version that ran, once, and follow its score"))


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("repository", metavar="OWNER/NAME", help="of the model, as on its page: AI-MO/NuminaMath-7B-TIR-GPTQ")
    add("--output", type=Path, metavar="DIR", help="default: runs/NAME")
    add("--revision", metavar="R", help="a branch, a tag or a commit; default: the newest")
    add("--dry-run", action="store_true", help="only say what would be fetched")
    parser.set_defaults(command=fetch, name="fetch")


def fetch(args: argparse.Namespace, _: float) -> int:
    """Fetch a checkpoint from the Hub."""
    from sctir_kaggle.kaggle.fetch import fetch as fetch_checkpoint

    output = args.output or Path("runs", args.repository.rpartition("/")[2])
    fetch_checkpoint(args.repository, output, revision=args.revision, dry_run=args.dry_run)
    if not args.dry_run:
        print(f"next: sctir doctor --model {output}; to Kaggle: sctir upload --model {output}")
    return 0


def _add_wheels(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--image",
        metavar="FILE",
        help="pip freeze of the image, the notebook's image.txt, a snapshot's name, or none: ship everything",
    )
    add("--python", metavar="X.Y", help="of Kaggle's image, 3.10 to 3.13; default: the image's, 3.12 without one")
    add("--requirements", type=Path, default=Path("requirements.txt"), metavar="FILE", help="(%(default)s)")
    add("--pin", action="append", default=[], metavar="NAME==VERSION", help="in place of its line in the requirements")
    add(
        "--ship",
        action="append",
        default=[],
        metavar="NAME",
        help="ship it although the image has it; torch stands for everything built with CUDA",
    )
    add(
        "--output",
        type=Path,
        default=Path("runs", "wheels"),
        metavar="DIR",
        help="a new folder, or one to continue in (%(default)s)",
    )
    add("--update", action="store_true", help="resolve again; wheels that stay are not downloaded again")
    add("--owner", metavar="NAME", help="your Kaggle name; default: filled in by the upload")
    add("--dry-run", action="store_true", help="only say what would be downloaded, and its size")
    add("--check", type=Path, metavar="DIR", help="only check the wheels in DIR")
    add(
        "--cpython",
        nargs="?",
        const="",
        metavar="DIR",
        help="for AIMO-1: also pack a CPython 3.10, which its module needs; default: one that uv finds or installs",
    )
    parser.set_defaults(command=wheels, name="wheels")


def wheels(args: argparse.Namespace, _: float) -> int:
    """Make, preview or check the wheelhouse."""
    from sctir_kaggle.kaggle.wheels import build, python310

    _log_to_stdout()
    python = args.python or (None if args.image else _python_of_image(Path()))
    options = build.WheelOptions(
        requirements=args.requirements, image=args.image, python=python, ship=args.ship, pins=args.pin
    )
    # Before the long work: --cpython DIR must exist. Without DIR uv may install one, which a dry run must not do.
    packed = args.cpython is not None and not args.check
    named = Path(args.cpython) if args.cpython else None
    interpreter = python310.interpreter_of(named) if packed and (named or not args.dry_run) else None
    if args.dry_run:
        if packed:
            place = interpreter or "uv finds it"
            print(f"a CPython 3.10 with pandas, about 45 MB, would be packed for AIMO-1: {place}")
        resolution = build.preview(options)
        print(*build.summary(resolution, options.target()), sep="\n")
        print(*build.listed(resolution.wheels), sep="\n")
        return 0
    if args.check:
        folders = build.dataset_folders(args.check)
        build.verify(folders, args.requirements, python)
    else:
        folders = build.make(options, args.output, owner=args.owner, update=args.update)
    if interpreter is not None:
        place = python310.pack(args.output, interpreter, owner=args.owner)
        size = sum(file.stat().st_size for file in place.iterdir())
        print(f"{place}: a CPython 3.10 for AIMO-1, {size / 1e6:,.1f} MB")
    for folder in folders:
        sizes = [wheel.stat().st_size for wheel in folder.glob("*.whl")]
        print(f"{folder}: {len(sizes)} wheels, {sum(sizes) / 1e6:,.1f} MB, whole")
    if not args.check:
        print(f"next: sctir upload --wheels {args.output}")
    return 0


def _python_of_image(checkout: Path) -> str | None:
    """The Python of the image that kernel-metadata.json names; None if there is no such file or no image in it."""
    from sctir_kaggle.kaggle import metadata

    path = checkout / metadata.FILE
    document = metadata.read(path) if path.is_file() else {}
    return metadata.image_python(document) if document.get("docker_image") else None


def _add_account(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--path", type=Path, default=Path(), metavar="DIR", help="where kernel-metadata.json is (here)")
    add("--owner", metavar="NAME", help="your Kaggle name; default: KAGGLE_USERNAME, or the one you are logged in with")
    add("--dry-run", action="store_true", help="check everything, up to the first request")
    add("--poll", type=seconds, default=20.0, metavar="TIME", help="between two looks at Kaggle (%(default)s s)")


def _account(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Account`."""
    return {"checkout": args.path, "owner": args.owner, "poll": args.poll, "dry_run": args.dry_run}


def _add_upload(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    add = parser.add_argument
    add("--wheels", type=Path, metavar="DIR", help="what `sctir wheels` made: any number of data sets")
    add("--model", type=Path, metavar="DIR", help="a checkpoint's folder, as `sctir fetch` leaves it")
    add("--license", default="Apache 2.0", metavar="NAME", help="of the model, in Kaggle's words (%(default)s)")
    add("--output", type=Path, metavar="DIR", help="links that the client is given; default: runs/upload")
    parser.set_defaults(command=upload, name="upload")


def upload(args: argparse.Namespace, _: float) -> int:
    """Upload wheels and checkpoint, unless they are at Kaggle."""
    from sctir_kaggle.kaggle import upload as uploading
    from sctir_kaggle.kaggle.staging import STAGED

    _log_to_stdout()
    options = uploading.Upload(
        **_account(args), wheels=args.wheels, model=args.model, licence=args.license, staged=args.output or STAGED
    )
    uploading.upload(options)
    return 0


def _add_push(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    add = parser.add_argument
    add("--wheels", type=Path, metavar="DIR", help="first `sctir upload --wheels DIR`")
    add("--upload-model", type=Path, metavar="DIR", help="first `sctir upload --model DIR`")
    add("--competition", metavar="NAME", help="a name such as aimo3: for the metadata, the machine, and the notebook")
    add("--preset", metavar="NAME", help="a preset, for the notebook's cell")
    add("--set", action="append", default=[], dest="pairs", metavar="NAME=VALUE", help="any setting, for the cell")
    add("--config", type=Path, action="append", default=[], metavar="FILE", help="settings in TOML, for the cell")
    add("--again", action="store_true", help="push although the newest version at Kaggle is the same")
    add("--no-follow", action="store_true", help="do not wait for the run")
    add("--submit", action="store_true", help="submit the version once its run is complete, and follow the score")
    _add_submission(parser)
    add("--output", type=Path, metavar="DIR", help="what is pushed and what comes back; default: below runs/")
    parser.set_defaults(command=push, name="push")


def push(args: argparse.Namespace, _: float) -> int:
    """Go from this checkout to a complete run at Kaggle."""
    from sctir_kaggle.kaggle import push as pushing

    _log_to_stdout()
    options = pushing.Push(
        **_account(args),
        **_submission(args),
        wheels=args.wheels,
        model=args.upload_model,
        folder=args.output or pushing.new_folder(),
        follow=not args.no_follow,
        submit=args.submit,
        settings=_cell_settings(args),
    )
    return _exit_code(lambda: pushing.push(options))


def _cell_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings for the notebook's cell, checked as the notebook will check them. Raises `UserError`."""
    from sctir_kaggle.settings import Layer, resolve, set_layer, toml_layer

    typed = {name: value for name in ("competition", "preset") if (value := getattr(args, name))}
    layers = [*map(toml_layer, args.config), set_layer(args.pairs), Layer("command line", typed)]
    run = resolve(layers)
    chosen = {name: value for layer in layers for name, value in layer.values.items()}
    # `answers` stands for three settings and has no value of its own in the resolved run.
    values = {name: run.value(name) for name in chosen if name != "answers"}
    return {**({"answers": chosen["answers"]} if "answers" in chosen else {}), **values}


def _add_submit(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    add = parser.add_argument
    add("--kernel-version", type=positive, metavar="N", help="of the notebook; default: the newest")
    add("--again", action="store_true", help="submit although this version was submitted already")
    _add_submission(parser)
    add("--output", type=Path, metavar="DIR", help="log and outputs of its run; default: below runs/")
    parser.set_defaults(command=submit, name="submit")


def submit(args: argparse.Namespace, _: float) -> int:
    """Submit the version that ran, and follow its score."""
    from sctir_kaggle.kaggle import submit as submitting

    _log_to_stdout()
    options = submitting.Submit(**_account(args), **_submission(args), version=args.kernel_version, folder=args.output)
    return _exit_code(lambda: submitting.submit(options))


def _add_submission(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--message", metavar="TEXT", help="description of the submission; the version is added to it")
    add("--submit-anyway", action="store_true", help="submit although the journal says that the run is not worth it")


def _submission(args: argparse.Namespace) -> dict[str, Any]:
    """The fields that `Submission` adds to `Account`."""
    return {"message": args.message, "again": args.again, "anyway": args.submit_anyway}


def _exit_code(run: Callable[[], None]) -> int:
    """1, with a red line in a terminal, if a run at Kaggle failed or is not worth a submission."""
    from sctir_kaggle.display import print_failure
    from sctir_kaggle.kaggle.versions import NotGreen

    try:
        run()
    except NotGreen as error:
        print_failure(f"sctir: {error}")
        return 1
    return 0


def _log_to_stdout() -> None:
    """Show retries and waiting among the results."""
    from sctir_kaggle.display import setup_logging

    setup_logging()
