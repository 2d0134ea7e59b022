"""What every part of the simulation shares."""

from dataclasses import dataclass
from random import Random

from ingest.sample.delivery import Delivery
from ingest.sample.truth import Truth
from ingest.sample.world import Person


@dataclass
class Sample:
    """The run: one source of chance, the truth being recorded, the delivery being written, the people."""

    rng: Random
    truth: Truth
    delivery: Delivery
    people: list[Person]

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return self.rng.random() < share

    def milliseconds(self, low_seconds: float, high_seconds: float) -> int:
        """A span between the two, shorter ones likelier."""
        return int((low_seconds + (high_seconds - low_seconds) * self.rng.random() * self.rng.random()) * 1000)
