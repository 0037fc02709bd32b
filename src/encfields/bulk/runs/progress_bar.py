"""The progress of a run in a terminal: a bar that fits it, however narrow."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from encfields.bulk.runs.progress import ProgressState, clock, notes_on, title_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

NARROW, WIDE = 72, 100
"""Columns of a terminal below which only the share and the time left stand beside the bar, and
above which the bar no longer grows."""


class ProgressBar:
    """A bar with rate and remaining time, for a terminal: ``with ProgressBar() as bar``.

    :param console: where to draw; default standard error. Needs ``rich`` (``encfields[cli]``).
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._bar: Any = _bar_on(self._console)
        self._tasks: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, state: ProgressState) -> None:
        name = (state.table, state.sweep)
        done, total = state.rows_done, state.rows_total
        fields: dict[str, Any] = {
            "counts": f"{short(done)}/{short(total)}",
            "share": f"{done / total if total else 1:.0%}",
            "rate": f"{short(state.rows_per_second)} rows/s",
            "left": "" if state.seconds_left is None else f"{clock(state.seconds_left)} left",
            "notes": ", ".join(notes_on(state)),
        }
        if name not in self._tasks:
            title = _shortened(title_of(state), self._console.width)
            self._tasks[name] = self._bar.add_task(title, total=total, **fields)
        self._bar.update(self._tasks[name], completed=done, total=total, **fields)


def _bar_on(console: Console) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    class Bar(Progress):
        """With what is not as usual on a line below."""

        def get_renderables(self) -> Any:
            table: RenderableType = self.make_tasks_table(self.tasks)
            yield table
            for task in self.tasks:
                if task.fields["notes"]:
                    yield Text(f"  {task.description}: {task.fields['notes']}", style="yellow")

    names = ["share", "left"] if console.width < NARROW else ["share", "counts", "rate", "left"]
    # Names of tables are not to be taken for markup.
    texts = [
        TextColumn(f"{{task.fields[{name}]}}", justify="right", markup=False) for name in names
    ]
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=40 if console.width > WIDE else None),
        *texts,
        console=console,
        expand=console.width <= WIDE,
    )


def _shortened(title: str, width: int) -> str:
    longest = 12 if width < NARROW else 24
    return title if len(title) <= longest else f"{title[: longest - 1]}…"


def short(number: float) -> str:
    """A number in five places or fewer."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 10 * factor:
            return f"{number / factor:.{0 if number >= 100 * factor else 1}f}{unit}"
    return f"{number:.0f}"
