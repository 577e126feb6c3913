"""What programs are compiled for. A model may compute the same in other ways for other devices."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Target:
    """The kind of device that a program is for. `host.devices.target` tells that of a real one."""

    platform: str = "cpu"  # cpu, cuda, rocm, tpu or another of JAX's
    capability: int = 0  # of CUDA alone: the first number of its compute capability

    @property
    def is_gpu(self) -> bool:
        """Whether each pass over an array is a kernel, with a fixed cost of its own."""
        return self.platform in ("cuda", "rocm")


CPU = Target()
