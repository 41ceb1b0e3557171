"""One function a task: (Model, inputs) -> result, or an iterator of results."""

from core.tasks.attention import attend
from core.tasks.generation import explain_step, generate
from core.tasks.masking import fill_mask
from core.tasks.sentiment import judge, judge_all
from core.tasks.vqa import answer

__all__ = ["answer", "attend", "explain_step", "fill_mask", "generate", "judge", "judge_all"]
