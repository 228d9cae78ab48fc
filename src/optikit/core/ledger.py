"""What a team held of the cluster's devices: a fading past, and what runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Account"]


@dataclass
class Account:
    """What one team holds, and held."""

    used: float = 0.0
    """Device-seconds, faded, at ``at_s``."""
    at_s: float = 0.0
    held: int = 0
    """Devices now, of whatever kind."""
    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Devices and the expected end of each stage."""

    def start(self, key: str, devices: int, end_s: float, now_s: float, tau_s: float) -> None:
        """A stage takes devices, and is expected to hold them until ``end_s``."""
        self.settle(now_s, tau_s)
        self.running[key] = devices, end_s
        self.held += devices

    def end(self, key: str, now_s: float, tau_s: float) -> None:
        """A stage gave its devices back."""
        self.settle(now_s, tau_s)
        self.held -= self.running.pop(key)[0]

    def usage(self, now_s: float, tau_s: float) -> float:
        """Device-seconds held so far, fading with the time constant."""
        fade = math.exp(-max(0.0, now_s - self.at_s) / tau_s)
        return self.used * fade + self.held * tau_s * (1 - fade)

    def remember(self, devices: int, began_s: float, ended_s: float, tau_s: float) -> None:
        """Count what was held before anybody kept an account."""
        at_s = max(self.at_s, ended_s)
        self.settle(at_s, tau_s)
        faded = math.exp((ended_s - at_s) / tau_s) - math.exp((began_s - at_s) / tau_s)
        self.used += devices * tau_s * faded

    def settle(self, now_s: float, tau_s: float) -> None:
        """Write down what was used so far: what runs is about to change."""
        self.used, self.at_s = self.usage(now_s, tau_s), max(now_s, self.at_s)

    def level(self, now_s: float, tau_s: float, horizon_s: float) -> float:
        """Device-seconds held, and expected of what runs within the horizon."""
        rest = sum(
            devices * min(horizon_s, max(0.0, end - now_s))
            for devices, end in self.running.values()
        )
        return self.usage(now_s, tau_s) + rest
