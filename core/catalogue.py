"""The models on offer, one line a model, on three shelves: on board, from the Hub, and a visitor's own."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import UnknownModel


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Where a model is and what it is for."""

    name: str  # as the API takes it
    tasks: tuple[str, ...]  # the tabs that offer it; the first one is its own
    repo: str  # a folder of the project, owner/name on the Hub, or a folder of this machine
    auto: str = ""  # the class of Transformers that loads it; "": what its configuration says
    languages: tuple[str, ...] = ("en",)
    shelf: str = "board"  # "board", "hub" or "folder"
    revision: str = ""  # of a Hub model: 40 digits; else a name, resolved when it is first fetched
    title: str = ""  # its name in menus; on board it has one in every language, in demos/words
    parameters: int = 0  # of a Hub model, in millions
    megabytes: int = 0  # to be fetched, about
    licence: str = ""
    key: str = ""  # of a Hub model that its visitor alone may have: see core.hub. Its name ends in "@" and this key
    bits: int = 0  # a weight of its linear layers is squeezed to; 0: as it comes. Its name ends in "@8" or "@4"


CATALOGUE = (
    ModelCard("english", ("masking", "attention"), "weights/english", "AutoModelForMaskedLM"),
    ModelCard("storyteller", ("generation", "attention"), "weights/storyteller", "AutoModelForCausalLM"),
    ModelCard("english-sentiment", ("sentiment", "attention"), "weights/english", "AutoModelForSequenceClassification"),
    ModelCard("shapes", ("vqa",), "weights/shapes", "AutoModelForVisualQuestionAnswering"),
    ModelCard("chinese", ("masking", "attention"), "weights/chinese", "AutoModelForMaskedLM", ("zh",)),
    ModelCard("poet", ("generation", "attention"), "weights/poet", "AutoModelForCausalLM", ("zh",)),
    ModelCard(
        "chinese-sentiment", ("sentiment", "attention"), "weights/chinese", "AutoModelForSequenceClassification", ("zh",)
    ),
    # From the Hub, small to large in each task; every one has its weights as safetensors at that revision.
    ModelCard(
        "gpt2", ("generation", "attention"), "openai-community/gpt2", "AutoModelForCausalLM", ("en",), "hub",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e", "GPT-2", 124, 551, "mit",
    ),
    ModelCard(
        "smollm2", ("generation", "attention"), "HuggingFaceTB/SmolLM2-135M-Instruct", "AutoModelForCausalLM", ("en",),
        "hub", "12fd25f77366fa6b3b4b768ec3050bf629380bac", "SmolLM2 135M Instruct", 135, 273, "apache-2.0",
    ),
    ModelCard(
        "qwen3", ("generation", "attention"), "Qwen/Qwen3-0.6B", "AutoModelForCausalLM", ("en", "zh"), "hub",
        "c1899de289a04d12100db370d81485cdf75e47ca", "Qwen3 0.6B", 596, 1519, "apache-2.0",
    ),
    ModelCard(
        "bert", ("masking", "attention"), "google-bert/bert-base-uncased", "AutoModelForMaskedLM", ("en",), "hub",
        "86b5e0934494bd15c9632b12f734a8a67f723594", "BERT base", 110, 441, "apache-2.0",
    ),
    ModelCard(
        "modernbert", ("masking", "attention"), "answerdotai/ModernBERT-base", "AutoModelForMaskedLM", ("en",), "hub",
        "8949b909ec900327062f0ebf497f51aef5e6f0c8", "ModernBERT base", 150, 601, "apache-2.0",
    ),
    ModelCard(
        "bert-chinese", ("masking", "attention"), "google-bert/bert-base-chinese", "AutoModelForMaskedLM", ("zh",),
        "hub", "8f23c25b06e129b6c986331a13d8d025a92cf0ea", "BERT base Chinese", 103, 412, "apache-2.0",
    ),
    ModelCard(
        "xlm-roberta", ("masking", "attention"), "FacebookAI/xlm-roberta-base", "AutoModelForMaskedLM", ("en", "zh"),
        "hub", "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089", "XLM-RoBERTa base", 278, 1130, "mit",
    ),
    ModelCard(
        "distilbert-sst2", ("sentiment", "attention"), "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        "AutoModelForSequenceClassification", ("en",), "hub",
        "714eb0fa89d2f80546fda750413ed43d93601a13", "DistilBERT SST-2", 67, 268, "apache-2.0",
    ),
    ModelCard(  # on "main" there is only a pickle; this revision is the Hub's own conversion of it to safetensors
        "twitter-roberta", ("sentiment", "attention"), "cardiffnlp/twitter-roberta-base-sentiment-latest",
        "AutoModelForSequenceClassification", ("en",), "hub",
        "1c1bc20bd9f2abda61d461b6e031c570eb4c098b", "Twitter RoBERTa", 125, 502, "cc-by-4.0",
    ),
    ModelCard(
        "multilingual-sentiment", ("sentiment", "attention"),
        "lxyuan/distilbert-base-multilingual-cased-sentiments-student", "AutoModelForSequenceClassification",
        ("en", "zh"), "hub", "cf991100d706c13c0a080c097134c05b7f436c45",
        "DistilBERT multilingual sentiment", 135, 545, "apache-2.0",
    ),
    ModelCard(
        "erlangshen", ("sentiment", "attention"), "IDEA-CCNL/Erlangshen-Roberta-330M-Sentiment",
        "AutoModelForSequenceClassification", ("zh",), "hub",
        "77c2e5295aa3112d29fdaa53a3904bad467c8777", "Erlangshen RoBERTa 330M", 326, 1302, "apache-2.0",
    ),
    ModelCard(  # as with twitter-roberta
        "vilt", ("vqa",), "dandelin/vilt-b32-finetuned-vqa", "AutoModelForVisualQuestionAnswering", ("en",), "hub",
        "refs/pr/9", "ViLT VQA", 118, 472, "apache-2.0",
    ),
    ModelCard(
        "smolvlm", ("vqa",), "HuggingFaceTB/SmolVLM-256M-Instruct", "AutoModelForImageTextToText", ("en",), "hub",
        "7e3e67edbbed1bf9888184d9df282b700a323964", "SmolVLM 256M Instruct", 256, 518, "apache-2.0",
    ),
    ModelCard(
        "blip", ("vqa",), "Salesforce/blip-vqa-base", "AutoModelForVisualQuestionAnswering", ("en",), "hub",
        "787b3d35d57e49572baabd22884b3d5a05acf072", "BLIP VQA base", 385, 1540, "bsd-3-clause",
    ),
    ModelCard(
        "qwen3-vl", ("vqa",), "Qwen/Qwen3-VL-2B-Instruct", "AutoModelForImageTextToText", ("en", "zh"), "hub",
        "89644892e4d85e24eaac8bacfd4f463576704203", "Qwen3-VL 2B Instruct", 2128, 4267, "apache-2.0",
    ),
)  # fmt: skip
SHELVES = ("board", "hub", "folder")

ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")  # owner/name
KEY = re.compile("[0-9a-f]{32}")
LOOPBACK = ("", "127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Own:
    """Which models of their own visitors may bring."""

    hub: bool  # by their Hub id
    folder: Path | None  # below which theirs are; Path("/") where any folder will do; None for no folder


def own() -> Own:
    """Return what `GLASSBOX_OWN_MODELS` allows: hub, folder:/path, both, none. Unset: both on a private machine, else none.

    Raises ValueError, at the start of the app, for anything else.
    """
    asked = os.environ.get("GLASSBOX_OWN_MODELS", "").strip() or ("none" if is_public() else "both")
    if asked.startswith("folder:") and asked != "folder:":
        return Own(False, Path(asked.removeprefix("folder:")).expanduser().resolve())
    known = {"none": Own(False, None), "hub": Own(True, None), "both": Own(True, Path("/"))}
    if asked not in known:
        raise ValueError(f"GLASSBOX_OWN_MODELS is {asked!r}. Set it to hub, folder:/path, both or none, or unset it.")
    return known[asked]


def is_public() -> bool:
    """Whether others than the owner of this machine may be visiting: on a Space, on the network, or through a share link."""
    shared = os.environ.get("GRADIO_SHARE", "").lower() in ("1", "true")
    return shared or bool(os.environ.get("SPACE_ID")) or os.environ.get("GRADIO_SERVER_NAME", "") not in LOOPBACK


def lends_cards() -> bool:
    """Whether this is a ZeroGPU Space, where a task has a card in a process of its own, and only while it runs."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def offered(task: str, language: str = "en") -> list[str]:
    """Return the names of a tab's models: those on board first, of each shelf those that read `language`, then its own."""

    def place(card: ModelCard) -> tuple[int, bool, int]:
        return SHELVES.index(card.shelf), language not in card.languages, card.tasks.index(task)

    return [card.name for card in sorted((card for card in CATALOGUE if task in card.tasks), key=place)]


def find(name: str, task: str | None = None) -> ModelCard:
    """Return the card of that name: of the catalogue, or made for a visitor's own model where these are allowed.

    A name with "@8" or "@4" behind it is the same model, squeezed to so many bits a weight.
    Raises UnknownModel for a name that is not there, or not for that task; the same for a folder whether it is there or not.
    """
    if isinstance(name, str) and name != (whole := unsqueezed(name)) == unsqueezed(whole):
        return replace(find(whole, task), name=name, bits=int(name[-1]))
    known = {card.name: card for card in CATALOGUE if task is None or task in card.tasks}
    found = known.get(name) or (own_card(name.strip(), task) if isinstance(name, str) and task else None)
    if found is None:
        raise UnknownModel(found=str(name)[:60], known=", ".join(known))
    return found


def unsqueezed(name: str) -> str:
    """Return the name of a model with all its bits."""
    return name.removesuffix("@8").removesuffix("@4")


def own_card(name: str, task: str) -> ModelCard | None:
    """Return the card of a visitor's own model, None for what may not be brought here, or is no folder with a model in it."""
    allowed = own()
    if name.startswith(("/", "~", ".", "folder:")) or name[1:3] == ":\\":
        if allowed.folder is None:
            return None
        typed = name.removeprefix("folder:")
        try:
            path = (allowed.folder / Path(typed).expanduser()).resolve()
            inside = path.is_relative_to(allowed.folder) and (path / "config.json").is_file()
        except (OSError, ValueError, RuntimeError):
            return None
        return ModelCard(name, (task,), str(path), shelf="folder") if inside else None
    repo, _, key = name.partition("@")
    if allowed.hub and ON_HUB.fullmatch(repo) and ".." not in repo and (name == repo or KEY.fullmatch(key)):
        return ModelCard(name, (task,), repo, shelf="hub", revision="main", title=repo, key=key)
    return None
