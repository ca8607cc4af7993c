"""What meta.json, sessions and parts may say, at any depth: who reads them afterwards finds the types named here."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ghostsweep.errors import UsageError
from ghostsweep.store.files import Damaged

FORMAT = 1
"""Of meta.json as this version writes it. A later format is refused; where none is said it is the first."""

Count = Annotated[int, Field(ge=0)]


class Described(BaseModel):
    """Values of these types, not those that could be turned into them; further keys may say anything."""

    model_config = ConfigDict(strict=True, extra="allow")


class File(Described):
    """An entry of a data file, as `manifest.Entry`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    sha256: str
    size: Count
    holds: Literal["runs", "curves", "unplanned_runs", "unplanned_curves", "ends", "snapshots"]
    rows: Count = 0
    runs: list[str] = []
    epochs: list[int] = []


class UserCode(Described):
    """A user's model or task that runs were trained with."""

    kind: Literal["model", "task"]
    attribute: str
    name: str = ""
    digest: str = ""
    text: str
    version: str | None = None
    modules: list[Annotated[list[str], Field(min_length=3, max_length=3)]] = []
    data: dict[str, str] = {}


class Session(Described):
    """One training."""

    id: str = ""
    started: str = ""
    ended: str = ""
    host: str = ""
    devices: list[str] = []
    jax: str = ""
    jax_config: dict[str, Any] = {}
    persistent: bool = False
    ghostsweep: str = ""
    git_commit: str = ""
    engine_version: int | str = 0
    order: Annotated[list[Count], Field(min_length=2, max_length=2)] = [0, 0]
    programs: Count = 0
    runs_planned: Count = 0
    runs_trained: Count = 0
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    store_seconds: float = 0.0


class Part(Described):
    """What a part says of itself: see `parts.write`."""

    generation: Count
    written: Count
    session: str
    engine_version: int | str


class Recorded(Described):
    """Which epochs and parameters were recorded."""

    epochs: list[int] | None = None
    points: Count | None = None
    snapshots: dict[str, Any] | None = None


class Meta(Described):
    """All that meta.json says."""

    format: Count = 1
    generation: Count
    files: dict[str, File]
    discard: dict[str, str]
    name: str = ""
    title: str = ""
    spec: str = ""
    spec_sha256: str = ""
    engine_version: int | str = 0
    ghostsweep: str = ""
    git_commit: str = ""
    code: dict[str, UserCode] = {}
    identities: dict[str, str] = {}
    sessions: list[Session] = []
    record: Recorded = Recorded()
    fit: dict[str, Any] = {}
    refine: dict[str, Any] | None = None
    counts: dict[str, Count] = {}
    dtype: list[str] = []


def check(found: Any, kind: type[Described], path: Path) -> None:
    """Raise Damaged, in a line, where what a file says is not of the types of `kind`; UsageError for a later format."""
    later = found.get("format") if kind is Meta and isinstance(found, dict) else None
    if isinstance(later, int) and later > FORMAT:
        raise UsageError(
            f"{path}: format: found {later}; allowed: up to {FORMAT}; a later ghostsweep wrote it, which reads it"
        )
    try:
        kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        given = "nothing" if first["type"] == "missing" else f"a {type(first['input']).__name__}"
        raise Damaged(f"{path}: {where}: found {given}; {first['msg'][0].lower()}{first['msg'][1:]}") from None
