"""What is wrong with the text of a formula. A value that goes wrong while a record is computed is `values.ERROR` instead."""


class FormulaProblem(Exception):
    """A formula that cannot be evaluated: `message`, where in the text (`start`, `end`, in characters), and a `suggestion`."""

    def __init__(self, message: str, start: int = 0, end: int = 0, *, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.suggestion = suggestion


class BadSyntax(FormulaProblem):
    """The text does not follow the grammar."""


class UnknownFunction(FormulaProblem):
    """No function has that name."""


class UnknownFields(FormulaProblem):
    """No field has these `names`; `start` and `end` are those of the first."""

    def __init__(self, names: tuple[str, ...], start: int, end: int, *, suggestion: str | None = None) -> None:
        super().__init__(
            f"Unknown field names: {', '.join(name.lower() for name in names)}", start, end, suggestion=suggestion
        )
        self.names = names


class WrongArguments(FormulaProblem):
    """Too few or too many arguments, or an argument that must be a field and is not."""
