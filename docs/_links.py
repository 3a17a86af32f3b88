"""MkDocs hook: links from a page to files outside of docs/ lead to the repository, or become text where it has no address."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_OUTSIDE = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)\s]*)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Called by MkDocs with the source of each page."""
    folder = posixpath.dirname(posixpath.join("docs", page.file.src_uri))
    repository = (config.get("repo_url") or "").rstrip("/")

    def led(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["target"]))
        if path.startswith("docs/"):
            return link[0]
        return f"[{link['text']}]({repository}/blob/main/{path})" if repository else link["text"]

    return _OUTSIDE.sub(led, markdown)
