"""A trained network in, a folder of weights out: bfloat16 tensors, tokenizer, and the model card people read."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.loop import RecipeError
from training.sources import SOURCES


def save(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, architectures: list[str] | None = None
) -> None:
    """Write the network, in bfloat16, and its tokenizer: a whole folder or none.

    `architectures` names the classes that read the folder, where they are not the network's own.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        network.to(torch.bfloat16).save_pretrained(part)
        tokenizer.save_pretrained(part)
        if architectures:
            config = json.loads((part / "config.json").read_text()) | {"architectures": architectures}
            (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RecipeError(f"could not write {folder}: {error}. Free some disk and run this again.") from error


def megabytes(folder: Path) -> float:
    """Return the size of a folder's files in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows])


def data_table(names: list[str]) -> str:
    """Return the table of the sets trained on or tested with: what, from where, on what terms."""
    found = [SOURCES[name] for name in names]
    return table(["data", "from", "licence stated there"], [[one.what, one.origin, one.licence] for one in found])


def machine() -> str:
    """Return what the training ran on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"a processor, {torch.get_num_threads()} core{'s' * (torch.get_num_threads() > 1)}"


def write(folder: Path, *, title: str, language: str, task: str, sections: dict[str, str]) -> None:
    """Write the model card: front matter for the Hub, then the sections under their headings, without empty ones."""
    front = f"---\nlicense: apache-2.0\nlanguage: {language}\npipeline_tag: {task}\nlibrary_name: transformers\n---\n"
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items() if text)
    put(folder / "README.md", f"{front}\n# {title}\n\n{body}\n")


def put(path: Path, text: str) -> None:
    """Write a whole file of text or none. Raises RecipeError where that fails."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise RecipeError(f"could not write {path}: {error}. Free some disk and run this again.") from error
