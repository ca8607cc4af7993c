"""The shape of a run: what its compiled program is specialised to, and what enters that program as a number."""

from dataclasses import dataclass
from typing import Any

VECTOR = 16
"""float32 numbers of a vector of 512 bits, of which there are whole ones in a kernel."""


@dataclass(frozen=True)
class Shape:
    """What a compiled program is specialised to.

    sizes: whole numbers, truth values and texts by name, which are attributes too (`shape.n_units`). traced: the
    fields that enter the program as one number a run. A field that is null for the run is not among them, so that what
    it would add (momentum, clipping ...) is left out of the program. whole, truths: those of models and tasks that are
    whole numbers, and truth values, in the program too. random: what draws random numbers every epoch:
    the fields that do so where above 0, and "trials". texts: digests of the texts of a user's model and task, so that
    no program of an edited file is used again, whatever version it declares. kernel: whether the program is one kernel
    of a CPU core that trains run after run (`Cost.kernel`), where sums and products are best written otherwise.
    persistent: whether it is one kernel of a GPU in which a run stays from stop to stop (`training.persistent`).
    """

    model: str
    task: str | None
    optimizer: str
    dtype: str
    schedule: str = "constant"
    sizes: tuple[tuple[str, Any], ...] = ()
    traced: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    texts: tuple[str, str] = ("", "")
    kernel: bool = False
    persistent: bool = False

    @property
    def stochastic(self) -> bool:
        """Whether an epoch draws random numbers."""
        return bool(self.random)

    @property
    def traced_types(self) -> dict[str, str]:
        """Names and types of what is traced: one value per run of each."""
        counts = ("seed", "first_epoch") if self.stochastic else ("seed",)
        types = dict.fromkeys(self.traced, self.dtype) | dict.fromkeys(self.truths, "bool")
        types |= dict.fromkeys(self.whole, "int64" if self.dtype == "float64" else "int32")
        return types | dict.fromkeys(counts, "uint32")

    @property
    def sizes_in_words(self) -> list[str]:
        """The sizes that decide the time: units, rank and steps; of a shape that has none of them, all numbers."""
        said = {"n_units": "{} units", "rank": "rank {}", "n_steps": "{} steps"}
        known = [text.format(self.get(name)) for name, text in said.items() if self.get(name)]
        return known or [f"{name} {value}" for name, value in self.sizes if type(value) is int]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """A size by name, `otherwise` where the shape has no such size."""
        return dict(self.sizes).get(name, otherwise)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and name != "sizes":
            for own, value in self.sizes:
                if own == name:
                    return value
        if name in self.__dict__.get("traced", ()):
            raise AttributeError(
                f"{name}: each run has its own, traced[{name!r}]; a size with traced=False in its Field"
            )
        said = f"; there is {', '.join(name for name, _ in self.sizes)}" if self.__dict__.get("sizes") else ""
        raise AttributeError(f"{name}: no size of the program of {self.__dict__.get('model')}{said}")
