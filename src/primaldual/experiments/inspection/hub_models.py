"""Models of transformers, from a folder or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from primaldual.errors import ArgumentError, CheckpointError, PrimalDualError, UnsupportedError
from primaldual.experiments.inspection.images import NOISE_NOTE, image_files, noise, opened
from primaldual.experiments.inspection.sentences import texts
from primaldual.experiments.inspection.subject import Subject, first_line, needed, pieces
from primaldual.integrations import hf_attention

LONGEST = 256
"""Tokens of a text that are read; the maps of a layer grow with the square."""


def hub_subject(source: str, data: str | None, cases: int, tokenizer: str | None = None) -> Subject:
    """A transformers model without the head of its task, with texts or images as it takes them.

    Raises:
        CheckpointError: no model there that can be loaded, or no tokenizer or image processor beside it.
        DataError: no texts or images.
        UnsupportedError: transformers is not installed, or a model of something else.
    """
    transformers = needed("transformers", "transformers")
    with _quiet(transformers):
        model, missing = _load(transformers, source)
        takes = model.main_input_name
        origin = f"{type(model).__name__} of transformers, weights from {source}"
        notes = []
        if missing:
            notes.append(f"{len(missing)} parameters are not in the file and random, such as {missing[0]}.")
        if takes == "input_ids":
            batches, count, words, tokens = _texts(transformers, model, source, tokenizer, data, cases)
            return Subject(source, model, origin, batches, count, words, tokens, tuple(notes))
        if takes == "pixel_values":
            if tokenizer is not None:
                raise ArgumentError(f"tokenizer is for models of texts; {source} takes images")
            batches, count, words = _images(transformers, model, source, data, cases)
            notes += [NOISE_NOTE] if data is None else []
            return Subject(source, model, origin, batches, count, words, notes=tuple(notes))
    raise UnsupportedError(
        f"model {source} takes {takes}; models of texts (input_ids) and images (pixel_values) are accepted"
    )


def _load(transformers: Any, source: str) -> tuple[Any, list[str]]:
    """The model, and the parameters that its file lacks."""
    place = "it" if Path(source).is_dir() else "no folder here, and from the Hugging Face hub it"
    with _one_line(f"model {source}: {place}"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        load = transformers.AutoModel.from_pretrained
        if Path(source).is_dir() and hf_attention.is_converted(source, trust_remote_code=False):
            load = partial(hf_attention.from_pretrained, transformers.AutoModel)
        model, loading = load(source, dtype=torch.float32, trust_remote_code=False, output_loading_info=True)
    return model, sorted(loading["missing_keys"])


def _texts(
    transformers: Any, model: Any, source: str, own: str | None, data: str | None, cases: int
) -> tuple[list[Any], int, str, tuple[str, ...]]:
    """Batches of texts of the same length: without padding, whose outputs would count as a change."""
    chosen, words = texts(data, cases)
    lacking = CheckpointError(
        f"model {source}: there is no tokenizer beside it; --tokenizer names another place"
    )
    if own is None and Path(source).is_dir() and not _has_tokenizer(Path(source)):
        raise lacking
    place = f"model {source}: the tokenizer beside it" if own is None else f"tokenizer {own}: it"
    with _one_line(place):
        tokenizer = transformers.AutoTokenizer.from_pretrained(own or source, trust_remote_code=False)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):  # made up where there is no file
        if own is not None:
            raise CheckpointError(f"tokenizer {own}: there is no tokenizer in this place")
        raise lacking
    limit = min(
        LONGEST, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", LONGEST)
    )
    lengths = [len(ids) for ids in tokenizer(chosen)["input_ids"]]
    cut = sum(length > limit for length in lengths)
    words += f", {cut} of them cut to {limit} tokens" if cut else ""
    batches = []
    for length in dict.fromkeys(min(length, limit) for length in lengths):
        alike = [text for text, its in zip(chosen, lengths, strict=True) if min(its, limit) == length]
        for piece in pieces(alike):
            batch = dict(tokenizer(list(piece), truncation=True, max_length=limit, return_tensors="pt"))
            if model.config.is_encoder_decoder:
                batch["decoder_input_ids"] = batch["input_ids"]
            batches.append(batch)
    return batches, len(chosen), words, tuple(tokenizer.convert_ids_to_tokens(batches[0]["input_ids"][0]))


def _has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a file of any kind of tokenizer."""
    begins, ends = ("tokenizer", "vocab", "merges"), (".model", ".tiktoken")
    return any(file.name.startswith(begins) or file.name.endswith(ends) for file in folder.iterdir())


def _images(
    transformers: Any, model: Any, source: str, data: str | None, cases: int
) -> tuple[list[Any], int, str]:
    config = model.config
    if data is None:
        size = getattr(config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        batches, words = noise(cases, getattr(config, "num_channels", 3), height, width)
        return [{"pixel_values": batch} for batch in batches], cases, words
    files, words = image_files(data, cases)
    needed("torchvision", "vision")
    with _one_line(f"model {source}: the image processor beside it"):
        processor = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
    read = [
        {"pixel_values": processor([opened(path) for path in piece], return_tensors="pt")["pixel_values"]}
        for piece in pieces(files)
    ]
    return read, len(files), words


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Errors of transformers, which are long and of many kinds, as one of ours."""
    try:
        yield
    except PrimalDualError:
        raise
    except Exception as error:
        raise CheckpointError(f"{what} cannot be loaded ({first_line(error)})") from None


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars and notes of transformers, which would stand between ours."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
