"""Which of Transformers' architectures Glassbox reads: each built tiny, at random, and held against its own eager attention.

`python -m benchmarks.architectures [--quick]`. Nothing is downloaded. An architecture that cannot be built from the few sizes
given here, or whose eager attention shows no weights, says nothing about Glassbox and is counted apart.
"""

import argparse
import inspect
import tempfile
import warnings
from collections import Counter

import torch
import transformers
from transformers.models.auto import modeling_auto

from benchmarks.report import bar, report
from core import attention, layers
from core.attention import Wanted
from core.errors import VisitorError

KINDS = {
    "writers": ("AutoModelForCausalLM", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    "readers": ("AutoModelForMaskedLM", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    "encoders with a decoder": ("AutoModelForSeq2SeqLM", modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
}
QUICK = (
    "gpt2",
    "llama",
    "mistral",
    "gemma3_text",
    "gpt_oss",
    "bloom",
    "bert",
    "distilbert",
    "modernbert",
    "deberta-v2",
    "t5",
    "bart",
)
TOKENS, VOCABULARY = 12, 97
EQUAL, ALIKE = 1e-5, 1e-4  # of a weight: what is further apart is not rounding
LOUD = 2  # times: random networks look everywhere alike
PARAMETERS = 8_000_000  # what is larger did not take the sizes
LAYERS, HEADS, SIZE = 3, 4, 32
ONES = dict.fromkeys(
    ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers"), LAYERS
)
ONES |= dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), HEADS)
ONES |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS)
ONES |= dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size", "word_embed_proj_dim"), SIZE)
ONES |= dict.fromkeys(
    ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "hidden_dim", "d_inner"), 48
)
ONES |= dict.fromkeys(("head_dim", "d_kv", "d_head"), SIZE // HEADS)
ONES |= dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 64)
ONES |= dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 2)
ONES |= {"num_experts_per_tok": 1, "moe_intermediate_size": 16, "rotary_dim": 4, "sliding_window": 4}
ONES |= {"vocab_size": VOCABULARY, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def build(auto: str, kind: str) -> transformers.PreTrainedModel | None:
    """Return a tiny random network of an architecture, None where it does not take the sizes."""
    config_class = transformers.CONFIG_MAPPING[kind]
    taken = set(inspect.signature(config_class.__init__).parameters) | set(config_class.attribute_map)
    taken |= {name for parent in config_class.__mro__ for name in vars(parent).get("__annotations__", ())}
    make = getattr(transformers, auto).from_config
    try:
        config = config_class(**{name: size for name, size in ONES.items() if name in taken})
        with torch.device("meta"):
            if sum(weight.numel() for weight in make(config).parameters()) > PARAMETERS:
                return None
        torch.manual_seed(0)
        network = make(config).eval()
    except Exception:  # any of four hundred configurations may refuse the sizes in a way of its own
        return None
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.mul_(LOUD)
    return network


def inputs_for(auto: str) -> dict[str, torch.Tensor]:
    """Return what a network is called with."""
    torch.manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (1, TOKENS))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs | ({"decoder_input_ids": ids[:, :5]} if auto == "AutoModelForSeq2SeqLM" else {})


@torch.inference_mode()
def try_out(auto: str, network: transformers.PreTrainedModel) -> dict[str, str]:
    """Say how a network is read: its weights beside eager's, the lens, and whether silencing a layer is heard."""
    inputs, part = inputs_for(auto), "encoder" if auto == "AutoModelForSeq2SeqLM" else "text"
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        kinds = (attention.implementation_for(type(network)), "eager")
        ours, eager = (type(network).from_pretrained(folder, attn_implementation=kind).eval() for kind in kinds)
    shown = eager(**inputs, output_attentions=True)
    true = shown.get("encoder_attentions" if part == "encoder" else "attentions")
    true = [weights for weights in true or () if weights is not None]
    if not true:
        return {"weights": "eager shows none"}
    extras = {} if kinds[0] == attention.NAME else {"output_attentions": True}
    with attention.watch(ours, record=Wanted(part)) as probe:
        logits = ours(**inputs, **extras).logits
    with attention.watch(ours, record=Wanted(part)) as probe:
        logits = ours(**inputs, **extras).logits
    found = {"weights": compare(probe.weights, true), "way": "interface" if kinds[0] == attention.NAME else "eager"}
    if part == "text":
        found["lens"] = read_lens(ours, inputs, logits)
    found["answer"] = "equal" if torch.allclose(logits, shown.logits, atol=1e-3, rtol=1e-3) else "apart"
    found["silencing"] = silence(ours, {**inputs, **extras}, part, logits)
    return found


def silence(network: transformers.PreTrainedModel, inputs: dict, part: str, logits: torch.Tensor) -> str:
    """Return whether silencing the first layer changes what a network says."""
    try:
        with attention.watch(network, Wanted(part, layers=()), frozenset((0, head) for head in range(HEADS))):
            return "not heard" if torch.equal(network(**inputs).logits, logits) else "heard"
    except VisitorError:
        return "refused"


def read_lens(network: transformers.PreTrainedModel, inputs: dict[str, torch.Tensor], logits: torch.Tensor) -> str:
    """Return whether the last layer of the lens says what the network says."""
    try:
        said = layers.say_all(network, inputs, [2, 5])[-1]
    except VisitorError:
        return "refused"
    return "equal" if torch.allclose(said, logits[0, [2, 5]], atol=1e-3, rtol=1e-3) else "apart"


def compare(found: dict[int, torch.Tensor], true: list[torch.Tensor]) -> str:
    """Return whether weights are equal to eager's, layer by layer."""
    if not found:
        return "refused"
    if len(found) != len(true) or any(found[at].shape != one.shape for at, one in enumerate(true)):
        return "other layers"
    apart = max(float((found[at] - one).abs().max()) for at, one in enumerate(true))
    return "equal" if apart < EQUAL else f"{apart:.0e} apart"


def main() -> None:
    """Try all and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a dozen of them, to see that it works")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows, total = [], Counter()
    for kind, (auto, names) in KINDS.items():
        for name in names:
            if quick and name not in QUICK:
                continue
            network = build(auto, name)
            if network is None:
                total["not built"] += 1
                continue
            try:
                found = try_out(auto, network)
            except VisitorError:
                found = {"weights": "refused"}
            except Exception as error:  # of the network itself, called in a way it does not know
                found = {"weights": f"failed: {type(error).__name__}"}
            total[found["weights"]] += 1
            rows.append({"kind": kind, "architecture": name, **found})
    rows.append({"kind": "all together", **total})
    wrong = sum(count for what, count in total.items() if what.endswith("apart") and float(what.split()[0]) > ALIKE)
    bars = [
        bar("architectures whose weights are equal to eager's", total["equal"], 12, "higher"),
        bar("architectures whose weights are shown and are not eager's", wrong, 0),
    ]
    report("architectures-quick" if quick else "architectures", rows, bars)


if __name__ == "__main__":
    main()
