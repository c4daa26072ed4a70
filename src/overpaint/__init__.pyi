from overpaint.archive.reading import Results as Results
from overpaint.archive.reading import load as load
from overpaint.errors import UserError as UserError
from overpaint.library.pair import Pair as Pair
from overpaint.library.pair import Scored as Scored

__all__ = ["Pair", "Results", "Scored", "UserError", "load"]
