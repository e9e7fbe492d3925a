from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.annotations import Annotation
from cfmr.server.stores.same_labels import SAME_TIME, LabelledMoments

times = st.floats(0, 1).map(lambda value: round(value, 3))
spans = st.none() | st.tuples(times, times).map(lambda pair: (min(pair), max(pair)))
labels = st.builds(lambda glance, span: Annotation("v", 9.0, "a", glance, span), times, spans)
SAID = ("v", "a")


def same(one: Annotation, other: Annotation) -> bool:
    if one.span is not None and other.span is not None:
        return all(abs(a - b) < SAME_TIME for a, b in zip(one.span, other.span, strict=True))
    assert one.glance is not None
    assert other.glance is not None
    return abs(one.glance - other.glance) < SAME_TIME


@given(st.lists(labels, max_size=6), labels)
def test_labels_are_the_same_if_any_of_them_is(there: list[Annotation], new: Annotation) -> None:
    moments = LabelledMoments()
    for label in there:
        moments.add(SAID, label)
    assert moments.has(SAID, new) == any(same(new, label) for label in there)
    assert not moments.has(("v", "b"), new)
