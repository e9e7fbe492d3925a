"""The script of a demo video: who appears where and when, what happens, and which of it gets a sentence.

A script is drawn from a seed alone. It is arranged so that finding a moment takes more than spotting an actor: the same
actor often does something else at another time, other actors do the same thing, some stand around all the time, and
some events have no sentence.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from cfmr.demo.actors import COLOURS, KINDS, Actor
from cfmr.demo.captions import caption
from cfmr.demo.events import BOUNCE_HEIGHT, DUETS, EVENTS, HEADINGS, Act, Event, Pose
from cfmr.demo.scenes import HEIGHT, SCENES, WIDTH

FRAMES_PER_SECOND = 12
SHORTEST, LONGEST = 15.0, 40.0  # a video, seconds
SMALLEST_SHARE, LARGEST_SHARE = 0.06, 0.5  # an event, of its video
FEWEST, MOST = 3, 7  # sentences a video
MOST_AT_ONCE = 2  # events
OVERLAPPING = 0.4  # chance that an event may happen while another one does
SECONDS_AN_EVENT = 4.2  # a short video has few events
PAUSE = 1.2  # seconds between two events of one actor
HELD_OUT_SHARE = 0.2  # of all pairs of actor and event, which training never shows
CROWDED = 0.3  # share of an actor's picture that may be hidden on average

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Appearance:
    """An actor on screen from `shows` to `hides` seconds, its longest side `size` pixels at scale 1."""

    actor: Actor
    size: float
    shows: float
    hides: float
    acts: tuple[Act, ...]
    rest: Pose

    def pose(self, time: float) -> Pose:
        """Where it is; it stands as the last act that has begun left it."""
        begun = [act for act in self.acts if act.event.start <= time]
        if begun:
            return begun[-1].pose(time)
        return self.acts[0].origin if self.acts else self.rest


@dataclass(frozen=True, slots=True)
class Script:
    """All of a video: `events` in order of time, `sentences` beside the events they describe."""

    duration: float
    scene: str
    backdrop: int
    appearances: tuple[Appearance, ...]
    events: tuple[Event, ...]
    sentences: tuple[tuple[str, Event], ...]


def held_out_pairs(seed: int) -> frozenset[Pair]:
    """The pairs of an actor's kind and an event's kind that no video of training or validation shows.

    Each actor and each event loses its share, so that all of them are seen in training in other company.
    """
    rng = np.random.default_rng([seed, 0])
    actors, events = list(rng.permutation(list(KINDS))), list(rng.permutation(list(EVENTS)))
    every = round(1 / HELD_OUT_SHARE)
    return frozenset(
        (str(actor), str(event))
        for (i, actor), (j, event) in itertools.product(enumerate(actors), enumerate(events))
        if (i + 2 * j) % every == 0
    )


def write_script(rng: np.random.Generator, hidden: frozenset[Pair], test: bool) -> Script:
    """Draw the script of one video.

    Args:
        rng: what everything is drawn from.
        hidden: pairs of actor and event kept out of training.
        test: whether those pairs may be shown; about every second sentence of a test video tells of one.
    """
    while True:
        script = _draft(rng, hidden, test)
        if script is not None:
            return script


def _draft(rng: np.random.Generator, hidden: frozenset[Pair], test: bool) -> Script | None:
    duration = _on_frame(rng.uniform(SHORTEST, LONGEST))
    wanted = int(rng.integers(FEWEST, min(MOST, int(duration / SECONDS_AN_EVENT)) + 1))
    events: list[Event] = []
    for _ in range(wanted + int(rng.integers(0, 2))):
        for _ in range(30):
            event = _draw_event(rng, duration, events, hidden, test)
            alone = rng.random() > OVERLAPPING
            if event is not None and _fits(event, events, 1 if alone else MOST_AT_ONCE):
                events.append(event)
                break
    scene = str(rng.choice(list(SCENES)))
    sentences: list[tuple[str, Event]] = []
    for event in events:
        sentence = caption(rng, event, events, scene) if len(sentences) < wanted else None
        if sentence is not None:
            sentences.append((sentence, event))
    if len(sentences) < FEWEST:
        return None
    appearances = _stage(rng, events, duration)
    if appearances is None:
        return None
    events.sort(key=lambda event: event.start)
    sentences.sort(key=lambda item: item[1].start)
    return Script(duration, scene, int(rng.integers(2**31)), tuple(appearances), tuple(events), tuple(sentences))


def _on_frame(seconds: float) -> float:
    return round(seconds * FRAMES_PER_SECOND) / FRAMES_PER_SECOND


def _draw_event(
    rng: np.random.Generator, duration: float, events: list[Event], hidden: frozenset[Pair], test: bool
) -> Event | None:
    again = bool(events) and rng.random() < 0.3
    kind = events[rng.integers(len(events))].kind if again else str(rng.choice(list(EVENTS)))
    unseen = test and rng.random() < 0.35
    actors = tuple(_draw_actor(rng, kind, events, hidden if unseen else None) for _ in range(1 + (kind in DUETS)))
    if not test and any((actor.kind, kind) in hidden for actor in actors):
        return None
    if len(actors) == 2 and actors[0].kind == actors[1].kind:
        return None
    shortest = max(EVENTS[kind].shortest, SMALLEST_SHARE * duration)
    longest = min(EVENTS[kind].longest, LARGEST_SHARE * duration)
    length = _on_frame(float(np.exp(rng.uniform(np.log(shortest), np.log(longest)))))
    start = _on_frame(rng.uniform(0.25, duration - length - 0.25))
    return Event(kind, actors, start, _on_frame(start + length), _draw_heading(rng, kind))


def _draw_actor(rng: np.random.Generator, event: str, events: list[Event], hidden: frozenset[Pair] | None) -> Actor:
    cast = [actor for other in events for actor in other.actors]
    known = cast[rng.integers(len(cast))] if cast else None
    choice = rng.random()
    if hidden is not None:
        kind = str(rng.choice(sorted(actor for actor, other in hidden if other == event)))
    elif known is not None and choice < 0.35:
        return known
    elif known is not None and choice < 0.55:
        kind = known.kind
    else:
        kind = str(rng.choice(list(KINDS)))
    colour = known.colour if known is not None and 0.55 <= choice < 0.7 else str(rng.choice(list(COLOURS)))
    twins = [actor for actor in cast if (actor.kind, actor.colour) == (kind, colour)]
    return twins[0] if twins else Actor(kind, colour, bool(rng.random() < 0.5))


def _draw_heading(rng: np.random.Generator, kind: str) -> str:
    if kind.startswith("moves"):
        return kind.split()[1]
    if kind in ("enters", "leaves"):
        return str(rng.choice(list(HEADINGS)))
    return str(rng.choice(["left", "right"])) if kind in DUETS else ""


def _fits(event: Event, events: list[Event], most_at_once: int) -> bool:
    together = [other for other in events if other.start < event.end and event.start < other.end]
    for other in events:
        too_close = other.start - PAUSE < event.end and event.start < other.end + PAUSE
        if too_close and set(other.actors) & set(event.actors):
            return False
    return all(
        sum(other.start <= time < other.end for other in together) < most_at_once
        for time in [event.start, *(other.start for other in together if other.start >= event.start)]
    )


def _stage(rng: np.random.Generator, events: list[Event], duration: float) -> list[Appearance] | None:
    """Give every event a place on screen. None if the screen is too full for it."""
    placed: list[Appearance] = []
    cast = dict.fromkeys(actor for event in events for actor in event.actors)
    scenes: list[list[tuple[Appearance, ...]]] = []
    for event in events:
        if event.kind in DUETS:
            windows = [_window(rng, actor, [event], events, duration) for actor in event.actors]
            scenes.append([_duet(rng, event, windows) for _ in range(16)])
    for actor in cast:
        for chain in _chains(rng, [e for e in events if actor in e.actors and e.kind not in DUETS], events, actor):
            window = _window(rng, actor, chain, events, duration)
            tries = [_solo(rng, actor, chain, window) for _ in range(16)]
            scenes.append([(a,) for a in tries if a is not None])
    if rng.random() < 0.4:
        scenes.append([(_bystander(rng, cast, duration),) for _ in range(4)])
    for candidates in scenes:
        if not candidates:
            return None
        crowding = [max(_crowding(a, placed) for a in candidate) for candidate in candidates]
        best = int(np.argmin(crowding))
        if crowding[best] > CROWDED:
            return None
        placed.extend(candidates[best])
    return placed


def _chains(rng: np.random.Generator, mine: list[Event], events: list[Event], actor: Actor) -> list[list[Event]]:
    """Split an actor's solo events into runs during which it stays on screen."""
    mine = sorted(mine, key=lambda event: event.start)
    duets = [event.start for event in events if event.kind in DUETS and actor in event.actors]
    chains: list[list[Event]] = []
    for event in mine:
        last = chains[-1][-1] if chains else None
        apart = (
            last is None
            or last.kind == "leaves"
            or event.kind == "enters"
            or any(last.end <= start <= event.start for start in duets)
            or event.start - last.end > 5.0
            or rng.random() < 0.35
        )
        if apart:
            chains.append([event])
        else:
            chains[-1].append(event)
    return chains


