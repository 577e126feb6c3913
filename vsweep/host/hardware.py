"""What a plan may depend on: the kind of a device, its number, its memory and its rough speed."""

import dataclasses

from vsweep.host import speeds
from vsweep.host.speeds import CARDS, Speed


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a plan may depend on."""

    kind: str
    devices: int
    memory_bytes: int  # of one device
    bfloat16: bool = True  # in hardware, not emulated
    capability: float = 0.0  # CUDA's compute capability; 0: none, or not known

    @property
    def speed(self) -> Speed:
        """Of one device: fitted on a CPU, predicted or estimated on any other."""
        return speeds.CPU if self.kind == "cpu" else self._match.card.speed

    def speed_in(self, precision: str, matmul_precision: str) -> Speed:
        """Of one device, by `train.precision` and `train.matmul_precision`; a CPU has one speed."""
        return speeds.CPU if self.kind == "cpu" else self._match.card.speed_in(precision, matmul_precision)

    @property
    def notes(self) -> list[str]:
        """What a reader of a plan should know about its speeds."""
        if self.kind == "cpu" or not self._match.why:
            return []
        like, why = self._match.card.option, self._match.why
        return [f"note: {self.kind} is not in the table of speeds; its time and slots are estimated as {like}: {why}"]

    @property
    def _match(self) -> speeds.Match:
        return speeds.match(self.kind, self.capability, self.memory_bytes)


# To plan for where they are not: kinds as JAX names them, and the memory that JAX takes of them.
GPUS = {card.option: Hardware(card.kinds[0], 1, card.usable_bytes, card.bfloat16, card.capability) for card in CARDS}
