"""A folder that makes vLLM read a checkpoint's tokenizer as its tokenizer.json says.

vLLM looks for stop strings in text that its own tokenizer wrote, and loads that with transformers. Where the installed one
misreads the files (`Tokenizer.notice`), the file's own fast tokenizer is named as the class, which all of them read rightly.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sctir_kaggle.dialects.tokenizer_files import NAMES, TokenizerFiles


def write_corrected(files: TokenizerFiles, folder: Path) -> None:
    """tokenizer.json as it is, and a config that names the class of the library `tokenizers` and the special tokens."""
    assert files.vocabulary is not None, "only a tokenizer.json is read better than by transformers"
    shutil.copyfile(files.vocabulary, folder / "tokenizer.json")
    special = {name: text for name, text in files.special.items() if name in NAMES}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
