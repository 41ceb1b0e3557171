"""One function a task: (Model, inputs) -> result, or an iterator of results."""

from core.tasks.attention import attend, lens, look
from core.tasks.generation import beams, explain_step, generate
from core.tasks.masking import fill_mask
from core.tasks.sentiment import judge, judge_all
from core.tasks.vqa import answer, cover_patches

__all__ = [
    "answer",
    "attend",
    "beams",
    "cover_patches",
    "explain_step",
    "fill_mask",
    "generate",
    "judge",
    "judge_all",
    "lens",
    "look",
]
