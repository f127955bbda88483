"""Pretrained checkpoints: packages on this machine, local folders, and hub ids that the user named."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cutler.data.scripts import script
from cutler.errors import CheckpointError, MissingPackage, nearest
from cutler.types import Checkpoint

log = logging.getLogger(__name__)

DECODERS = ("llama", "gpt", "qwen", "mistral", "phi", "gemma", "smollm", "falcon", "opt", "bloom", "mpt")
GGUF = ".gguf"
ENDPOINTS = ("http://", "https://")
NAMED: set[str] = set()
"""Addresses of endpoints that the user named in this process; what a bundle or a plan names is not among them."""
SCRIPT_SHARE = 0.005
"""A script counts as covered when at least this share of the vocabulary's letters belongs to it."""


@cache
def packaged() -> Mapping[str, Mapping[str, Any]]:
    """What catalog.toml says, by name."""
    return tomllib.loads((Path(__file__).with_suffix(".toml")).read_text(encoding="utf-8"))


def present() -> list[Checkpoint]:
    """The packaged checkpoints that are installed here; nothing is fetched or imported."""
    return [_packaged(name) for name in packaged() if _package_folder(name) is not None]


def find(name: str) -> Checkpoint:
    """The checkpoint of a catalog name, a local folder or GGUF file, a hub id such as `org/name` (fetched when not
    cached), or an endpoint such as `http://localhost:8000/v1#model`, which is not reached here.

    Raises CheckpointError where there is none, or its config cannot be read; MissingPackage where the package that
    ships it is not installed.
    """
    if name in packaged():
        if _package_folder(name) is None:
            raise MissingPackage(
                f"the package {packaged()[name]['package']} for checkpoint {name!r}", found="it is not installed",
                do="run " + packaged()[name]["install"],
            )  # fmt: skip
        return _packaged(name)
    if name.startswith(ENDPOINTS):
        return _endpoint(name)
    folder = Path(name).expanduser()
    if folder.suffix == GGUF and folder.is_file():
        return read_gguf(folder, name=folder.stem)
    if folder.is_dir():
        return read(folder, name=folder.resolve().name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return replace(read(_from_hub(name), name=name), source=f"https://huggingface.co/{name}")
    raise CheckpointError(
        "a catalog name, a local Hugging Face folder or a hub id like org/name", found=repr(name),
        do=nearest(name, packaged()),
    )  # fmt: skip


def address_of(name: str) -> str:
    """Where an endpoint is, without the model's name behind it."""
    return name.partition("#")[0].rstrip("/")


def note_named(names: Iterable[str]) -> None:
    """Remembers the endpoints among the checkpoints that the user named."""
    NAMED.update(address_of(name) for name in names if name.startswith(ENDPOINTS))


def here(name: str) -> bool:
    """Whether `find` takes a name without asking the hub."""
    place = Path(name).expanduser()
    if place.is_dir():
        return (place / "config.json").is_file() or len(list(place.glob(f"*{GGUF}"))) == 1
    return name in packaged() or name.startswith(ENDPOINTS) or (place.suffix == GGUF and place.is_file())


def _endpoint(name: str) -> Checkpoint:
    url, _, model = name.partition("#")
    if not model.partition("?")[0] or len(url.rstrip("/")) <= len("https://"):
        raise CheckpointError(
            "an endpoint with a model, such as http://localhost:8000/v1#model", found=repr(name),
            do="write the model's name behind a #, as the endpoint knows it",
        )  # fmt: skip
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Checkpoint(name=name, path=name, architecture="endpoint", max_tokens=4096, digest=digest, source=url)


def read(folder: Path, *, name: str) -> Checkpoint:
    """The facts of a Hugging Face folder, or of the one GGUF file that lies in a folder instead.

    Raises CheckpointError where config, tokenizer or weights are missing.
    """
    quantized = sorted(folder.glob(f"*{GGUF}"))
    if len(quantized) == 1 and not (folder / "config.json").is_file():
        return read_gguf(quantized[0], name=name)
    config = _config(folder)
    weights = sorted(folder.glob("*.safetensors"))
    for what, there in {"tokenizer.json": (folder / "tokenizer.json").is_file(), "*.safetensors": weights}.items():
        if not there:
            raise CheckpointError(
                f"{what} in {folder}", found=", ".join(sorted(p.name for p in folder.iterdir())) or "an empty folder",
                do="save it with save_pretrained of a fast tokenizer and of the model (safe_serialization)",
            )  # fmt: skip
    return Checkpoint(
        name=name,
        path=str(folder),
        architecture=_architecture(config),
        scripts=_scripts(folder / "tokenizer.json"),
        max_tokens=_max_tokens(config),
        parameters=sum(path.stat().st_size for path in weights) // 4,
        layers=int(config.get("num_hidden_layers") or config.get("n_layers") or config.get("num_layers") or 0),
        width=int(config.get("hidden_size") or config.get("dim") or config.get("d_model") or 0),
        digest=_digest(weights[0]),
        **_from_card(folder),
    )


def read_gguf(path: Path, *, name: str) -> Checkpoint:
    """The facts of a GGUF file, which are kept in the cache: its header takes seconds to read.

    Raises CheckpointError where it is damaged, or MissingPackage without the package that reads it.
    """
    digest = _digest(path)
    kept = cache_folder() / "gguf" / f"{digest[:32]}.json"
    if not kept.is_file():
        facts = _gguf_facts(path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(facts), encoding="utf-8")
        partial.replace(kept)
    facts = json.loads(kept.read_text(encoding="utf-8"))
    return Checkpoint(name=name, path=str(path), architecture="decoder", scripts=("Latin",), digest=digest, **facts)


def _gguf_facts(path: Path) -> dict[str, int]:
    """Longest input, parameters, layers and width, from the header of a GGUF file."""
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise MissingPackage("the package gguf to read a GGUF file", found="it is not installed",
                             do="run pip install 'cutler[train]'") from error  # fmt: skip
    try:
        reader = GGUFReader(str(path))
        kind = str(reader.fields["general.architecture"].contents())
        names = {"max_tokens": "context_length", "layers": "block_count", "width": "embedding_length"}
        facts = {ours: int(reader.fields[f"{kind}.{theirs}"].contents()) for ours, theirs in names.items()}
        tensors = sum(int(tensor.n_elements) for tensor in reader.tensors)
        end = max(int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors)
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise damaged(path, f"{type(error).__name__} {error}"[:200]) from error
    if end > path.stat().st_size:
        raise damaged(path, f"{path.stat().st_size:,} bytes where its header counts {end:,}")
    return {**facts, "parameters": tensors}


def damaged(path: Path, what: str) -> CheckpointError:
    """The error for weights that cannot be read."""
    return CheckpointError(f"a whole {path.suffix[1:]} file at {path}", found=what,
                           do="download or copy it again, and compare the sizes")  # fmt: skip


def cache_folder() -> Path:
    """Where what is derived from checkpoints is kept: `CUTLER_CACHE`, or cutler's folder in the user's cache."""
    named = os.environ.get("CUTLER_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutler"
    return Path(named).expanduser() if named else usual


def _from_card(folder: Path) -> dict[str, Any]:
    """Licence, languages and source that `cutler pretrain` noted: those of the checkpoint that was gone on from."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(card, dict) or card.get("kind") != "pretraining":
        return {}
    return {"licence": str(card["licence"]), "languages": tuple(card["languages"]), "source": str(card["source"])}


def _packaged(name: str) -> Checkpoint:
    facts = packaged()[name]
    folder = _package_folder(name)
    assert folder is not None
    shape = facts.get("shape")
    found = _shaped(folder, name, shape) if shape else read(folder, name=name)
    return replace(
        found, licence=facts["licence"], languages=tuple(facts["languages"]), source=facts["source"]
    )


def _shaped(folder: Path, name: str, shape: Mapping[str, Any]) -> Checkpoint:
    """A packaged GGUF file, whose shape is known without reading its header."""
    (path,) = folder.glob(f"*{GGUF}")
    return Checkpoint(name=name, path=str(path), architecture="decoder", scripts=("Latin",), digest=_digest(path),
                      **shape)  # fmt: skip


def _package_folder(name: str) -> Path | None:
    facts = packaged()[name]
    spec = importlib.util.find_spec(facts["package"])
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / facts["folder"] if places else None


@cache
def _from_hub(name: str) -> Path:
    """The folder of a hub id in the hub's cache, fetched where it is not there; asked once a process."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "the package huggingface_hub to read a hub id", found="it is not installed",
            do="run pip install 'cutler[train]'",
        ) from error  # fmt: skip
    try:
        wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"the hub id {name!r} on the hub or in its cache",
            found=f"it could not be fetched ({type(error).__name__})",
            do="check the spelling and the network, or give a local folder",
        ) from error  # fmt: skip


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"a readable config.json in {folder}", found=str(error), do="give a folder that save_pretrained wrote"
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise CheckpointError(
            f"a config.json with model_type in {folder}", found=f"{str(config)[:80]}",
            do="give a folder that save_pretrained wrote",
        )  # fmt: skip
    return config


