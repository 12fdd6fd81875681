"""Generates a small corpus of sentences of a probabilistic grammar, by speakers with their own words and spelling.

It is the same in every study (its draws come from `stream(0, "text")`), so that figures on it can be compared.
"""

import numpy as np

from accord.core.streams import stream

_WORDS: dict[str, tuple[str, ...]] = {
    "who": ("the farmer", "my sister", "a sailor", "the miller", "our neighbour", "the old king", "a stranger"),
    "does": ("carries", "watches", "mends", "follows", "remembers", "sells", "hides"),
    "what": ("the boat", "a lantern", "three horses", "the broken clock", "her letter", "the golden ring", "a song"),
    "where": ("by the river", "under the bridge", "in the market", "behind the mill", "near the harbour"),
    "when": ("at night", "every morning", "after the rain", "in winter", "before supper"),
    "asks": ("who has seen", "where is", "why do you want", "do you know"),
}
_RULES: tuple[tuple[str, ...], ...] = (
    ("who", "does", "what", "."),
    ("who", "does", "what", "where", "."),
    ("when", "who", "does", "what", "."),
    ("asks", "what", "?"),
    ("who", "does", "what", "where", "when", "."),
)
_DIALECTS: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("th", "d"),
    ("ing", "in'"),
    ("v", "w"),
    ("h", ""),
    ("r ", "rr "),
    ("o", "oa"),
    ("s ", "z "),
)
"""The letters that each dialect replaces, and by what. The first dialect replaces none."""
_EVENNESS = 0.5
"""Parameter of the Dirichlet distribution of a speaker's frequencies. If it is small, few words make up most."""


def speakers(count: int, sentences: int) -> dict[str, str]:
    """Returns each speaker's text, one sentence a line, in the speaker's dialect and frequencies of rules and words.

    Args:
        count: how many speakers. Each is the same however many there are.
        sentences: of each speaker. Fewer are the beginning of more.

    >>> print(speakers(2, 2)["speaker-1"], end="")
    Our neighbour sells de broken clock.
    De old king mends a lantern.
    """
    return {f"speaker-{number}": _speech(number, sentences) for number in range(count)}


def _speech(number: int, sentences: int) -> str:
    rng = stream(0, "text", 0, number)
    rules = rng.dirichlet(np.full(len(_RULES), _EVENNESS))
    frequencies = {kind: rng.dirichlet(np.full(len(words), _EVENNESS)) for kind, words in _WORDS.items()}
    said, written = _DIALECTS[number % len(_DIALECTS)]
    lines = []
    for _ in range(sentences):
        *kinds, end = _RULES[rng.choice(len(_RULES), p=rules)]
        words = [_WORDS[kind][rng.choice(len(_WORDS[kind]), p=frequencies[kind])] for kind in kinds]
        sentence = " ".join(words) + end
        lines.append(sentence.replace(said, written).capitalize() + "\n")
    return "".join(lines)
