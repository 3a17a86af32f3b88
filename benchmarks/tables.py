"""A table into a file: between the markers of the benchmark that made it, `<!-- benchmarks.NAME -->` and `<!-- end -->`."""

from __future__ import annotations

from pathlib import Path

from sctir_kaggle.types import UserError

END = "<!-- end -->"


def publish(file: Path, benchmark: str, table: str) -> None:
    """Replace that benchmark's table in `file`; other tables stay. `UserError` where its markers are not there."""
    start, text = f"<!-- benchmarks.{benchmark} -->\n", file.read_text(encoding="utf-8")
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise UserError(f"{file} has no place for this table: write {start.strip()} and {END} where it belongs")
    file.write_text(f"{before}{start}{table}\n{END}{after}", encoding="utf-8")