def _window(
    rng: np.random.Generator, actor: Actor, chain: list[Event], events: list[Event], duration: float
) -> tuple[float, float]:
    """From when to when an actor is on screen around its events, never together with its own next appearance."""
    start, end = chain[0].start, chain[-1].end
    before = max([e.end for e in events if actor in e.actors and e.end <= start], default=-2 * start)
    after = min([e.start for e in events if actor in e.actors and e.start >= end], default=3 * duration)
    shows = max(0.0, (start + before) / 2 + 0.2 if before >= 0 else 0.0, start - _linger(rng))
    hides = min(duration, (end + after) / 2 - 0.2 if after <= duration else duration, end + _linger(rng))
    return (start if chain[0].kind == "enters" else shows), (end if chain[-1].kind == "leaves" else hides)


def _linger(rng: np.random.Generator) -> float:
    """Seconds that an actor is on screen before or after its events: mostly short, sometimes long."""
    low, high = ((0.2, 0.9), (0.9, 3.0), (3.0, 7.0))[rng.choice(3, p=(0.65, 0.27, 0.08))]
    return float(rng.uniform(low, high))


def _solo(rng: np.random.Generator, actor: Actor, chain: list[Event], window: tuple[float, float]) -> Appearance | None:
    size = rng.uniform(92, 132)
    scale = {"grows": 0.6, "shrinks": 1.25}.get(chain[0].kind, 1.0)
    pose = Pose(rng.uniform(0.5 * size, WIDTH - 0.5 * size), rng.uniform(0.5 * size, HEIGHT - 0.5 * size), scale)
    acts: list[Act] = []
    for event in chain:
        act = _act(rng, event, pose, size)
        if act is None:
            return None
        acts.append(act)
        pose = act.goal
    return Appearance(actor, size, *window, tuple(acts), pose)


