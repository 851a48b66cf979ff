"""Fetching ahead: in order, with errors in their places, and not for ever."""

import threading

import pytest

from wsl.errors import BadImageError
from wsl.inference.shards.fetching import fetched


def test_many_threads_give_the_order_of_the_items():
    assert list(fetched(range(300), lambda n: n * n, threads=7, seconds=60)) == [n * n for n in range(300)]


def test_an_error_of_an_image_stands_in_its_place_and_others_are_raised():
    def fetch(name):
        if name == "b":
            raise BadImageError("b: no such file")
        if name == "z":
            raise ZeroDivisionError
        return name

    results = list(fetched("abc", fetch, threads=2, seconds=60))
    assert (results[0], str(results[1]), results[2]) == ("a", "b: no such file", "c")
    with pytest.raises(ZeroDivisionError):
        list(fetched("az", fetch, threads=2, seconds=60))


def test_what_hangs_is_given_up_and_the_rest_is_fetched():
    release = threading.Event()

    def fetch(name):
        if name.startswith("hangs"):
            release.wait()
        return name

    names = ["a", "hangs 1", "b", "hangs 2", "hangs 3", *"cdef"]
    results = list(fetched(names, fetch, threads=2, seconds=0.3))
    release.set()
    assert [one for one in results if isinstance(one, str)] == list("abcdef")
    assert {str(one) for one in results if not isinstance(one, str)} == {"took longer than 0.3 s to be fetched"}


def test_nothing_is_fetched_far_ahead_of_who_takes_it():
    asked = []

    def fetch(number):
        asked.append(number)
        return number

    stream = fetched(range(10_000), fetch, threads=2, seconds=60)
    for _ in range(5):
        next(stream)
    stream.close()
    assert len(asked) < 20
