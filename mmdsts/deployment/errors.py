"""The error of this package."""


class ExportError(ValueError):
    """A model has no form that the wanted graph can hold; the message names the part and what to do."""