def _act(rng: np.random.Generator, event: Event, pose: Pose, size: float) -> Act | None:
    """The event's act from a pose on. None where the screen has no room for it."""
    origin = goal = pose
    if event.heading:
        dx, dy = HEADINGS[event.heading]
        away = (dx * (WIDTH + size) / 2, dy * (HEIGHT + size) / 2)
        if event.kind == "enters":
            goal = pose
            origin = Pose(WIDTH / 2 - away[0] if dx else pose.x, HEIGHT / 2 - away[1] if dy else pose.y, pose.scale)
        elif event.kind == "leaves":
            goal = Pose(WIDTH / 2 + away[0] if dx else pose.x, HEIGHT / 2 + away[1] if dy else pose.y, pose.scale)
        else:
            way = rng.uniform(110, 180) if dx else rng.uniform(70, 115)
            goal = Pose(pose.x + dx * way, pose.y + dy * way, pose.scale)
    elif event.kind in ("grows", "shrinks"):
        factor = rng.uniform(1.7, 2.2)
        goal = Pose(pose.x, pose.y, pose.scale * factor if event.kind == "grows" else pose.scale / factor)
    elif event.kind == "bounces" and pose.y - BOUNCE_HEIGHT < 0.35 * size:
        return None
    stays = [origin] if event.kind == "leaves" else [goal]
    inside = all(_inside(p, size) and 0.4 <= p.scale <= 1.45 for p in stays)
    return Act(event, 0, origin, goal) if inside else None


