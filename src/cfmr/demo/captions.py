"""Sentences for the events of the demo world: many ways to say what is true of exactly one moment of its video."""

import re
from collections.abc import Sequence

import numpy as np

from cfmr.demo.actors import COLOURS, KINDS, Actor
from cfmr.demo.events import Event
from cfmr.demo.scenes import SCENES

_FLIES, _DRIVES = ("fly", "glide"), ("drive", "roll")
#: How an actor of this kind may be said to move, besides the verbs that suit all.
_OWN_WAY: dict[str, tuple[str, ...]] = {
    "bird": _FLIES,
    "airplane": _FLIES,
    "car": _DRIVES,
    "bicycle": _DRIVES,
    "ball": ("roll",),
    "boat": ("sail",),
    "fish": ("swim",),
    "cat": ("walk", "run"),
    "horse": ("walk", "gallop"),
    "spider": ("crawl",),
    "robot": ("walk",),
}
_MOVES = ("move", "go", "travel", "drift", "slide")
_WHERE = {
    "left": ("left", "to the left", "leftwards", "from right to left", "towards the left side"),
    "right": ("right", "to the right", "rightwards", "from left to right", "towards the right side"),
    "up": ("up", "upwards", "towards the top", "from the bottom to the top"),
    "down": ("down", "downwards", "towards the bottom", "from the top to the bottom"),
}
_WHENCE = {
    "right": ("from the left", "from the left side"),
    "left": ("from the right", "from the right side"),
    "down": ("from above", "from the top"),
    "up": ("from below", "from the bottom"),
}
_WHITHER = {
    "left": ("on the left", "to the left"),
    "right": ("on the right", "to the right"),
    "up": ("at the top", "through the top"),
    "down": ("at the bottom", "through the bottom"),
}
#: Verb phrases of an event; "{b}" stands for the other actor.
_PHRASES: dict[str, tuple[str, ...]] = {
    "enters": ("enter the picture", "enter the scene", "come in", "come into view", "arrive", "enter"),
    "leaves": (
        "leave the picture",
        "leave the scene",
        "go away",
        "exit",
        "go out of view",
        "disappear from the screen",
    ),
    "grows": ("grow", "get bigger", "become larger", "expand", "swell", "increase in size"),
    "shrinks": ("shrink", "get smaller", "become tiny", "contract", "decrease in size", "dwindle"),
    "spins": ("spin", "rotate", "turn around and around", "whirl", "revolve", "twirl"),
    "bounces": ("bounce", "jump up and down", "hop", "bounce on the spot", "leap again and again"),
    "blinks": ("blink", "flash on and off", "flicker", "keep vanishing and reappearing"),
    "shakes": ("shake", "tremble", "wobble", "vibrate", "shiver"),
    "meets": ("meet {b}", "bump into {b}", "run into {b}", "come together with {b}", "come up to {b}"),
    "passes": ("pass {b}", "overtake {b}", "go past {b}", "pass in front of {b}", "move past {b}"),
    "glows": ("glow", "shine", "light up", "radiate light", "have a bright halo"),
    "is caged": ("be caged", "be locked in a cage", "sit behind bars", "be in prison", "be trapped behind bars"),
}
_IRREGULAR = {"have": "has", "be": "is", "go": "goes"}
_DOUBLED = ("get", "run", "spin", "hop", "sit", "swim", "drag")
_SLOW, _QUICK = ("slowly", "gently"), ("quickly", "fast", "rapidly")


def third_person(phrase: str) -> str:
    """The phrase with its verb after "it": "go past" -> "goes past"."""
    verb, _, rest = phrase.partition(" ")
    if verb in _IRREGULAR:
        verb = _IRREGULAR[verb]
    else:
        verb = verb + "es" if re.search(r"(s|sh|ch|x)$", verb) else re.sub(r"([^aeiou])y$", r"\1ie", verb) + "s"
    return f"{verb} {rest}".rstrip()


def gerund(phrase: str) -> str:
    """The phrase with its verb after "it is": "run into" -> "running into"."""
    verb, _, rest = phrase.partition(" ")
    if verb in _DOUBLED:
        verb += verb[-1]
    elif verb.endswith("e") and verb != "be":
        verb = verb[:-1]
    return f"{verb}ing {rest}".rstrip()