def _architecture(config: Mapping[str, Any]) -> Literal["encoder", "decoder", "encoder-decoder"]:
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    causal = any(str(kind).endswith("ForCausalLM") for kind in config.get("architectures") or ())
    decodes = causal or config.get("is_decoder") or any(config["model_type"].startswith(kind) for kind in DECODERS)
    return "decoder" if decodes else "encoder"


def _max_tokens(config: Mapping[str, Any]) -> int:
    positions = config.get("max_position_embeddings") or config.get("n_positions") or 512
    shifted = config["model_type"] in ("roberta", "xlm-roberta", "camembert", "mpnet")  # positions start at 2
    return int(positions) - (2 if shifted else 0)


@cache
def _scripts(tokenizer: Path) -> tuple[str, ...]:
    try:
        vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"].get("vocab", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"a readable tokenizer.json in {tokenizer.parent}", found=f"{type(error).__name__} {error}",
            do="save it with save_pretrained of a fast tokenizer",
        ) from error  # fmt: skip
    pieces = [piece if isinstance(piece, str) else piece[0] for piece in vocabulary]
    # a byte-level vocabulary spells other scripts in bytes that look like Latin letters: only Latin is claimed then
    letters = Counter(script(char) for piece in pieces for char in piece if char.isalpha())
    total = sum(letters.values()) or 1
    return tuple(name for name, count in letters.most_common() if count / total >= SCRIPT_SHARE)


@cache
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
