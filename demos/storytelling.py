"""What the tab Write says and draws of stories, of their tokens and of what a beam search weighed."""

from collections import Counter
from collections.abc import Collection, Sequence

from core import charts, limits, trees
from core.results import Beams, Step
from demos.stories import Desk, Story, groups, shared, together
from demos.tokens import Token
from demos.words import Words


def fork_of(story: Story) -> frozenset[int]:
    """Return the place of a story's own first token, none for a story that left no other."""
    return frozenset() if story.parent is None else frozenset({story.left_at})


def strip_of(story: Story, marked: Collection[int], words: Words) -> list[Token]:
    """Return a prompt and its story, tokens tinted by their probability."""
    tokens = [token_of(story.steps, group, marked, words) for group in groups(story.steps)]
    return [prompt_token(story, words), *tokens]


def prompt_token(story: Story, words: Words) -> Token:
    """Return what the visitor wrote."""
    return Token(story.prompt, note=words.say("generation.yours"))


def token_of(steps: Sequence[Step], group: range, marked: Collection[int], words: Words) -> Token:
    """Return a token as it is shown, or several that are one character."""
    chance = together([steps[at] for at in group])
    note = words.say("generation.note", probability=words.percent(chance))
    if len(group) > 1:
        note += "\n" + words.say("generation.note_parts", count=len(group))
    return Token("".join(steps[at].text for at in group) or "…", chance, note, marked=any(at in marked for at in group))


def draw_stories(desk: Desk, words: Words) -> charts.Figure | None:
    """Draw the tree of stories once there are two."""
    if len(desk.stories) < 2:
        return None
    lines = [
        trees.Line(
            story.id, story.parent, desk.own_from(story), len(story.steps),
            words.say("generation.lane", number=story.id, word=story.fork) if story.fork else name_of(story, words),
            words.say("generation.line", story=name_of(story, words), count=len(story.steps)),
        )
        for story in desk.stories
    ]  # fmt: skip
    return trees.stories_tree(lines, desk.shown, words.say("generation.axis"))


def name_of(story: Story, words: Words) -> str:
    """Return a story's number and the word at its fork."""
    key = "generation.story_from" if story.fork else "generation.story_number"
    return words.say(key, number=story.id, word=story.fork)


def tell(story: Story, words: Words) -> str:
    """Say how sure the model was of its story, and where it surprised itself."""
    if not story.steps:
        return words.say("generation.ended")
    rarest = min(story.steps, key=chance_of)
    return words.say(
        "generation.said",
        count=len(story.steps),
        choices=shortly(story.perplexity),
        bits=f"{story.surprise:.1f}",
        word=rarest.text.strip() or "⏎",
        rarest=words.percent(rarest.probability),
    )


def chance_of(step: Step) -> float:
    """Return a step's probability."""
    return step.probability


def shortly(number: float) -> str:
    """Return a number with as many digits as one would say."""
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"


def tell_rivals(step: Step, shut_out: list[str], words: Words) -> str:
    """Say how likely and surprising the chosen token was, and which sliders shut out what; shut_out: as chart marks."""
    chosen = step.alternatives.labels[step.rivals.index(step.token)]
    said = words.say(
        "generation.first_choice" if step.token == step.rivals[0] else "generation.other_choice",
        word=chosen,
        probability=words.percent(step.probability),
        bits=f"{step.surprise:.1f}",
        first=step.alternatives.labels[0],
        best=words.percent(step.alternatives.probabilities[0]),
    )
    counts = Counter(name for name in shut_out if name)
    if not counts:
        return said
    which = [words.say("generation.shut_by", name=name, count=count) for name, count in counts.items()]
    shut = words.say("generation.shut_out", count=counts.total(), which=words.say("number.comma").join(which))
    return words.say("generation.both", one=said, two=shut)


def tell_draws(labels: tuple[str, ...], came: list[int], kinds: int, others: int, words: Words) -> str:
    """Say how often the most frequent token came, and how many different ones did."""
    most = max(range(len(came)), key=came.__getitem__)
    key = "generation.drew_many" if kinds > 1 or others else "generation.drew_one"
    return words.say(
        key, times=f"{limits.DRAWS:,}", word=labels[most], count=f"{came[most]:,}", kinds=f"{kinds + (others > 0):,}"
    )


def tell_one(story: Story, words: Words) -> str:
    """Say how surprising a story is."""
    if not story.steps:
        return words.say("generation.ended")
    return words.say(
        "generation.one",
        story=name_of(story, words),
        usual=words.percent(story.usual),
        choices=shortly(story.perplexity),
        bits=f"{story.surprise:.1f}",
    )


def tell_comparison(one: Story, other: Story, words: Words) -> str:
    """Say what two stories share, where they part, and which one the model finds likelier."""
    count = shared(one, other)
    parted = [story.steps[count].text.strip() if len(story.steps) > count else "" for story in (one, other)]
    key = "generation.part" if all(parted) else "generation.part_end"
    said = words.say(key, count=count, one=parted[0], other=parted[1])
    if not one.steps or not other.steps or one.surprise == other.surprise:
        return said
    likelier = min(one, other, key=surprise_of)
    return words.say("generation.both", one=said, two=words.say("generation.likelier", number=likelier.id))


def surprise_of(story: Story) -> float:
    """Return a story's usual surprise."""
    return story.surprise


def draw_beams(found: Beams, before: str, words: Words) -> charts.Figure:
    """Draw a beam search; before: the text it goes on from."""
    notes = [
        words.say(
            "generation.beam", word=beam.label, probability=words.percent(beam.probability),
            together=words.percent(beam.together),
        )
        for beam in found.beams
    ]  # fmt: skip
    return trees.beams_tree(found, before.split()[-1], notes)


def tell_beams(found: Beams, words: Words) -> str:
    """Say which way on is likeliest together, and whether taking the likeliest token each time finds it."""
    if not found.best:
        return words.say("generation.ended")
    best = found.way(found.best[0])
    greedy = greedy_way(found)
    said = words.say(
        "generation.best_way", way=way_text(found, best), together=words.percent(found.beams[best[-1]].together)
    )
    facts = {"way": way_text(found, greedy), "together": words.percent(found.beams[greedy[-1]].together)}
    key = "same" if greedy == best else "less" if len(greedy) >= len(best) or found.beams[greedy[-1]].ended else "left"
    return words.say("generation.both", one=said, two=words.say(f"generation.greedy_{key}", **facts))


def greedy_way(found: Beams) -> tuple[int, ...]:
    """Return the way that takes the likeliest token each time, as far as the search went along it."""
    way: tuple[int, ...] = ()
    while True:
        on = [at for at, beam in enumerate(found.beams) if beam.parent == (way[-1] if way else None)]
        if not on:
            return way
        way = (*way, max(on, key=[beam.probability for beam in found.beams].__getitem__))


def way_text(found: Beams, way: tuple[int, ...]) -> str:
    """Return what a way says."""
    return "".join(found.beams[number].text for number in way).strip()
