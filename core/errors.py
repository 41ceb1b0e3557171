"""What a visitor can put right. Anything else that is raised is a bug.

    VisitorError
    ├── BadValue           a number or a choice the page does not offer
    ├── NothingTyped       an empty text, or only blanks and spaces
    ├── TextTooLong        more characters or tokens than the limit or the model's context
    ├── BlanksOutOfRange   no [MASK], or more than can be filled
    ├── ListOutOfRange     no sentence in the list, or too many
    ├── TableUnreadable    an uploaded table that is not a table of text
    ├── PictureMissing     no picture yet
    ├── PictureUnreadable  not a picture, or cut short, or of a kind that is not accepted
    ├── PictureTooLarge    more pixels than the limit
    ├── UnknownModel       a name that is not in the catalogue, or not for this task
    ├── ModelUnusable      a checkpoint that lacks what its task needs
    ├── ModelUnfit         an architecture this task cannot run
    ├── ModelUnsafe        a repository that brings code of its own
    ├── ModelTooLarge      more than the disk or the memory holds
    ├── ModelDamaged       files that are not what the Hub says they are, twice
    ├── CacheUnwritable    no place on this computer where a model of the Hub could be kept
    ├── ModelNotFetched    a model of the Hub that is not on this computer yet
    ├── ModelMissing       a repository or revision the Hub does not know (404)
    ├── ModelGated         one that has to be asked for, by somebody who is logged in (401)
    ├── ModelForbidden     one this visitor may not have (403)
    ├── HubBusy            the Hub takes no more requests for a while (429)
    ├── HubFailing         an error of the Hub's own (5xx)
    ├── HubUnreachable     no network, or the connection broke
    ├── HubSilent          the Hub sends nothing, or next to nothing
    ├── OutOfMemory        the device has no room for this now
    ├── AttentionUnreadable  an architecture that keeps its attention, or what its layers say, to itself
    ├── HiddenEverything   a what-if that leaves nothing to look at
    ├── NoSuchPart         a token, patch, layer or head that is not there
    └── TooBusy            nobody's turn came within the deadline

An error carries facts, not a sentence: the sentences are in demos/words, one a class and language, under the name of the class.
"""


class VisitorError(Exception):
    """Something the visitor can put right; `facts` fill the blanks of its sentence."""

    def __init__(self, **facts: str | float):
        super().__init__()
        self.facts = facts

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.facts.items())


class BadValue(VisitorError):
    """Facts: field, found, needed."""


class NothingTyped(VisitorError):
    """Facts: field."""


class TextTooLong(VisitorError):
    """Facts: field, found, limit, unit ("characters" or "tokens")."""


class BlanksOutOfRange(VisitorError):
    """Facts: found, limit."""


class ListOutOfRange(VisitorError):
    """Facts: found, limit."""


class TableUnreadable(VisitorError):
    """Facts: none."""


class PictureMissing(VisitorError):
    """Facts: none."""


class PictureUnreadable(VisitorError):
    """Facts: accepted."""


class PictureTooLarge(VisitorError):
    """Facts: found, limit, unit ("megapixels" or "MB")."""


class UnknownModel(VisitorError):
    """Facts: found, known."""


class ModelUnusable(VisitorError):
    """Facts: name, lacks."""


class ModelUnfit(VisitorError):
    """Facts: name, found (its model_type), known."""


class ModelUnsafe(VisitorError):
    """Facts: name."""


class ModelTooLarge(VisitorError):
    """Facts: name, found, limit (both GB), part ("disk" or "memory")."""


class ModelDamaged(VisitorError):
    """Facts: name."""


class CacheUnwritable(VisitorError):
    """Facts: none."""


class ModelNotFetched(VisitorError):
    """Facts: name."""


class ModelMissing(VisitorError):
    """Facts: name."""


class ModelGated(VisitorError):
    """Facts: name."""


class ModelForbidden(VisitorError):
    """Facts: name."""


class HubBusy(VisitorError):
    """Facts: minutes."""


class HubFailing(VisitorError):
    """Facts: found (the status)."""


class HubUnreachable(VisitorError):
    """Facts: none."""


class HubSilent(VisitorError):
    """Facts: seconds."""


class OutOfMemory(VisitorError):
    """Facts: name."""


class AttentionUnreadable(VisitorError):
    """Facts: name."""


class HiddenEverything(VisitorError):
    """Facts: none."""


class NoSuchPart(VisitorError):
    """Facts: part ("token", "patch", "layer" or "head"), found, limit."""


class TooBusy(VisitorError):
    """Facts: seconds."""