def caption(rng: np.random.Generator, event: Event, events: Sequence[Event], scene: str) -> str | None:
    """A sentence that is true of this event and of no other of the video's. None where there is none to be found."""
    for _ in range(4):
        coloured = [bool(rng.random() < 0.85) for _ in event.actors]
        if _told_apart(event, coloured, events):
            return _sentence(rng, event, coloured, scene)
    return None


def _told_apart(event: Event, coloured: Sequence[bool], events: Sequence[Event]) -> bool:
    """Whether no other event of the video fits the first actor as described, doing what the sentence says."""
    subjects = list(zip(event.actors, coloured, strict=True))
    if event.kind != "meets":  # "a meets b" is also "b meets a"
        del subjects[1:]
    return not any(
        event.kind in other.happening(part) and any(_fits(actor, named, colour) for named, colour in subjects)
        for other in events
        if other is not event
        for part, actor in enumerate(other.actors)
    )


def _fits(actor: Actor, named: Actor, coloured: bool) -> bool:
    return actor.kind == named.kind and (actor.colour == named.colour or not coloured)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _noun(rng: np.random.Generator, actor: Actor, coloured: bool) -> str:
    noun = _pick(rng, KINDS[actor.kind][1]) if rng.random() < 0.4 else KINDS[actor.kind][1][0]
    if not coloured:
        return _with_article(rng, noun)
    names = COLOURS[actor.colour][1]
    colour = _pick(rng, names) if rng.random() < 0.35 else names[0]
    if rng.random() < 0.08:
        return f"{_with_article(rng, noun)} that is {colour}"
    return _with_article(rng, f"{colour} {noun}")


def _with_article(rng: np.random.Generator, noun: str) -> str:
    if rng.random() < 0.3:
        return f"the {noun}"
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _deed(rng: np.random.Generator, event: Event, other: str) -> str:
    """What happens, as a verb phrase in its base form."""
    if event.kind.startswith("moves"):
        own = _OWN_WAY.get(event.actors[0].kind, ())
        verb = _pick(rng, own) if own and rng.random() < 0.35 else _pick(rng, _MOVES)
        deed = f"{verb} {_pick(rng, _WHERE[event.heading])}"
    else:
        deed = _pick(rng, _PHRASES[event.kind]).format(b=other)
        if event.kind in ("enters", "leaves") and rng.random() < 0.6:
            deed += " " + _pick(rng, (_WHENCE if event.kind == "enters" else _WHITHER)[event.heading])
    length = event.end - event.start
    paced = event.kind.startswith("moves") or event.kind in ("grows", "shrinks", "enters", "leaves")
    if paced and rng.random() < 0.3 and (length < 2.5 or length > 5.0):
        deed += " " + _pick(rng, _QUICK if length < 2.5 else _SLOW)
    return deed


def _sentence(rng: np.random.Generator, event: Event, coloured: Sequence[bool], scene: str) -> str:
    nouns = [_noun(rng, actor, c) for actor, c in zip(event.actors, coloured, strict=True)]
    place = " " + _pick(rng, SCENES[scene][1]) if rng.random() < 0.15 else ""
    if event.kind == "meets" and rng.random() < 0.4:
        both = f"{nouns[0]} and {nouns[1]}"
        text = _pick(
            rng, (f"{both} meet{place}", f"{both} come together{place}", f"{both} bump into each other{place}")
        )
        return _finished(text)
    who, deed = nouns[0], _deed(rng, event, nouns[-1])
    options = (
        f"{who} {third_person(deed)}{place}",
        f"{who} is {gerund(deed)}{place}",
        f"there is {who} {gerund(deed)}{place}",
        f"we see {who} {gerund(deed)}{place}",
        f"{who} that {third_person(deed)}{place}",
        f"{gerund(deed)}, {who} can be seen{place}",
        f"{who} starts to {deed}{place}",
        f"look how {who} {third_person(deed)}{place}",
    )
    weights = (0.34, 0.2, 0.12, 0.1, 0.06, 0.06, 0.06, 0.06)
    return _finished(options[rng.choice(len(options), p=weights)])


def _finished(text: str) -> str:
    return text[0].upper() + text[1:] + "."
