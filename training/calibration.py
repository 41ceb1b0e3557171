"""How sure a classifier may say it is: one temperature, fitted on labelled texts it did not learn from, folded into it.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

import zlib

import torch

TEMPERATURES = torch.logspace(-0.7, 0.7, 281)  # 0.2 to 5
BINS = 15


def is_for_fitting(text: str) -> bool:
    """Tell, by its own letters, whether a held-out text is for fitting the temperature or for measuring what it did."""
    return zlib.crc32(text.encode()) % 2 == 0


def temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return what to divide the logits, (text, label), by, so that the labels, (text), are likeliest."""
    losses = [torch.nn.functional.cross_entropy(logits.float() / one, labels) for one in TEMPERATURES]
    return float(TEMPERATURES[torch.stack(losses).argmin()])


@torch.no_grad()
def fold(classifier: torch.nn.Linear, divisor: float) -> None:
    """Let the last layer itself divide its logits, so that nobody who loads it need know."""
    classifier.weight /= divisor
    classifier.bias /= divisor


def error(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the expected calibration error: how far apart being sure and being right are, from 0 to 1.

    probabilities: float (text, label). Texts are put in BINS by how sure their answer is.
    """
    sure, answers = probabilities.double().max(-1)
    right = (answers == labels).double()
    bins = (sure * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, bins, right - sure)
    return float(gaps.abs().sum() / len(labels))
