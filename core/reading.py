"""What can be read off recorded attention. Pure numpy, no model."""

import numpy as np

SINK_SHARE = 0.25  # of all attention: one token that draws more than this, and draws it everywhere, is a sink


def find_sink(weights: np.ndarray) -> int | None:
    """Return the token that heads rest on when they have nothing to look for, if there is one.

    weights: [layer, head, query, key]. The first query is left out, since in a decoder it can look nowhere else.
    Source: Xiao et al. 2024 ("attention sinks").
    """
    if weights.shape[-1] < 4:
        return None
    received = weights[:, :, 1:].astype(np.float32).mean((0, 1, 2))  # [key], sums to 1
    sink = int(received.argmax())
    return sink if received[sink] > SINK_SHARE else None


def set_aside(weights: np.ndarray, token: int | None) -> np.ndarray:
    """Return the weights without what goes to one token, each row made to sum to 1 again where anything is left."""
    if token is None:
        return weights
    weights = weights.astype(np.float32)
    weights[..., token] = 0
    sums = weights.sum(-1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 1e-3)


def rollout(weights: np.ndarray) -> np.ndarray:
    """Return how much of each token reaches each place through all layers: float32[query, key], rows sum to 1.

    Heads are averaged, and half of every layer is what a token keeps of itself.
    Source: Abnar & Zuidema 2020, eq. 1.
    """
    flow = np.eye(weights.shape[-1], dtype=np.float32)
    for layer in weights.astype(np.float32).mean(1):  # [query, key]
        flow = (0.5 * layer + 0.5 * np.eye(len(layer), dtype=np.float32)) @ flow
    return flow / flow.sum(-1, keepdims=True)


def sharpest_head(weights: np.ndarray) -> tuple[int, int]:
    """Return the (layer, head) that looks hardest at single tokens other than itself: a good one to begin with."""
    others = weights.astype(np.float32) * (1 - np.eye(weights.shape[-1], dtype=np.float32))
    strength = others.max(-1).mean(-1)  # [layer, head]
    layer, head = np.unravel_index(int(strength.argmax()), strength.shape)
    return int(layer), int(head)
