"""What power drivers share: packages that are missing are named, and a busy device is waited for."""

import errno

import pytest

from rig.boards.power._devices import once_free, optional_package
from rig.errors import UserError


class Device:
    """Busy for so many tries."""

    def __init__(self, tries: int, number: int = errno.EBUSY) -> None:
        self._left, self._number = tries, number

    def take(self) -> str:
        if self._left:
            self._left -= 1
            raise OSError(self._number, "no")
        return "taken"


def test_a_package_that_is_not_there_is_a_user_error_with_the_line_that_installs_it():
    with pytest.raises(UserError) as caught:
        optional_package("c3", "no_such_relay.api", "no-such-relay>=2 helper")
    assert str(caught.value).splitlines() == [
        "this board's power switch needs the Python package no-such-relay>=2: No module named 'no_such_relay'"
        " (board c3)",
        "try: pip install no-such-relay>=2 helper",
    ]


def test_a_package_that_is_there_is_given():
    assert optional_package("c3", "errno", "x").EBUSY == errno.EBUSY


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
def test_a_busy_device_is_waited_for(number):
    assert once_free(Device(3, number).take, 60) == "taken"


def test_a_device_that_stays_busy_is_given_up():
    with pytest.raises(OSError, match="no"):
        once_free(Device(10**9).take, 0.1)


def test_another_error_is_not_waited_for():
    with pytest.raises(OSError, match="no"):
        once_free(Device(1, errno.ENODEV).take, 60)
