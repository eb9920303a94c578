"""The typed options of a client against its signature."""

from __future__ import annotations

import inspect
from typing import get_type_hints

from rankmux import Client
from rankmux.client.settings import ClientSettings


def test_they_are_the_keyword_arguments():
    hints = get_type_hints(Client.__init__)
    parameters = inspect.signature(Client).parameters.values()
    expected = {one.name: hints[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}
    assert list(get_type_hints(ClientSettings).items()) == list(expected.items())
    assert ClientSettings.__required_keys__ == frozenset()