def _inside(pose: Pose, size: float) -> bool:
    half = 0.42 * size * min(pose.scale, 1.0)
    return half <= pose.x <= WIDTH - half and half <= pose.y <= HEIGHT - half


def _duet(rng: np.random.Generator, event: Event, windows: list[tuple[float, float]]) -> tuple[Appearance, ...]:
    """Both actors of a duet: two that come together, or one that passes another that stands still."""
    sizes = rng.uniform(86, 106, 2)
    sign = HEADINGS[event.heading][0]
    y = rng.uniform(0.55 * sizes.max(), HEIGHT - 0.55 * sizes.max())
    if event.kind == "meets":
        x, gap = rng.uniform(140, WIDTH - 140), 0.42 * sizes.mean()
        way = rng.uniform(50, 75)
        poses = [
            (Pose(x - sign * (gap + way), y), Pose(x - sign * gap, y)),
            (Pose(x + sign * (gap + way), y), Pose(x + sign * gap, y)),
        ]
    else:
        x, way = rng.uniform(145, WIDTH - 145), rng.uniform(95, 115)
        shift = rng.uniform(18, 34) * (1 if y < HEIGHT / 2 else -1)
        poses = [(Pose(x - sign * way, y + shift), Pose(x + sign * way, y + shift)), (Pose(x, y), Pose(x, y))]
    acts = [Act(event, part, origin, goal) for part, (origin, goal) in enumerate(poses)]
    pair = [
        Appearance(actor, float(size), *window, (act,), act.origin)
        for actor, size, window, act in zip(event.actors, sizes, windows, acts, strict=True)
    ]
    return tuple(reversed(pair))  # who passes is drawn in front


def _bystander(rng: np.random.Generator, cast: dict[Actor, None], duration: float) -> Appearance:
    """Somebody who stands around and does nothing."""
    taken = {(actor.kind, actor.colour) for actor in cast}
    free = [(kind, colour) for kind in KINDS for colour in COLOURS if (kind, colour) not in taken]
    actor = Actor(*free[rng.integers(len(free))], bool(rng.random() < 0.5))
    size, stays = rng.uniform(84, 108), duration * rng.uniform(0.3, 1.0)
    shows = rng.uniform(0, duration - stays)
    rest = Pose(rng.uniform(0.5 * size, WIDTH - 0.5 * size), rng.uniform(0.5 * size, HEIGHT - 0.5 * size))
    return Appearance(actor, size, shows, shows + stays, (), rest)


def _crowding(one: Appearance, others: list[Appearance]) -> float:
    """Share of the smaller picture hidden where two overlap, averaged over the times of the worst pair."""
    worst = 0.0
    for other in others:
        start, end = max(one.shows, other.shows), min(one.hides, other.hides)
        if start < end:
            times = np.linspace(start, end, max(2, int(end - start) + 1))
            worst = max(worst, float(np.mean([_overlap(one, other, float(time)) for time in times])))
    return worst


def _overlap(one: Appearance, other: Appearance, time: float) -> float:
    a, b = one.pose(time), other.pose(time)
    sizes = 0.85 * one.size * a.scale, 0.85 * other.size * b.scale
    reach, smaller = sum(sizes) / 2, min(sizes)
    width, height = (min(max(reach - gap, 0.0), smaller) for gap in (abs(a.x - b.x), abs(a.y - b.y)))
    return width * height / smaller**2
