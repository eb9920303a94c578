"""The settings of a running server, and how they change: all values of a request, or none of them.

Most parts of the server look into `Config` whenever they need a value; the others are passed the new ones here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ..config import Config, Setting, all_of, settings, unknown_setting
from ..core.room.room import Room
from ..errors import ConfigError
from ..system.json_lines import tagged
from .connections.registry import Connections
from .event_log import EventLog
from .file_limit import check_file_limit
from .fixed_settings import FIXED, SHARED
from .intake.reading import Intake

__all__ = ["Changed", "LiveSettings", "Source"]

log = logging.getLogger("rankmux.server")

Source = Callable[[], Config]
"""Reads the settings again from where the start had them. Raises ConfigError."""


class Changed(NamedTuple):
    """A setting with its value before and after a change."""

    name: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.name} is {_shown(self.after)} (was {_shown(self.before)})"


class LiveSettings:
    """Changes `config`, which belongs to this server alone, and what its parts have taken from it.

    `shared`: others have the same room, and agreed on some of the settings with this server.
    """

    def __init__(
        self,
        config: Config,
        room: Room,
        connections: Connections,
        intake: Intake,
        event_log: EventLog,
        *,
        shared: bool,
    ) -> None:
        self._config = config
        self._shared = shared
        self._room = room
        self._connections = connections
        self._intake = intake
        self._event_log = event_log
        self._read = replace(config)  # as they were read last, without what `change` has changed

    def change(self, given: Mapping[str, str]) -> list[Changed]:
        """Change the settings `given` by name; returns those that have another value now.

        Raises ConfigError, one for everything that is wrong, and changes nothing then.
        """
        known = {setting.name: setting for setting in settings()}
        values: dict[str, object] = {}
        errors: list[ConfigError] = []
        for name, text in given.items():
            try:
                values[name] = self._judge(name, text, known)
            except ConfigError as error:
                errors.append(error)
        if errors:
            raise all_of(errors)
        return self._change(values)

    def reload(self, source: Source) -> bool:
        """Read the settings again, and take over what has changed there since they were read last.

        A change that needs a restart is logged. Returns False, and changes nothing, if they cannot be read.
        """
        try:
            read = source()
            changed = self._take_over(read)
        except ConfigError as error:
            text = "reload failed, the settings stay as they are: %s"
            facts = tagged("settings_not_reloaded", key=error.key, error=str(error))
            log.error(text, "; ".join(str(error).splitlines()), extra=facts)
            return False
        if not changed:
            log.info("no setting has changed", extra=tagged("settings_reloaded", changed=[]))
        return True

    def _take_over(self, read: Config) -> list[str]:
        values, waiting = {}, []
        for setting in settings():
            name = setting.name
            now = getattr(read, name)
            if why := self._why_fixed(name):
                if now != getattr(self._config, name):
                    waiting.append((name, now, why))
            elif now != getattr(self._read, name):
                values[name] = now
        changed = self._change(values)
        self._read = read
        for name, now, why in waiting:
            kept = getattr(self._config, name)
            facts = tagged("restart_needed", name=name, now=kept, read=now)
            text = "%s stays %s; %s, as it was read now, cannot be taken over while the server runs: %s"
            log.warning(text, name, _shown(kept), _shown(now), why, extra=facts)
        return [*(one.name for one in changed), *(name for name, _, _ in waiting)]

    def _judge(self, name: str, text: str, known: Mapping[str, Setting]) -> object:
        if name not in known:
            raise unknown_setting(name, text)
        if why := self._why_fixed(name):
            raise ConfigError(
                name, getattr(self._config, name), f"cannot change while the server runs: {why}"
            )
        return known[name].read(name, text)

    def _why_fixed(self, name: str) -> str:
        if name in FIXED:
            return FIXED[name]
        if self._shared and name in SHARED:
            return "it must be the same at all servers of the cluster, which agreed on it when the room began"
        return ""

    def _change(self, values: Mapping[str, object]) -> list[Changed]:
        config = self._config
        wished = replace(config, **values)  # type: ignore[arg-type]
        if wished.seats + wished.observers_max > config.seats + config.observers_max:
            check_file_limit(wished)
        pairs = [Changed(s.name, getattr(config, s.name), getattr(wished, s.name)) for s in settings()]
        changed = [one for one in pairs if one.before != one.after]
        config.adopt(wished)
        self._pass_on({one.name for one in changed})
        for one in changed:
            facts = tagged("setting_changed", name=one.name, before=one.before, after=one.after)
            log.info("setting changed: %s", one, extra=facts)
        return changed

    def _pass_on(self, names: set[str]) -> None:
        """Give the new values to the parts that keep some of their own."""
        config, outbox = self._config, self._connections.outbox
        self._room.limit(
            config.seats,
            config.waiting_max,
            config.result_ttl_ms,
            config.waiting_total_max,
            config.outbox_soft_bytes,
        )
        outbox.soft, outbox.hard = config.outbox_soft_bytes, config.outbox_hard_bytes
        self._intake.take_settings()
        self._event_log.limit(config.log_lines_per_s, config.log_excerpt_bytes)
        if "log_level" in names:
            logging.getLogger("rankmux").setLevel(config.log_level.upper())


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
