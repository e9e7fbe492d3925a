"""What actors of the demo world do, and where that puts them at every moment."""

import math
from dataclasses import dataclass, replace

from cfmr.demo.actors import Actor


@dataclass(frozen=True, slots=True)
class Pose:
    """How an actor stands: centre in pixels, size relative to its own, angle in degrees, and what is drawn over it."""

    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0
    visible: bool = True
    effect: str = ""  # "", "glow" or "cage"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: how long it may take (seconds), and what is true while it happens besides its own name."""

    shortest: float
    longest: float
    implies: tuple[str, ...] = ()


#: The kinds of event. All but the last two need more than one frame to recognise.
EVENTS: dict[str, Kind] = {
    "moves left": Kind(1.5, 10.0),
    "moves right": Kind(1.5, 10.0),
    "moves up": Kind(1.5, 7.0),
    "moves down": Kind(1.5, 7.0),
    "enters": Kind(1.5, 6.0),
    "leaves": Kind(1.5, 6.0),
    "grows": Kind(1.5, 9.0),
    "shrinks": Kind(1.5, 9.0),
    "spins": Kind(1.5, 20.0),
    "bounces": Kind(2.0, 20.0, ("moves up", "moves down")),
    "blinks": Kind(2.0, 20.0),
    "shakes": Kind(1.5, 14.0),
    "meets": Kind(2.0, 7.0),
    "passes": Kind(2.5, 10.0),
    "glows": Kind(1.5, 20.0),
    "is caged": Kind(1.5, 20.0),
}
DUETS = ("meets", "passes")
HEADINGS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

#: About how long one turn, jump, blink or shake takes; an event holds a whole number of them.
CYCLE_SECONDS = {"spins": 1.6, "bounces": 0.9, "blinks": 1.0, "shakes": 0.45}
BOUNCE_HEIGHT, SHAKE_WIDTH = 62.0, 13.0  # pixels


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens in a video, from `start` to `end` seconds.

    `actors` are one, or two for a duet: who meets whom, who passes whom. `heading` is where the first of them moves to,
    where the kind leaves that open.
    """

    kind: str
    actors: tuple[Actor, ...]
    start: float
    end: float
    heading: str = ""
    labelled: bool = False

    def happening(self, part: int) -> set[str]:
        """Everything that can be said to happen to the event's actor number `part` while it lasts."""
        said = {
            self.kind if part == 0 or self.kind == "meets" else f"{self.kind} passively",
            *EVENTS[self.kind].implies,
        }
        if self.heading and not (self.kind == "passes" and part == 1):
            opposite = {"left": "right", "right": "left"}
            heading = opposite[self.heading] if self.kind == "meets" and part == 1 else self.heading
            said.add(f"moves {heading}")
        return said


@dataclass(frozen=True, slots=True)
class Act:
    """An actor's part in an event: the pose it starts from and the pose it ends in. It is in between meanwhile."""

    event: Event
    part: int
    origin: Pose
    goal: Pose

    def pose(self, time: float) -> Pose:
        """The pose at a time in seconds from the video's start; before and after the event the actor stands still."""
        event, kind = self.event, self.event.kind
        if time <= event.start:
            return self.origin
        if time >= event.end:
            return self.goal
        length = event.end - event.start
        share = (time - event.start) / length
        pose = replace(
            self.origin,
            x=self.origin.x + share * (self.goal.x - self.origin.x),
            y=self.origin.y + share * (self.goal.y - self.origin.y),
            scale=self.origin.scale * (self.goal.scale / self.origin.scale) ** share,
        )
        cycle = share * max(1, round(length / CYCLE_SECONDS[kind])) if kind in CYCLE_SECONDS else 0.0
        if kind == "spins":
            return replace(pose, angle=360.0 * (cycle % 1))
        if kind == "bounces":
            return replace(pose, y=pose.y - BOUNCE_HEIGHT * abs(math.sin(math.pi * cycle)))
        if kind == "blinks":
            return replace(pose, visible=cycle % 1 >= 0.5)
        if kind == "shakes":
            return replace(pose, x=pose.x + SHAKE_WIDTH * math.sin(2 * math.pi * cycle))
        if kind == "glows":
            return replace(pose, effect="glow")
        if kind == "is caged":
            return replace(pose, effect="cage")
        return pose
