"""A visitor's stories: how they branch, what two of them share, and what can be taken away. No Gradio, no model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core import limits
from core.results import Settings, Step, as_data
from core.tokens import joins


@dataclass(frozen=True)
class Story:
    """One branch: a prompt and the steps taken from it, those before its fork too."""

    prompt: str
    model: str
    settings: Settings
    steps: tuple[Step, ...] = ()
    id: int = 1  # as a visitor counts; never given twice
    parent: int | None = None  # the id of the story it left
    left_at: int = 0  # the place of the first token that is its own

    def tokens(self, count: int) -> tuple[int, ...]:
        """Return its first tokens, by their numbers in the vocabulary."""
        return tuple(step.token for step in self.steps[:count])

    @property
    def text(self) -> str:
        """The prompt and what was written after it."""
        return self.prompt + "".join(step.text for step in self.steps)

    @property
    def surprise(self) -> float:
        """The usual surprise of a token, in bits: their mean."""
        return sum(step.surprise for step in self.steps) / len(self.steps)

    @property
    def usual(self) -> float:
        """The usual probability of a token: their geometric mean."""
        return 2**-self.surprise

    @property
    def perplexity(self) -> float:
        """How many equally likely tokens would surprise as much as the usual one."""
        return 2**self.surprise

    @property
    def fork(self) -> str | None:
        """The first text that is the branch's own; None for a story that left no other, or has not come so far."""
        if self.parent is None:
            return None
        return next((step.text.strip() or "⏎" for step in self.steps[self.left_at :] if step.text), None)


@dataclass(frozen=True)
class Desk:
    """What the page remembers: all stories of this prompt, and which one is shown."""

    stories: tuple[Story, ...] = ()  # the oldest first
    shown: int = 1  # its id

    def find(self, id: object) -> Story | None:
        """Return a story by its id, None for one that is not there."""
        return next((story for story in self.stories if story.id == id), None)

    @property
    def story(self) -> Story | None:
        """The story shown."""
        return self.find(self.shown)

    def step(self, chosen: tuple[int, int] | None) -> Step | None:
        """Return a step by its story's id and its place there, None where there is none."""
        story = self.find(chosen[0]) if chosen else None
        return story.steps[chosen[1]] if story and chosen[1] < len(story.steps) else None

    def with_steps(self, steps: tuple[Step, ...]) -> "Desk":
        """Return the desk with other steps in the story shown."""
        told = (replace(story, steps=steps) if story.id == self.shown else story for story in self.stories)
        return replace(self, stories=tuple(told))

    def with_branch(self, parent: Story, at: int, settings: Settings) -> "Desk":
        """Return the desk with a new story that leaves another at a place; the oldest goes when there are many.

        Where the other itself had not yet left the story it comes from, the new one leaves that.
        """
        id = self.stories[-1].id + 1
        while at <= parent.left_at and self.find(parent.parent):
            parent = self.find(parent.parent)
        branch = replace(parent, settings=settings, steps=parent.steps[:at], id=id, parent=parent.id, left_at=at)
        return Desk((*self.stories, branch)[-limits.BRANCHES :], id)

    def own_from(self, story: Story) -> int:
        """Return the place of the first token a story does not share with its parent on the desk; 0 without one."""
        return story.left_at if self.find(story.parent) else 0

    def data(self) -> dict:
        """Return all stories as JSON shows them: a branch's steps begin where it left its parent, at `begins_at`."""
        return {
            "prompt": self.story.prompt,
            "text": self.story.text,
            "shown": self.shown,
            "stories": [
                {
                    "id": story.id,
                    "parent": story.parent,
                    "left_at": story.left_at,
                    "model": story.model,
                    "settings": as_data(story.settings),
                    "text": story.text,
                    "begins_at": self.own_from(story),
                    "steps": [step_data(step) for step in story.steps[self.own_from(story) :]],
                }
                for story in self.stories
            ],
        }


def step_data(step: Step) -> dict:
    """Return what a step says for JSON; "ranks" count from 1."""
    return as_data(
        {
            "text": step.text,
            "token": step.token,
            "probability": step.probability,
            "surprise": step.surprise,
            "alternatives": step.alternatives,
            "rivals": step.rivals,
            "ranks": [rank + 1 for rank in step.ranks],
        }
    )


def groups(steps: Sequence[Step], start: int = 0) -> list[range]:
    """Return the places, from `start` on, that are shown together: bytes of a character, parts of a flag or a family."""
    found: list[range] = []
    for at in range(start, len(steps)):
        if steps[at].text:
            goes_on = found and joins("".join(steps[one].text for one in found[-1]), steps[at].text)
            found.append(range(found.pop().start if goes_on else start, at + 1))
            start = at + 1
    return found + [range(start, len(steps))] * (start < len(steps))


def together(steps: Sequence[Step]) -> float:
    """Return the probability of steps one after the other."""
    return math.prod(step.probability for step in steps)


def shared(one: Story, other: Story) -> int:
    """Return how many tokens two stories begin with alike."""
    pairs = enumerate(zip(one.steps, other.steps, strict=False))
    return next((at for at, (a, b) in pairs if a.token != b.token), min(len(one.steps), len(other.steps)))
