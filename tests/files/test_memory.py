import gc

from cfmr.files.memory import collector_paused


def test_the_collector_goes_on_afterwards_also_after_an_error() -> None:
    try:
        with collector_paused():
            assert not gc.isenabled()
            raise KeyError
    except KeyError:
        pass
    assert gc.isenabled()


def test_where_it_was_off_before_it_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
