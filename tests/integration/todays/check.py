"""One thing that one program does with partitions, and lists of such things."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.todays.laboratory import Laboratory

Body = Callable[[Laboratory], None]


@dataclass(frozen=True, slots=True)
class Check:
    program: str
    does: str
    body: Body
    """Raises where the program does not do this."""

    @property
    def title(self) -> str:
        return f"{self.program}: {self.does}"


class Checks(list[Check]):
    """In the order of the page."""

    def add(self, program: str, does: str) -> Callable[[Body], Body]:
        """Put the function that this decorates on the list."""

        def listed(body: Body) -> Body:
            self.append(Check(program, does, body))
            return body

        return listed
