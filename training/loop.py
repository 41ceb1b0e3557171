"""The training loop every recipe shares: optimisers, schedule, checkpoints, progress. What is learned, the recipe says."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

WARM_UP = 0.03  # of all steps: the rate climbs from zero
DECAY = 0.35  # of all steps: the rate falls to zero, in a straight line
SECONDS_BETWEEN_CHECKPOINTS = 120
SECONDS_BETWEEN_LINES = 20


class RecipeError(Exception):
    """What the person at the terminal can put right, said in one line."""


def device() -> torch.device:
    """Return where to train: CUDA when there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision() -> contextlib.AbstractContextManager:
    """Compute in bfloat16 where that is faster: on CUDA, and on processors with AMX; with AVX-512 BF16 alone it is slower."""
    where = device()
    pays = where.type == "cuda" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(where.type, torch.bfloat16, enabled=pays)


def generator(*key: int) -> torch.Generator:
    """Return a random stream that depends on its key alone, so that a resumed run draws what an unbroken one would."""
    return torch.Generator().manual_seed(hash(key) % 2**63)


def rate_at(step: int, steps: int) -> float:
    """Return the share of the full learning rate at a step: up, level, down to zero."""
    return max(0.0, min(1.0, (step + 1) / (WARM_UP * steps), (steps - step) / (DECAY * steps)))


def optimisers(network: torch.nn.Module, rate: float, muon_rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the blocks and AdamW for all else: embeddings, heads, norms, biases.

    Source of Muon: Jordan et al. 2024; its rate matched to AdamW's by Liu et al. 2025 ("Muon is scalable"). A
    `muon_rate` of 0 leaves everything to AdamW, as fine-tuning wants.
    """
    inside, outside, plain = [], [], []
    for name, weight in network.named_parameters():
        in_a_block = ".layers." in name or ".layer." in name
        if weight.ndim == 2 and in_a_block and muon_rate:
            inside.append(weight)
        else:
            (outside if weight.ndim >= 2 else plain).append(weight)
    groups = [{"params": outside, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    found = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)]
    if inside:
        found.append(torch.optim.Muon(inside, lr=muon_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"))
    for optimiser in found:
        for group in optimiser.param_groups:
            group["full_rate"] = group["lr"]
    return found


def train(
    network: torch.nn.Module,
    loss_at: Callable[[int], torch.Tensor],
    *,
    steps: int,
    checkpoint: Path,
    rate: float,
    muon_rate: float = 0.0,
    clip: float = 1.0,
) -> float:
    """Train the network in place for `steps` steps, going on from `checkpoint` where there is one; return the seconds.

    `loss_at(step)` draws that step's batch, from `generator(seed, step)` alone, and returns its loss, a scalar. The
    checkpoint is written beside itself and renamed, so a kill at any moment leaves a whole one.
    Raises RecipeError when the disk is full or the checkpoint is of another network.
    """
    found = optimisers(network, rate, muon_rate)
    first, earlier = resume(network, found, checkpoint)
    network.train()
    began = spoke = saved = time.monotonic()
    average = None
    for step in range(first, steps):
        for optimiser in found:
            for group in optimiser.param_groups:
                group["lr"] = group["full_rate"] * rate_at(step, steps)
        with half_precision():
            loss = loss_at(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        for optimiser in found:
            optimiser.step()
            optimiser.zero_grad()
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        now = time.monotonic()
        if now - spoke > SECONDS_BETWEEN_LINES or step + 1 == steps:
            left = (now - began) / (step + 1 - first) * (steps - step - 1)
            print(f"step {step + 1:,} of {steps:,}  loss {average:.3f}  {left / 60:.0f} min left", flush=True)
            spoke = now
        if now - saved > SECONDS_BETWEEN_CHECKPOINTS or step + 1 == steps:
            save(network, found, checkpoint, step + 1, earlier + now - began)
            saved = now
    network.eval()
    return earlier + time.monotonic() - began


def resume(network: torch.nn.Module, found: list[torch.optim.Optimizer], checkpoint: Path) -> tuple[int, float]:
    """Load the checkpoint into the network and its optimisers; return the step to go on from and the seconds spent."""
    if not checkpoint.exists():
        return 0, 0.0
    kept = torch.load(checkpoint, map_location=device(), weights_only=True)
    try:
        network.load_state_dict(kept["network"])
        for optimiser, state in zip(found, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise RecipeError(f"{checkpoint} holds another network. Delete it to begin anew.") from error
    print(f"going on from step {kept['step']:,}", flush=True)
    return kept["step"], kept["seconds"]


def save(
    network: torch.nn.Module, found: list[torch.optim.Optimizer], checkpoint: Path, step: int, seconds: float
) -> None:
    """Write a whole checkpoint or none."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    part = checkpoint.with_suffix(".part")
    optimisers = [one.state_dict() for one in found]
    state = {"network": network.state_dict(), "optimisers": optimisers, "step": step, "seconds": seconds}
    try:
        torch.save(state, part)
        os.replace(part, checkpoint)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise RecipeError(
            f"could not write {checkpoint}: {error}. Free some disk and run the same command again."
        ) from error
