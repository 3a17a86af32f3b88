"""transformers tokenizers for training: train, load and save them so that they agree with the engines' encoder.

`train_tokenizer` makes a small byte-level BPE: each digit is a token, a newline with its indentation is one, words are never
joined. A text encodes to the same tokens whole or cut where the solver cuts it: after the header, before and after an
output block, after the opening of the forced box.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.dialects.tokenizer_check import auto_tokenizer
from sctir_kaggle.dialects.tokenizer_files import TokenizerFiles
from sctir_kaggle.types import EngineError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"

SPLIT = r"\d|(?<!output)\n *|(?<!:) [A-Za-z]+|[A-Za-z]+|(?<!:) [^\sA-Za-z\d]+|[^\sA-Za-z\d]+|\s"
"""Blanks join the next word, except where the solver may cut: after "Solution:" and after "output"."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '### Problem: ' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ '### Solution: ' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Solution: ' }}{% endif %}"
)
"""NuminaMath's."""


def train_tokenizer(texts: Iterable[str], *, size: int, context: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of `size` tokens for a model with `context` positions. It puts BOS before every text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    bos = (BOS, bpe.token_to_id(BOS))
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[bos])
    fast: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = fast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    return tokenizer


def load_transformers_tokenizer(model: str | Path, *, chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Load a checkpoint's tokenizer, a folder or owner/name on the Hub; it gives the same ids as the engines' encoder.

    It is `AutoTokenizer`'s where that is right, else built from tokenizer.json with the config's special tokens. A BOS that
    the config asks for and transformers 5 forgets is added. `chat_template` replaces the checkpoint's own. Raises
    `UserError` where there is no usable tokenizer.
    """
    with checkpoint_errors(model):
        ours = Tokenizer.load(model)
        tokenizer: PreTrainedTokenizerFast = _of_file(ours) if ours.notice else auto_tokenizer(ours.files)
    if ours.bos and encoder_of(tokenizer).bos != ours.bos:
        from tokenizers import processors

        bos = ours.files.special["bos_token"]
        front: Any = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, ours.bos[0])])
        tokenizer.backend_tokenizer.post_processor = front
        _ENCODERS.pop(tokenizer)  # made from the tokenizer as it was before
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


@contextmanager
def checkpoint_errors(model: str | Path) -> Iterator[None]:
    """Turn the errors of loading `model`, of which transformers has many kinds, into a `UserError` of one line."""
    try:
        yield
    except (EngineError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"cannot load {model}: {reason}; model is a checkpoint's folder, or owner/name") from None


def _of_file(ours: Tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer made of tokenizer.json, whatever class the config names."""
    from transformers import PreTrainedTokenizerFast

    kept = ("model_max_length", "padding_side", "truncation_side")
    options = {name: ours.files.config[name] for name in kept if name in ours.files.config}
    fast: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = fast(
        tokenizer_file=str(ours.files.vocabulary),
        clean_up_tokenization_spaces=False,
        chat_template=ours.chat_template,
        **ours.files.special,
        **options,
    )
    return tokenizer


_ENCODERS: WeakKeyDictionary[Any, Tokenizer] = WeakKeyDictionary()


def encoder_of(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The engines' encoder over a tokenizer in memory; cached."""
    if tokenizer not in _ENCODERS:
        from tokenizers import Tokenizer as Raw

        raw = Raw.from_str(tokenizer.backend_tokenizer.to_str())
        raw.no_truncation()
        raw.no_padding()
        special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        template: Any = tokenizer.chat_template
        templates = {"default": template} if isinstance(template, str) else dict(template or {})
        folder = Path(tokenizer.name_or_path or ".")
        _ENCODERS[tokenizer] = Tokenizer(raw, TokenizerFiles(folder, {}, special, templates, frozenset()))
    return _ENCODERS[tokenizer]


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Save to `output` under a class name that transformers 4, 5 and vLLM know; load it again to check.

    Raises `UserError` where it came back different.
    """
    tokenizer.save_pretrained(output)
    file = output / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name in ("backend", "is_local", "local_files_only"):  # what transformers 5 adds of how it was loaded
        config.pop(name, None)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    try:
        found = ", ".join(_differences(tokenizer, Tokenizer.load(output)))
    except EngineError as error:
        found = str(error)
    if found:
        raise UserError(f"the tokenizer in {output} came back different ({found}): copy the original's files there")


def _differences(tokenizer: PreTrainedTokenizerFast, saved: Tokenizer) -> Iterator[str]:
    """How the saved tokenizer differs, in words."""
    encoder = encoder_of(tokenizer)
    if saved.notice:
        yield saved.notice
    if saved.fingerprint != encoder.fingerprint:
        yield "its tokenizer.json has other tokens or rules"
    if saved.bos != encoder.bos:
        yield f"in front of a text stands {list(saved.bos)}, it was {list(encoder.bos)}"
    for name, token in tokenizer.special_tokens_map.items():
        if isinstance(token, str) and saved.files.special.get(name) != token:
            yield f"{name} is {saved.files.special.get(name)}, it was {token}"
    if saved.chat_template != tokenizer.chat_template:
        yield "another chat template"
